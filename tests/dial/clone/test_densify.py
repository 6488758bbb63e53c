import pytest
import torch
from torch import nn

from tests.dial.clone.cases import TEACHERS, teacher_of
from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.clone import dense_teacher, densify, densify_from_samples
from torsor.errors import RepresentationError, ShapeError
from torsor.groups import SO, O
from torsor.models.equivariant_mlp import EquivariantLinear, EquivariantMLP
from torsor.nn.fiber import Fiber
from torsor.nn.irreps_linear import IrrepsLinear
from torsor.nn.permutation_linear import PermutationLinear
from torsor.representations import Trivial, Vectors

LAYERS = {
    "EquivariantLinear": (lambda: EquivariantLinear((2 * Vectors() + Trivial()).on(SO(3)), (Vectors() + Trivial(2)).on(SO(3))), (7,)),
    "PermutationLinear": (lambda: PermutationLinear("n n -> n", 2, 3), (4, 4, 2)),
    "IrrepsLinear": (lambda: IrrepsLinear((Fiber((2, 3)),), Fiber((1, 2))), (4, 3)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, padding="same", padding_mode="circular"), (2, 6)),
    "Conv2d": (lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), (1, 4, 5)),
}
KNOWN = ("EquivariantLinear", "IrrepsLinear")


def layer_of(name):
    make, shape = LAYERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = make().double()
        for p in layer.parameters():  # biases, too
            nn.init.normal_(p)
    return layer, shape


@pytest.mark.parametrize("name", LAYERS)
def test_the_dense_layer_computes_the_same(name, generator):
    layer, shape = layer_of(name)
    x = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    expected = layer(x)
    for dense in (densify(layer, None if name in KNOWN else shape), densify_from_samples(layer, shape)):
        assert dense(x).shape == expected.shape
        assert (dense(x) - expected).norm() < 1e-12 * expected.norm()
        assert dense.weight.requires_grad
        assert not dense.weight.eq(0).all()


@pytest.mark.parametrize("name", [name for name in TEACHERS if teacher_of(name).linear])
def test_the_dense_layer_of_a_teacher_is_as_equivariant(name, generator):
    teacher = teacher_of(name)
    layer = teacher.at(teacher.sample_tau(generator=generator, dtype=torch.float64))
    x = torch.randn(3, teacher.inputs, generator=generator, dtype=torch.float64)
    for dense in (densify(layer), densify_from_samples(layer)):
        assert (dense(x) - layer(x)).norm() < 1e-12 * layer(x).norm()
        report = assert_equivariant(dense, {"x": x}, 1e-12, teacher.symmetry, samples=2)
        assert report.max_relative < 1e-12 * max(row.growth for row in report.rows)


def test_the_dense_layer_of_a_dense_layer_is_its_matrix(generator):
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    dense = densify(dense_teacher(4, 3).at(weight.flatten()))
    torch.testing.assert_close(dense.weight, nn.Parameter(weight), atol=1e-15, rtol=0)
    assert not dense.bias.any()


def test_a_dense_network_computes_the_same_and_can_forget_its_symmetry(generator):
    network = EquivariantMLP(O(3), 2 * Vectors(), Vectors(), hidden=2, depth=1).double()
    dense = densify(network)
    x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(dense(x), network(x), atol=1e-12, rtol=1e-12)
    assert dense.symmetry.exactness == "none"
    assert sum(p.numel() for p in dense.parameters()) > 3 * sum(p.numel() for p in network.parameters())
    assert equivariance_error(dense, {"x": x}, network.symmetry, samples=2).max_relative < 1e-12
    optimiser = torch.optim.Adam(dense.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        (dense(x)[:, 0] - x[:, 0]).square().mean().backward()
        optimiser.step()
    assert equivariance_error(dense, {"x": x}, network.symmetry, samples=2).max_relative > 1e-3
    assert equivariance_error(network, {"x": x}, samples=2).max_relative < 1e-12


def test_the_dense_layer_keeps_the_type_of_the_layer():
    layer, shape = layer_of("Conv1d")
    assert densify(layer.float(), shape).weight.dtype == torch.float32
    assert densify_from_samples(layer, shape).weight.dtype == torch.float32


def test_what_cannot_be_made_dense_is_refused():
    with pytest.raises(ShapeError, match=r"PermutationLinear does not know the shape of its items, and holds no .*: give shape="):
        densify(PermutationLinear("n -> n", 1, 1))
    with pytest.raises(ShapeError, match="Sequential does not know the shape"):
        densify_from_samples(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(RepresentationError, match="Sequential is not affine"):
        densify(nn.Sequential(nn.Linear(2, 2), nn.GELU()), (2,))
    with pytest.raises(ShapeError, match=r"x is \[1, 3\], but this layer was made dense for \[7\]"):
        densify(layer_of("EquivariantLinear")[0])(torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match="7 samples do not settle 8 unknowns"):
        densify_from_samples(layer_of("EquivariantLinear")[0], samples=7)
