from copy import deepcopy
from typing import NamedTuple

import pytest
import torch
from torch import nn

from tests.dial.symmetrize.networks import ARMS, GRAPH, Corrections, Dense, Graphwise, Linear, cloud, cloud_contract, coupled_error, dense
from tests.dial.symmetrize.networks import dimension as space
from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.symmetrize.averages import Enumerated, Haar
from torsor.dial.symmetrize.base import Draws, Sampler
from torsor.dial.symmetrize.controls import Identity, Phased, SameNoise
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.priors import distance_from_identity
from torsor.dial.symmetrize.symdiff import Symdiff
from torsor.errors import GroupError, ShapeError
from torsor.groups import SE, SO, C, D, E, O, S
from torsor.nn.noise import draw_noise
from torsor.nn.noise_sources import DrawnNoise
from torsor.nn.penalties import total_penalty
from torsor.representations import Permuted, Points, Trivial, Vectors
from torsor.symmetry import Symmetry


class Equivariant(nn.Module):
    """Vectors of the points, with distances for weights."""

    def forward(self, positions, edges, mask=None):
        seen = torch.ones_like(positions[..., :1]) if mask is None else mask[..., None].to(positions)
        difference = (positions[:, :, None] - positions[:, None]) * seen[:, None]
        weight = difference.square().sum(-1, keepdim=True) + edges[..., None]
        return (difference * weight).sum(2) * seen


# -- every arm keeps the promises ---------------------------------------------------------------------------------------------------------

SYMDIFF = [SO(2), O(2), SO(3), O(3), S(), O(3) * S(), SO(3) * S(), SE(3), E(3), SE(2), SE(3) * S()]


@pytest.mark.parametrize("group", SYMDIFF, ids=str)
@pytest.mark.parametrize("noise", [0, 2])
def test_corrected_draws_are_equivariant_whatever_corrects_them(group, noise, generator):
    d = space(group)
    network = Corrections(group, noise=noise)
    module = Symmetrized(dense(d), Symdiff(cloud_contract(group), network, noise_features=noise), samples=3)
    inputs = cloud(generator, d, masked=True)
    assert module.draw(inputs, generator).keys() == module.sampler.noise.keys()
    assert coupled_error(module, inputs, generator) < 1e-10


@pytest.mark.parametrize("group", SYMDIFF, ids=str)
def test_a_network_that_corrects_nothing_leaves_the_average_over_the_group(group, generator):
    d = space(group)
    contract, inputs = cloud_contract(group), cloud(generator, d, masked=True)
    average = Symmetrized(dense(d), Haar(contract), samples=3)
    corrected = Symmetrized(dense(d), Symdiff(contract, Corrections(group, constant=True)), samples=3)
    noise = average.draw(inputs, generator)
    assert (corrected(**inputs, **noise) - average(**inputs, **noise)).abs().max() < 1e-12
    free = Symmetrized(dense(d), Symdiff(contract, Corrections(group)), samples=3)
    assert (free(**inputs, **noise) - average(**inputs, **noise)).abs().max() > 1e-4


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("samples", [1, 3])
def test_a_network_that_is_equivariant_already_is_left_as_it_is(arm, samples, generator):
    inputs = cloud(generator, masked=True)
    for group in (O(3), E(3) * S(), S()):
        module = Symmetrized(Equivariant(), ARMS[arm](cloud_contract(group)), samples=samples).eval()
        assert (module(**inputs) - Equivariant()(**inputs)).abs().max() < 1e-10


def test_an_equivariant_network_is_left_as_it_is_by_averages_over_all_elements(generator):
    inputs = cloud(generator, 2)
    for group in (C(4), D(3), S(), C(4) * S()):
        module = Symmetrized(Equivariant(), Enumerated(cloud_contract(group)))
        assert (module(**inputs) - Equivariant()(**inputs)).abs().max() < 1e-10


def test_the_check_reports_the_coupled_error_and_that_of_the_mean(generator):
    module = Symmetrized(dense(), Haar(cloud_contract(O(3) * S())), samples=2)
    report = assert_equivariant(module, cloud(generator, masked=True), samples=1)
    assert report.exactness == "coupled"
    assert report.max_relative < 1e-10
    assert {row.factor for row in report.rows} == {"O(3) x S()", "O(3)", "S()", "mask"}
    assert [row.draws for row in report.means] == [4, 16, 64]
    assert report.means[-1].error < 5 * report.means[-1].standard_error


def test_the_check_sees_that_a_network_left_as_it_is_is_not_equivariant(generator):
    module = Symmetrized(dense(), Identity(cloud_contract(S())))
    assert module.symmetry.exactness == "none"
    assert equivariance_error(module, cloud(generator), samples=1).max_relative > 1e-2


# -- noise --------------------------------------------------------------------------------------------------------------------------------


def test_a_call_without_noise_is_deterministic_and_the_same_for_an_item_alone(generator):
    module, inputs = Symmetrized(dense(), Haar(cloud_contract(E(3) * S())), samples=3), cloud(generator, batch=3, masked=True)
    whole = module(**inputs)
    assert torch.equal(whole, module(**inputs))
    alone = module(**{name: x[1:2] for name, x in inputs.items()})
    torch.testing.assert_close(alone, whole[1:2], rtol=0, atol=1e-12)


def test_padding_changes_nothing(generator):
    """The same noise is drawn for the valid places, however many there are behind them."""

    class Pooled(nn.Module):
        def forward(self, positions, mask=None):
            weight = torch.linspace(1, 2, positions.shape[1], dtype=positions.dtype)[None, :, None]
            seen = weight if mask is None else weight[:, :, :] * mask[..., None] * 1.0
            rank = (torch.cumsum(seen > 0, 1) * (seen > 0)).to(positions)
            return (positions * rank.sin()).sum(1)

    contract = Symmetry(SO(3) * S(), {"positions": (Vectors(), Permuted(1))}, (Vectors(), Trivial()))
    x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([[3], [5]])
    module = Symmetrized(Pooled(), Haar(contract), samples=4)
    padded = module(x * mask[..., None], mask)
    torch.testing.assert_close(module(x[:1, :3]), padded[:1], rtol=0, atol=1e-12)
    drawn = {n: e[:1, :, :3] if n == "haar_1" else e[:1] for n, e in module.draw({"positions": x, "mask": mask}, generator).items()}
    further = {n: torch.cat((e, torch.tensor([3, 4]).expand(1, 4, 2)), -1) if n == "haar_1" else e for n, e in drawn.items()}
    alone = module(x[:1, :3], **drawn)
    torch.testing.assert_close(module((x * mask[..., None])[:1], mask[:1], **further), alone, rtol=0, atol=1e-12)


def test_samples_are_those_of_the_mode_or_of_the_noise(generator):
    seen = []

    class Counting(Dense):
        def forward(self, positions, edges):
            seen.append(len(positions))
            return super().forward(positions, edges)

    inputs = cloud(generator)
    module = Symmetrized(Counting(28, 12), Haar(cloud_contract(O(3))), samples=2, evaluation_samples=5)
    module.train()(**inputs)
    module.eval()(**inputs)
    module(**inputs, **module.noise(inputs, 7, DrawnNoise(generator)))
    assert seen == [4, 10, 14]
    assert draw_noise(module, inputs, generator)["haar_0"].shape == (2, 5, 3, 3)
    assert draw_noise(module.train(), inputs, generator)["haar_0"].shape == (2, 2, 3, 3)


def test_fixed_noise_does_not_depend_on_the_generator(generator):
    inputs = cloud(generator)
    module = Symmetrized(dense(), SameNoise(Haar(cloud_contract(O(3))), seed=5), samples=2)
    first, second = (module.draw(inputs, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(first["haar_0"], second["haar_0"])
    other = Symmetrized(dense(), Haar(cloud_contract(O(3))), samples=2)
    assert not torch.equal(*(other.draw(inputs, torch.Generator().manual_seed(seed))["haar_0"] for seed in (1, 2)))


def test_noise_of_the_network_is_passed_on(generator):
    class Shaken(nn.Module):
        def __init__(self):
            super().__init__()
            self.symmetry = Symmetry(O(3), {"x": Vectors(), "kick": Vectors()}, Vectors(), exactness="coupled")

        def draw(self, inputs, generator):
            return {"kick": torch.randn(inputs["x"].shape, generator=generator, dtype=inputs["x"].dtype)}

        def forward(self, x, kick=None):
            return x**3 if kick is None else (x + kick) ** 3

    module = Symmetrized(Shaken(), Haar(Shaken().symmetry), samples=2)
    x = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    noise = module.draw({"x": x}, generator)
    assert set(noise) == {"kick", "haar_0"}
    assert coupled_error(module, {"x": x}, generator) < 1e-10
    assert (module(x, **noise) - module(x, haar_0=noise["haar_0"])).abs().max() > 1e-3


def test_arguments_of_one_name_are_refused():
    class Named(nn.Module):
        def forward(self, x, haar_0):
            return x

    with pytest.raises(GroupError, match="argument 'haar_0', which is also the name of the sampler's noise"):
        Symmetrized(Named(), Haar(Symmetry(O(3), {"x": Vectors()}, Vectors())))


# -- outputs ------------------------------------------------------------------------------------------------------------------------------


def test_chunks_change_nothing(generator):
    inputs = cloud(generator, batch=3, masked=True)
    contract = cloud_contract(E(3) * S())
    whole = Symmetrized(dense(), Haar(contract), samples=4)(**inputs)
    for size in (1, 5, 12, 100):
        chunked = Symmetrized(dense(), Haar(contract), samples=4, max_batch=size)
        torch.testing.assert_close(chunked(**inputs), whole, rtol=0, atol=1e-12)
    by_place = Symmetrized(dense(), Haar(contract), samples=4)(inputs["positions"], inputs["edges"], inputs["mask"])
    assert torch.equal(by_place, whole)


def test_the_network_never_sees_more_than_the_largest_batch(generator):
    seen = []

    class Counting(Dense):
        def forward(self, positions, edges):
            seen.append(len(positions))
            return super().forward(positions, edges)

    Symmetrized(Counting(28, 12), Haar(cloud_contract(O(3))), samples=5, max_batch=4)(**cloud(generator))
    assert seen == [4, 4, 2]


class Pair(NamedTuple):
    node: torch.Tensor
    graph: torch.Tensor


def test_mappings_tuples_and_named_tuples_come_back_as_they_are(generator):
    inputs = {
        "adjacency": torch.randn(2, 4, 4, generator=generator, dtype=torch.float64),
        "features": torch.randn(2, 4, 2, generator=generator, dtype=torch.float64),
    }
    base = Graphwise(4)
    named = Symmetrized(base, Haar(GRAPH), samples=2)(**inputs)
    contract = Symmetry(S(), GRAPH.inputs, {"node": Permuted(1), "graph": Trivial()})

    class Tuple(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.base, self.kind = base, kind

        def forward(self, adjacency, features):
            y = self.base(adjacency, features)
            return self.kind(y["node"], y["graph"]) if self.kind is Pair else (y["node"], y["graph"])

    for kind in (tuple, Pair):
        found = Symmetrized(Tuple(kind), Haar(contract), samples=2, max_batch=3)(**inputs)
        assert type(found) is kind
        torch.testing.assert_close(found[0], named["node"], rtol=0, atol=1e-12)
        torch.testing.assert_close(found[1], named["graph"], rtol=0, atol=1e-12)


def test_classes_cannot_be_averaged(generator):
    class Classes(nn.Module):
        def forward(self, x):
            return x.argmax(-1)

    with pytest.raises(ShapeError, match=r"torch.int64, of which there is no mean"):
        Symmetrized(Classes(), Haar(Symmetry(O(3), {"x": Vectors()}, Trivial())))(torch.randn(2, 3, generator=generator))


class Weighted(Sampler):
    """Two fixed rotations of the plane with weights."""

    def __init__(self, symmetry, weights):
        super().__init__(symmetry)
        self.noise, self.weights = {}, weights

    def draw(self, inputs, samples, source):
        return {}

    def forward(self, inputs, noise, samples):
        elements = self.symmetry.group.elements()[:2].expand(len(inputs["x"]), 2, 2)
        return Draws(elements, self.weights.expand(len(inputs["x"]), 2))


def test_weights_count(generator):
    contract = Symmetry(C(4), {"x": Vectors()}, Vectors())
    w = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    module = Symmetrized(Linear(w), Weighted(contract, torch.tensor([0.25, 0.75], dtype=torch.float64)))
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    expected = 0.25 * w + 0.75 * turn @ w @ turn.mT
    torch.testing.assert_close(module(torch.eye(2, dtype=torch.float64)).mT, expected, rtol=0, atol=1e-14)


# -- training -----------------------------------------------------------------------------------------------------------------------------


class Turned(Sampler):
    """A rotation of the plane by an angle that is learned, with a penalty of its own."""

    def __init__(self, symmetry, angle):
        super().__init__(symmetry)
        self.noise, self.angle = {}, nn.Parameter(torch.tensor([angle], dtype=torch.float64))

    def draw(self, inputs, samples, source):
        return {}

    def forward(self, inputs, noise, samples):
        g = SO(2).exp(self.angle).expand(len(inputs["x"]), 1, 2, 2)
        return Draws(g, penalty=self.angle.square().sum() if self.training else None)


def test_penalties_are_given_once_and_only_after_training_calls(generator):
    contract = Symmetry(SO(2), {"x": Vectors()}, Vectors())
    w, x = torch.randn(2, 2, generator=generator, dtype=torch.float64), torch.randn(3, 2, generator=generator, dtype=torch.float64)
    module = Symmetrized(Linear(w), Turned(contract, 0.3), prior=2.0)
    module.eval()(x)
    assert module.penalty() is None
    module.train()(x)
    torch.testing.assert_close(
        total_penalty(module), torch.tensor(0.09 + 2 * (1 - torch.tensor(0.3, dtype=torch.float64).cos().item()), dtype=torch.float64)
    )
    assert module.penalty() is None
    deepcopy(module)
    module(x)
    module.penalty().backward()
    torch.testing.assert_close(module.sampler.angle.grad, torch.tensor([0.6 + 2 * torch.tensor(0.3).sin().item()], dtype=torch.float64))


def test_distances_from_the_identity_are_those_of_the_matrices(generator):
    """1 - tr(g) / n for rotations and permutations, whatever the translation; the soft diagonal where there is one."""
    contract = cloud_contract(E(3) * S())
    inputs = cloud(generator)
    sampler = Haar(contract)
    draws = sampler(inputs, sampler.draw(inputs, 3, DrawnNoise(generator)), 3)
    q, p = E(3).linear(draws.elements[0]), S().matrix(draws.elements[1])
    traces = [m.diagonal(dim1=-2, dim2=-1).mean(-1) for m in (q, p)]
    found = distance_from_identity(contract, draws, (True, True))
    torch.testing.assert_close(found, (2 - traces[0] - traces[1]).mean(), rtol=0, atol=1e-7)
    torch.testing.assert_close(distance_from_identity(contract, draws, (True, False)), (1 - traces[0]).mean(), rtol=0, atol=1e-12)
    soft = (p + 0.1).requires_grad_()
    weights = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).expand(2, 3)
    weighted = distance_from_identity(contract, draws._replace(soft=(None, soft), weights=weights), (False, True))
    torch.testing.assert_close(weighted, (1 - traces[1] - 0.1)[:, :2].mean(), rtol=0, atol=1e-12)
    assert torch.autograd.grad(weighted, soft)[0].abs().max() > 0
    rest = Identity(contract)(inputs, {}, 1)
    assert distance_from_identity(contract, rest, (True, True)) == 0


def test_the_prior_draws_elements_to_the_identity(generator):
    contract = Symmetry(SO(2), {"x": Vectors()}, Vectors())
    module = Symmetrized(Linear(torch.eye(2, dtype=torch.float64)), Turned(contract, 1.2), prior=1.0)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.3)
    for _ in range(50):
        optimiser.zero_grad()
        module(torch.ones(1, 2, dtype=torch.float64))
        module.penalty().backward()
        optimiser.step()
    assert module.sampler.angle.abs() < 1e-2


def test_derivatives_pass_twice_through_what_corrects_the_draws(generator):
    """Forces of an energy, and their derivative."""

    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Dense(28, 12)

        def forward(self, positions, edges):
            return self.inner(positions, edges).sum((1, 2)).unsqueeze(1)

    contract = Symmetry(E(3) * S(), cloud_contract(E(3) * S()).inputs, (Trivial(), Trivial()))
    sampler = Symdiff(contract, Corrections(E(3) * S()))
    module = Symmetrized(Energy(), sampler, samples=2).eval()
    inputs = cloud(generator, batch=1)

    def forces(positions):
        return torch.autograd.grad(module(positions, inputs["edges"]).sum(), positions, create_graph=True)[0]

    positions = inputs["positions"].requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: module(x, inputs["edges"]).sum(), positions, atol=1e-5)
    assert forces(positions).abs().max() > 1e-4
    gradients = torch.autograd.grad(forces(positions).square().sum(), list(sampler.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)
    assert any(g is not None and g.abs().max() > 0 for g in gradients)


def test_corrections_of_permutations_are_trained(generator):
    contract = Symmetry(S(), cloud_contract(S()).inputs, Permuted(1))
    module = Symmetrized(dense(), Symdiff(contract, Corrections(S())), samples=2).train()
    module(**cloud(generator, masked=True)).square().sum().backward()
    assert module.sampler.network.outer.weight.grad.abs().max() > 1e-8
    assert module.penalty().isfinite()


# -- phases and refusals ------------------------------------------------------------------------------------------------------------------


def test_augmentation_moves_in_training_and_test_time_averages_in_evaluation(generator):
    contract, inputs, network = cloud_contract(O(3)), cloud(generator), dense()
    augmented = Symmetrized(network, Phased(Haar(contract), Identity(contract)))
    averaged = Symmetrized(network, Phased(Identity(contract), Haar(contract)), samples=2)
    plain, moved = network(**inputs), Symmetrized(network, Haar(contract), samples=1)(**inputs)
    assert (augmented.eval()(**inputs) - plain).abs().max() < 1e-12
    assert (augmented.train()(**inputs) - moved).abs().max() < 1e-12
    assert (averaged.train()(**inputs) - plain).abs().max() < 1e-12
    assert (averaged.eval()(**inputs) - plain).abs().max() > 1e-3
    assert augmented.symmetry.exactness == "none"
    assert averaged.symmetry.exactness == "coupled"


def test_numbers_below_one_are_refused():
    sampler = Haar(cloud_contract(O(3)))
    with pytest.raises(GroupError, match="samples is 0"):
        Symmetrized(dense(), sampler, samples=0)
    with pytest.raises(GroupError, match="max_batch is 0"):
        Symmetrized(dense(), sampler, max_batch=0)
    with pytest.raises(GroupError, match="put a batch axis first"):
        Haar(Symmetry(O(3), {"x": Points()}, Points(), batched=False))
    with pytest.raises(GroupError, match="has 1 factors: say of each"):
        Haar(cloud_contract(O(3)), moving=(True, False))
    with pytest.raises(GroupError, match="takes no argument 'noise'"):
        Symdiff(cloud_contract(O(3)), dense(), noise_features=2)
    with pytest.raises(GroupError, match=r"uniform draws of C\(4\) a little"):
        Symdiff(Symmetry(C(4), {"x": Vectors()}, Vectors()), dense())
    with pytest.raises(GroupError, match="different contracts"):
        Phased(Haar(cloud_contract(O(3))), Haar(cloud_contract(SO(3))))


def test_too_few_corrections_are_refused(generator):
    with pytest.raises(ShapeError, match="returns 1 tensors: give one for each of 2 factors"):
        Symmetrized(dense(), Symdiff(cloud_contract(O(3) * S()), dense()))(**cloud(generator))


# -- tracing ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.compile
@pytest.mark.parametrize("group", [E(3) * S(), S(), O(2), C(5)], ids=str)
def test_averages_compile_as_one_graph(group, generator):
    d = 2 if group in (O(2), C(5)) else 3
    inputs = cloud(generator, d, masked=True)
    module = Symmetrized(dense(d), Haar(cloud_contract(group)), samples=2).eval()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    noise = module.draw(inputs, generator)
    torch.testing.assert_close(compiled(**inputs), module(**inputs), rtol=0, atol=1e-12)
    torch.testing.assert_close(compiled(**inputs, **noise), module(**inputs, **noise), rtol=0, atol=1e-12)
