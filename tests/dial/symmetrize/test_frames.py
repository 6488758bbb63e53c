import pytest
import torch

from tests.dial.symmetrize.scenes import DOUBLE, Plain, cloud, cloud_contract, drawn, moved_call, set_contract, sorted_rows, times
from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.symmetrize.frames import PCAFrame, RandomPCAFrame, principal_axes
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.weighted import WeightedFrame
from torsor.errors import GroupError
from torsor.groups import SE, SL2, SO, E, O, S
from torsor.nn.noise_sources import DrawnNoise
from torsor.representations import Irreps, Permuted, Points, Trivial, Vectors
from torsor.symmetry import Symmetry

GROUPS = [SO(2), O(2), SE(2), E(2), SO(3), O(3), SE(3), E(3), O(4)]
NAMES = [str(group) for group in GROUPS]
CLOUDS = {
    "one point": torch.tensor([[[1.0, 2.0, 3.0]]], **DOUBLE),
    "coincident": torch.ones(1, 4, 3, **DOUBLE),
    "collinear": torch.linspace(-1, 2, 5, **DOUBLE).reshape(1, 5, 1) * torch.tensor([1.0, 2.0, -1.0], **DOUBLE),
    "cube": torch.cartesian_prod(*(torch.tensor([-1.0, 1.0], **DOUBLE),) * 3).unsqueeze(0),
    "zero": torch.zeros(1, 3, 3, **DOUBLE),
}


@pytest.mark.parametrize("group", GROUPS, ids=NAMES)
def test_frame_moves_with_the_input_as_a_set(group, generator):
    sampler = PCAFrame(cloud_contract(group))
    x = cloud(generator, dimension=group.space_dim)
    h = group.sample(len(x), generator=generator, dtype=torch.float64)
    here, there = (sampler({"positions": p}, {}, 1).elements for p in (x, group.act(h, x)))
    assert here.shape[1] == 2 ** (group.space_dim - isinstance(group, SO | SE))
    torch.testing.assert_close(sorted_rows(group, there), sorted_rows(group, times(group, h, here)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("group", GROUPS, ids=NAMES)
def test_elements_are_orthogonal_and_proper_where_the_group_is(group, generator):
    sampler = PCAFrame(cloud_contract(group))
    linear = group.linear(sampler({"positions": cloud(generator, dimension=group.space_dim)}, {}, 1).elements)
    eye = torch.eye(group.space_dim, **DOUBLE).expand(linear.shape)
    torch.testing.assert_close(linear.mT @ linear, eye, rtol=0, atol=1e-12)
    determinants = torch.linalg.det(linear)
    wanted = torch.ones_like(determinants) if isinstance(group, SO | SE) else determinants.sign()
    torch.testing.assert_close(determinants, wanted, rtol=0, atol=1e-12)
    assert isinstance(group, SO | SE) == bool((determinants > 0).all())


@pytest.mark.parametrize("group", GROUPS, ids=NAMES)
def test_average_over_the_frame_is_exact(group, generator):
    x = cloud(generator, dimension=group.space_dim)
    module = Symmetrized(Plain(6, group.space_dim), PCAFrame(cloud_contract(group)))
    assert module.symmetry.exactness == "exact"
    assert_equivariant(module, {"positions": x}, samples=2)


@pytest.mark.parametrize("group", GROUPS, ids=NAMES)
def test_random_elements_move_with_the_input_and_their_noise(group, generator):
    sampler = RandomPCAFrame(cloud_contract(group))
    x = cloud(generator, dimension=group.space_dim)
    h = group.sample(len(x), generator=generator, dtype=torch.float64)
    noise, here = drawn(sampler, {"positions": x}, 5)
    turned = Vectors().apply(group, h, noise["directions"])
    there = sampler({"positions": group.act(h, x)}, {"directions": turned}, 5)
    torch.testing.assert_close(there.elements, times(group, h, here.elements), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("group", [O(3), SO(3), E(3), SE(3)], ids=["O(3)", "SO(3)", "E(3)", "SE(3)"])
def test_random_elements_move_with_symmetric_clouds_too(group, kind, generator):
    sampler, x = RandomPCAFrame(cloud_contract(group)), CLOUDS[kind]
    module = Symmetrized(Plain(x.shape[1], 3), sampler, samples=4)
    noise, draws = drawn(sampler, {"positions": x}, 4)
    linear = group.linear(draws.elements)
    torch.testing.assert_close(linear.mT @ linear, torch.eye(3, **DOUBLE).expand(linear.shape), rtol=0, atol=1e-12)
    for _ in range(3):
        h = group.sample(1, generator=generator, dtype=torch.float64)
        left, right = moved_call(module, {"positions": x}, h, noise)
        torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


def test_finite_frame_is_none_where_eigenvalues_agree(generator):
    """A cube: the axes that the solver returns for the second moments of a cube are not those of the turned cube."""
    x = {"positions": CLOUDS["cube"]}
    weighted = equivariance_error(Symmetrized(Plain(8, 3), PCAFrame(cloud_contract(O(3)))), x, samples=2)
    assert weighted.max_relative > 1e-2


def test_random_elements_are_those_of_the_frame(generator):
    """Each of the eight is drawn equally often."""
    x = {"positions": cloud(generator, batch=1)}
    every = PCAFrame(cloud_contract(O(3)))(x, {}, 1).elements[0]
    some = drawn(RandomPCAFrame(cloud_contract(O(3))), x, 4000)[1].elements[0]
    nearest = (some.unsqueeze(1) - every).flatten(2).norm(dim=-1)
    assert nearest.amin(1).max() < 1e-10
    counts = nearest.argmin(1).bincount(minlength=8)
    assert ((counts - 500).square() / 500).sum() < 24.3  # chi-square with 7 degrees of freedom, 0.999


def test_random_basis_of_a_repeated_eigenvalue_is_haar(generator):
    """A single point in its own centre: nothing is known, so that elements have the moments of Haar rotations."""
    draws = drawn(RandomPCAFrame(cloud_contract(SE(3))), {"positions": CLOUDS["one point"]}, 20000)[1]
    linear = SE(3).linear(draws.elements)[0]
    assert linear.mean(0).abs().max() < 5 / 20000**0.5
    assert (linear.square().mean(0) - 1 / 3).abs().max() < 5 / 20000**0.5
    assert abs(linear.diagonal(dim1=-2, dim2=-1).sum(-1).square().mean() - 1) < 5 * 2 / 20000**0.5


def test_average_of_a_linear_map_keeps_its_diagonal_in_the_axes(generator):
    """f(x) = W x becomes U diag(W) U^T x, with the axes U and the diagonal part of W."""
    x = cloud(generator)
    weight = torch.randn(3, 3, generator=generator, **DOUBLE)

    class Linear(torch.nn.Module):
        def forward(self, positions):
            return positions @ weight.T

    axes = principal_axes(PCAFrame(cloud_contract(O(3))).cloud({"positions": x})).vectors
    output = Symmetrized(Linear(), PCAFrame(cloud_contract(O(3))))(x)
    wanted = x @ (axes @ weight.diagonal().diag() @ axes.mT).mT
    torch.testing.assert_close(output, wanted, rtol=0, atol=1e-12)


def test_network_that_is_equivariant_is_returned(generator):
    class Radial(torch.nn.Module):
        def forward(self, positions):
            centred = positions - positions.mean(1, keepdim=True)
            return centred * centred.square().sum(-1, keepdim=True)

    x = cloud(generator)
    for sampler in (PCAFrame(cloud_contract(E(3))), RandomPCAFrame(cloud_contract(E(3)))):
        torch.testing.assert_close(Symmetrized(Radial(), sampler, samples=3)(x), Radial()(x), rtol=0, atol=1e-10)


def test_sampled_average_tends_to_that_over_the_frame(generator):
    x = cloud(generator, batch=1)
    whole = Symmetrized(Plain(6, 3), PCAFrame(cloud_contract(O(3))))(x)
    some = Symmetrized(Plain(6, 3), RandomPCAFrame(cloud_contract(O(3))))
    noise = some.noise({"positions": x}, 4000, DrawnNoise(generator))
    terms, _ = some.terms(positions=x, **noise)
    error = (terms.mean(1) - whole).norm()
    assert error < 5 * (terms.var(1).sum() / 4000).sqrt()


def test_padding_does_not_change_the_frame(generator):
    contract = set_contract(E(3) * S())
    x = cloud(generator, batch=2)
    padded = torch.cat((x, 100 * torch.ones(2, 3, 3, **DOUBLE)), 1)
    mask = torch.arange(9).expand(2, 9) < 6
    alone, wide = (PCAFrame(contract)(given, {}, 1).elements[0] for given in ({"positions": x}, {"positions": padded, "mask": mask}))
    torch.testing.assert_close(sorted_rows(E(3), wide), sorted_rows(E(3), alone), rtol=0, atol=1e-10)
    network = Plain(9, 3)
    first = Symmetrized(network, PCAFrame(contract))(positions=x, mask=mask[:, :6])
    second = Symmetrized(network, PCAFrame(contract))(positions=padded, mask=mask)
    torch.testing.assert_close(second[:, :6], first, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("kind_of_frame", [PCAFrame, RandomPCAFrame])
@pytest.mark.parametrize("group", [SO(3), E(3)], ids=["SO(3)", "E(3)"])
def test_degenerate_clouds_have_finite_outputs_and_gradients(kind, kind_of_frame, group):
    x = CLOUDS[kind].clone().requires_grad_()
    module = Symmetrized(Plain(x.shape[1], 3), kind_of_frame(cloud_contract(group)), samples=2)
    output = module(x)
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    assert output.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind_of_frame", [PCAFrame, RandomPCAFrame])
def test_forces_are_derivatives_through_the_axes(kind_of_frame, generator):
    x = cloud(generator, batch=2, points=4).requires_grad_()
    module = Symmetrized(Plain(4, 3, out="scalar"), kind_of_frame(cloud_contract(E(3), Trivial())), samples=2)
    assert torch.autograd.gradcheck(module, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(module, (x[:1].detach().requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("kind_of_frame", [PCAFrame, RandomPCAFrame, WeightedFrame])
def test_averages_hold_in_single_precision(kind_of_frame, generator):
    x = cloud(generator, points=4).float()
    assert_equivariant(Symmetrized(Plain(4, 3).float(), kind_of_frame(cloud_contract(E(3))), samples=2), {"positions": x}, samples=2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_frames_of_low_precision_inputs_are_valid(dtype, generator):
    x = cloud(generator).to(dtype)
    for sampler in (PCAFrame(cloud_contract(SO(3))), RandomPCAFrame(cloud_contract(SO(3)))):
        elements = drawn(sampler, {"positions": x}, 2)[1].elements
        assert elements.dtype == torch.float32
        torch.testing.assert_close(elements.mT @ elements, torch.eye(3).expand(elements.shape), rtol=0, atol=1e-5)


def test_vectors_among_irreps_make_a_frame(generator):
    """An input of scalars and vectors, and pseudovectors, which count only where there are no reflections."""
    for group, vectors in ((O(3), 2), (SO(3), 3)):
        contract = Symmetry(group, {"x": Irreps("1x0e + 2x1o + 1x1e")}, Irreps("1x1o"))
        sampler = PCAFrame(contract)
        x = torch.randn(2, 10, generator=generator, **DOUBLE)
        assert sampler.cloud({"x": x}).points.shape == (2, vectors, 3)
        h = group.sample(2, generator=generator, dtype=torch.float64)
        here, there = (sampler({"x": y}, {}, 1).elements for y in (x, contract.transform(h, {"x": x})["x"]))
        torch.testing.assert_close(sorted_rows(group, there), sorted_rows(group, times(group, h, here)), rtol=0, atol=1e-6)


def test_positions_come_before_velocities_as_sources(generator):
    inputs = {"positions": (Points(), Permuted(1)), "velocities": (Vectors(), Permuted(1))}
    contract = Symmetry(E(3) * S(), inputs, (Vectors(), Permuted(1)))
    assert PCAFrame(contract).sources == ("positions",)
    both = PCAFrame(contract, sources=("positions", "velocities"))
    x = {name: cloud(generator, batch=2) for name in inputs}
    assert both.cloud(x).points.shape == (2, 12, 3)


def test_what_has_no_frame_is_refused():
    with pytest.raises(GroupError, match="SL2 has 0 factors that turn space"):
        PCAFrame(Symmetry(SL2(), {"x": Vectors()}, Vectors()))
    with pytest.raises(GroupError, match="nothing to be made of"):
        PCAFrame(Symmetry(O(3), {"x": Trivial(3)}, Trivial()))
    with pytest.raises(GroupError, match="'x' carries no points or vectors"):
        PCAFrame(Symmetry(O(3), {"x": Trivial(3), "v": Vectors()}, Trivial()), sources=("x",))
    with pytest.raises(GroupError, match=r"2\^11 elements"):
        PCAFrame(cloud_contract(O(11)))
    with pytest.raises(GroupError, match="made of positions, but inputs has x"):
        PCAFrame(cloud_contract(O(3)))({"x": torch.zeros(1, 3)}, {}, 1)


@pytest.mark.compile
@pytest.mark.parametrize("kind_of_frame", [PCAFrame, RandomPCAFrame])
def test_symmetrised_networks_compile_whole(kind_of_frame, generator):
    x = cloud(generator)
    module = Symmetrized(Plain(6, 3), kind_of_frame(cloud_contract(E(3))), samples=2)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x), rtol=0, atol=1e-10)
