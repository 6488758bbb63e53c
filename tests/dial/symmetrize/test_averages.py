import math
from itertools import permutations

import pytest
import torch
from scipy.stats import chi2

from tests.dial.symmetrize.networks import COMPACT, MOVING, Linear, cloud, cloud_contract, coupled_error, dense, dimension
from torsor.dial.symmetrize.averages import Enumerated, Haar
from torsor.dial.symmetrize.controls import Identity
from torsor.dial.symmetrize.module import Symmetrized
from torsor.errors import GroupError
from torsor.groups import SE, SO, TC, C, D, E, Lorentz, O, S, T
from torsor.nn.noise_sources import DrawnNoise, FixedNoise
from torsor.representations import Defining, Permuted, Points, Shifted, Trivial, Vectors
from torsor.symmetry import Symmetry

CPU = torch.device("cpu")
SOURCES = {"drawn": lambda: DrawnNoise(torch.Generator().manual_seed(1)), "fixed": lambda: FixedNoise(1)}
both_sources = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def haar(contract, inputs, samples, source=None, **settings):
    """Draws of a Haar sampler."""
    sampler = Haar(contract, **settings)
    noise = sampler.draw(inputs, samples, SOURCES["drawn"]() if source is None else source)
    return sampler(inputs, noise, samples).elements


# -- coupled equivariance -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("group", [*COMPACT, *MOVING], ids=str)
def test_haar_averages_are_equivariant_when_their_noise_moves_along(group, masked, generator):
    d = dimension(group)
    inputs = cloud(generator, d, masked=masked)
    module = Symmetrized(dense(d), Haar(cloud_contract(group)), samples=3)
    assert module.symmetry.exactness == ("exact" if group == T(3) else "coupled")
    assert coupled_error(module, inputs, generator) < 1e-10
    assert coupled_error(Symmetrized(dense(d), Identity(cloud_contract(group))), inputs, generator) > 1e-2


@pytest.mark.parametrize("group", [C(5), D(4), S(), S(4), TC(3), T(2), C(4) * S(), T(3) * S()], ids=str)
def test_averages_over_all_elements_are_equivariant(group, generator):
    d = 2 if isinstance(getattr(group, "factors", (group,))[0], C | D | TC) or group == T(2) else 3
    module = Symmetrized(dense(d), Enumerated(cloud_contract(group)))
    for masked in (False, True):
        assert module.symmetry.exactness == "exact"
        assert not module.noise(cloud(generator, d), 1)
        assert coupled_error(module, cloud(generator, d, masked=masked), generator) < 1e-10


@pytest.mark.parametrize("group", [O(3), SO(3) * S(), E(3) * S()], ids=str)
def test_averages_in_single_precision_are_equivariant(group, generator):
    inputs = {name: x.float() for name, x in cloud(generator).items()}
    assert coupled_error(Symmetrized(dense().float(), Haar(cloud_contract(group)), samples=2), inputs, generator) < 1e-5


@pytest.mark.parametrize("group", [*COMPACT, *MOVING], ids=str)
def test_draws_move_as_the_input_does(group, generator):
    """q(h x, h noise) = h q(x, noise): equal integers for permutations, rounding for the others."""
    contract = cloud_contract(group)
    inputs = cloud(generator, dimension(group), masked=True)
    sampler = Haar(contract)
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    whole = Symmetrized(dense(), sampler).symmetry
    h = whole.sample({**inputs, **noise}, generator)
    moved = whole.transform(h, {**inputs, **noise})
    before = sampler(inputs, noise, 3).elements
    after = sampler({n: moved[n] for n in inputs}, {n: moved[n] for n in noise}, 3).elements
    factors = contract.factors
    rows = zip(factors, *(e if len(factors) > 1 else (e,) for e in (h, before, after)), strict=True)
    for factor, one, x, y in rows:
        expected = factor.compose(one.unsqueeze(1), x)
        assert torch.equal(y, expected) if not y.is_floating_point() else (y - expected).abs().max() < 1e-10


# -- valid elements -----------------------------------------------------------------------------------------------------------------------


@both_sources
@pytest.mark.parametrize("group", [SO(2), O(2), SO(3), O(3), SO(4), O(5), SO(1), O(1)], ids=str)
def test_drawn_matrices_are_orthogonal(group, source):
    n = group.n
    q = haar(Symmetry(group, {"x": Vectors()}, Vectors()), {"x": torch.zeros(2, n, dtype=torch.float64)}, 50, source())
    assert (q.mT @ q - torch.eye(n, dtype=torch.float64)).abs().max() < 1e-12
    determinants = torch.linalg.det(q)
    assert (determinants.abs() - 1).abs().max() < 1e-12
    assert (determinants > 0).all() == isinstance(group, SO)


@both_sources
def test_drawn_permutations_are_bijections_that_keep_masked_places(source):
    mask = torch.tensor([[True, False, True, True, False, True], [True] * 6])
    inputs = {"x": torch.zeros(2, 6), "mask": mask}
    p = haar(Symmetry(S(), {"x": Permuted(1)}, Permuted(1)), inputs, 40, source())
    assert torch.equal(p.sort(-1).values, torch.arange(6).expand(2, 40, 6))
    assert torch.equal(p[0][:, ~mask[0]], torch.tensor([1, 4]).expand(40, 2))


def test_drawn_permutations_are_uniform_with_graphs_of_different_size_in_one_batch():
    """Published code gave samples of large graphs the sizes of small ones."""
    mask = torch.arange(6) < torch.tensor([[4], [6], [2]])
    inputs = {"x": torch.zeros(3, 6), "mask": mask}
    draws = 3000
    p = haar(Symmetry(S(), {"x": Permuted(1)}, Permuted(1)), inputs, draws)
    assert torch.equal(p[0, :, 4:], torch.tensor([4, 5]).expand(draws, 2))
    orders = torch.tensor(list(permutations(range(4))))
    counts = (p[0, :, None, :4] == orders).all(-1).sum(0)
    assert counts.sum() == draws
    expected = draws / 24
    assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(0.9999, 23)
    # every node of the large graph goes everywhere alike, though smaller graphs are drawn beside it
    places = torch.stack([(p[1] == place).sum(0) for place in range(6)])
    assert (places - draws / 6).abs().max() < 5 * math.sqrt(draws * 5 / 36)
    assert abs(int((p[2, :, 0] == 1).sum()) - draws / 2) < 5 * math.sqrt(draws / 4)


@both_sources
@pytest.mark.parametrize("settings", [{}, {"antithetic": True}, {"stratified": True}], ids=["independent", "antithetic", "stratified"])
def test_haar_moments_in_space(source, settings):
    """E Q_ij = 0, E Q_ij^2 = 1/3, E (tr Q)^2 = 1; the draws of one call may depend on each other, so batches of calls are counted."""
    samples = 24
    inputs = {"x": torch.zeros(1 if source is SOURCES["fixed"] else 400, 3, dtype=torch.float64)}
    count = 24 * 400 if source is SOURCES["fixed"] else samples
    q = haar(Symmetry(O(3), {"x": Vectors()}, Vectors()), inputs, count, source(), **settings).flatten(0, 1)
    bound = 5 / math.sqrt(len(q))
    assert q.mean(0).abs().max() < bound
    assert (q.square().mean(0) - 1 / 3).abs().max() < bound
    trace = q.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert abs(float(trace.square().mean()) - 1) < bound * 1.5
    assert abs(float(torch.linalg.det(q).mean())) < bound


# -- closed forms -------------------------------------------------------------------------------------------------------------------------


def rotation_mean(matrix):
    d = len(matrix)
    return matrix.trace() / d * torch.eye(d, dtype=matrix.dtype)


def plane_mean(matrix):
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=matrix.dtype)
    return rotation_mean(matrix) + (matrix[1, 0] - matrix[0, 1]) / 2 * turn


def permutation_mean(matrix):
    n = len(matrix)
    b = (matrix.sum() - matrix.trace()) / (n * (n - 1))
    return (matrix.trace() / n - b) * torch.eye(n, dtype=matrix.dtype) + b


def mean_matrix(contract, matrix, sampler, samples=1, dtype=torch.float64):
    """The matrix of the average of a linear network."""
    axis = 1 if isinstance(contract.group, S) else -1
    module = Symmetrized(Linear(matrix, axis), sampler, samples=samples).eval()
    n = len(matrix)
    return module(torch.eye(n, dtype=dtype)).mT.detach()


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_the_mean_over_all_permutations_is_that_of_the_closed_form(n, generator):
    w = torch.randn(n, n, generator=generator, dtype=torch.float64)
    contract = Symmetry(S(), {"x": Permuted(1)}, Permuted(1))
    assert (mean_matrix(contract, w, Enumerated(contract)) - permutation_mean(w)).abs().max() < 1e-12


@pytest.mark.parametrize("order", [3, 5, 8])
def test_the_mean_over_cyclic_and_dihedral_groups_is_that_of_the_closed_form(order, generator):
    w = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    for group, expected in ((C(order), plane_mean(w)), (D(order), rotation_mean(w))):
        contract = Symmetry(group, {"x": Vectors()}, Vectors())
        assert (mean_matrix(contract, w, Enumerated(contract)) - expected).abs().max() < 1e-12


def test_the_mean_over_a_product_is_that_of_its_factors(generator):
    """Vectors at the places of a set: turned by C(4) and permuted."""
    w = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    contract = Symmetry(C(4) * S(3), {"x": (Vectors(), Permuted(1))}, (Vectors(), Permuted(1)))
    inner = Linear(w)

    class Flat(torch.nn.Module):
        def forward(self, x):
            return inner(x.flatten(1)).unflatten(1, (3, 2))

    x = torch.eye(6, dtype=torch.float64).unflatten(1, (3, 2))
    found = Symmetrized(Flat(), Enumerated(contract))(x).flatten(1).mT
    blocks = w.unflatten(0, (3, 2)).unflatten(2, (3, 2))  # place, component, place, component
    diagonal = sum(blocks[i, :, i] for i in range(3)) / 3
    beside = sum(blocks[i, :, j] for i in range(3) for j in range(3) if i != j) / 6
    expected = torch.stack([torch.stack([plane_mean(diagonal if i == j else beside) for j in range(3)], 1) for i in range(3)])
    assert (found - expected.reshape(6, 6)).abs().max() < 1e-12


CLOSED = [(O(2), rotation_mean), (O(3), rotation_mean), (SO(3), rotation_mean), (SO(2), plane_mean), (O(4), rotation_mean)]


@both_sources
@pytest.mark.parametrize(("group", "form"), CLOSED, ids=[str(group) for group, _ in CLOSED])
def test_monte_carlo_means_lie_within_five_standard_errors_of_the_closed_form(group, form, source, generator):
    w = torch.randn(group.n, group.n, generator=generator, dtype=torch.float64)
    contract = Symmetry(group, {"x": Vectors()}, Vectors())
    inputs = {"x": torch.zeros(1, group.n, dtype=torch.float64)}
    q = haar(contract, inputs, 4000, source())[0]
    terms = q @ w @ q.mT
    error = terms.std(0) / math.sqrt(len(terms))
    assert ((terms.mean(0) - form(w)).abs() < 5 * error + 1e-12).all()


@pytest.mark.parametrize("samples", [12, 24, 60])
def test_stratified_draws_average_linear_networks_exactly(samples, generator):
    """A polyhedral group integrates all of degree 2."""
    w = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    for group in (SO(3), O(3), SE(3)):
        contract = Symmetry(group, {"x": Vectors()}, Vectors())
        assert (mean_matrix(contract, w, Haar(contract, stratified=True), samples) - rotation_mean(w)).abs().max() < 1e-12
    w = w[:2, :2]
    contract = Symmetry(SO(2), {"x": Vectors()}, Vectors())
    assert (mean_matrix(contract, w, Haar(contract, stratified=True), samples) - plane_mean(w)).abs().max() < 1e-12


def test_antithetic_pairs_cancel_what_is_odd(generator):
    x = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)

    class Odd(torch.nn.Module):
        def forward(self, x):
            return (x**3).sum((1, 2)).unsqueeze(1)

    alone = Symmetry(O(3), {"x": Vectors()}, Trivial())
    with_places = Symmetry(O(3) * S(), {"x": (Vectors(), Permuted(1))}, (Trivial(), Trivial()))
    for contract in (alone, with_places):
        assert Symmetrized(Odd(), Haar(contract, antithetic=True), samples=4)(x).abs().max() < 1e-12
        assert Symmetrized(Odd(), Haar(contract), samples=4)(x).abs().min() > 1e-3


@pytest.mark.parametrize("group", [C(6), D(6)], ids=str)
def test_stratified_draws_of_a_finite_group_are_all_of_it(group, generator):
    contract = Symmetry(group, {"x": Vectors()}, Vectors())
    w = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    found = mean_matrix(contract, w, Haar(contract, stratified=True), group.order)
    assert (found - mean_matrix(contract, w, Enumerated(contract))).abs().max() < 1e-12


# -- variance -----------------------------------------------------------------------------------------------------------------------------


def test_the_average_over_draws_is_unbiased_and_its_residual_falls_as_one_over_the_root_of_the_samples(generator):
    contract = cloud_contract(S())
    inputs = cloud(generator, batch=1)
    network = dense()
    exact = Symmetrized(network, Enumerated(contract))(**inputs).detach()
    module = Symmetrized(network, Haar(contract), samples=1024)
    terms, _ = module.terms(**inputs, **module.noise(inputs, 2**15, DrawnNoise(generator)))
    terms = terms[0].detach()
    error = terms.std(0) / math.sqrt(len(terms))
    assert ((terms.mean(0) - exact[0]).abs() < 5 * error).all()
    counts = [4, 16, 64, 256, 1024]
    residuals = [float((terms.unflatten(0, (-1, k)).mean(1) - exact).square().mean().sqrt()) for k in counts]
    logs = torch.tensor([counts, residuals]).log()
    centred = logs - logs.mean(1, keepdim=True)
    slope = float((centred[0] * centred[1]).sum() / centred[0].square().sum())
    assert -0.6 < slope < -0.4


# -- translations -------------------------------------------------------------------------------------------------------------------------


def test_masked_points_do_not_move_the_centre(generator):
    inputs = cloud(generator, masked=True)
    contract = cloud_contract(SE(3))
    sampler = Haar(contract)
    noise = sampler.draw(inputs, 2, DrawnNoise(generator))
    centre = SE(3).shift(sampler(inputs, noise, 2).elements)[:, 0]
    expected = torch.stack([x[m].mean(0) for x, m in zip(inputs["positions"], inputs["mask"], strict=True)])
    torch.testing.assert_close(centre, expected, rtol=0, atol=1e-14)


def test_times_are_centred_too(generator):
    contract = Symmetry(T(1), {"times": Shifted(), "value": Trivial()}, Trivial())

    class Sum(torch.nn.Module):
        def forward(self, times, value):
            return (times**2).sum(1) * value

    inputs = {"times": torch.randn(3, 5, generator=generator, dtype=torch.float64), "value": torch.ones(3, dtype=torch.float64)}
    assert coupled_error(Symmetrized(Sum(), Haar(contract)), inputs, generator) < 1e-12


def test_where_nothing_is_translated_motions_are_those_about_the_origin(generator):
    contract = Symmetry(SE(3), {"x": Vectors()}, Vectors())
    w = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    assert coupled_error(Symmetrized(Linear(w), Haar(contract), samples=2), {"x": x}, generator) < 1e-12


# -- refusals -----------------------------------------------------------------------------------------------------------------------------


def test_groups_without_uniform_draws_are_refused():
    with pytest.raises(GroupError, match="Lorentz has no uniform draws"):
        Haar(Symmetry(Lorentz(), {"x": Defining()}, Defining()))


def test_infinite_groups_are_not_listed():
    with pytest.raises(GroupError, match=r"SO\(3\) has no list of elements"):
        Enumerated(Symmetry(SO(3), {"x": Vectors()}, Vectors()))


def test_large_groups_are_not_listed():
    contract = Symmetry(S(), {"x": Permuted(1)}, Permuted(1))
    module = Symmetrized(Linear(torch.eye(7), 1), Enumerated(contract))
    with pytest.raises(GroupError, match=r"S\(\) has 5040 elements for these inputs"):
        module(torch.zeros(1, 7))


def test_draws_that_the_group_does_not_have_are_refused():
    contract = Symmetry(SO(3), {"x": Points()}, Points())
    with pytest.raises(GroupError, match="does not hold x -> -x"):
        Haar(contract, antithetic=True)
    with pytest.raises(GroupError, match="no subgroup to stratify by"):
        Haar(Symmetry(S(), {"x": Permuted(1)}, Permuted(1)), stratified=True)
    with pytest.raises(GroupError, match="either antithetic or stratified"):
        Haar(Symmetry(O(3), {"x": Points()}, Points()), antithetic=True, stratified=True)


@pytest.mark.parametrize("group", [C(4), O(2), SO(2), TC(4), SE(2), E(3)], ids=str)
def test_minus_one_is_what_it_says(group, generator):
    d = group.space_dim
    contract = Symmetry(group, {"x": Vectors()}, Vectors())
    inputs = {"x": torch.zeros(1, d, dtype=torch.float64)}
    elements = haar(contract, inputs, 6, antithetic=True)
    linear = group.linear(elements, torch.float64)[0]
    torch.testing.assert_close(linear[0::2], -linear[1::2], rtol=0, atol=1e-14)
