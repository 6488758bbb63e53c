from copy import deepcopy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.relax import AverageProjection, BasisProjection, ProjectedLinear, project_, projection, relax, set_strength
from torsor.errors import ConfigError, GroupError, RepresentationError, ShapeError
from torsor.groups import SE, SO, C, D, O, RestrictedLorentz, S
from torsor.models import EquivariantMLP
from torsor.models.equivariant_mlp import Gated
from torsor.nn.penalties import total_penalty
from torsor.representations import Defining, Irreps, Regular, Trivial, Vectors, equivariant_basis
from torsor.symmetry import Symmetry
from torsor.testing import optimise

CASES = {
    "O(3)": (O(3), 2 * Vectors() + Trivial(2), Vectors() + Trivial() + Vectors()),
    "SO(3)": (SO(3), Irreps("2x0e + 1x1o + 1x2e"), Irreps("1x2e + 3x1o")),
    "C(4)": (C(4), Regular() + Vectors(), 2 * Regular()),
    "D(3)": (D(3), Vectors() + Trivial(), Regular()),
    "S(4)": (S(4), Defining() @ Defining(), 2 * Defining()),
    "SO+(1, 3)": (RestrictedLorentz(), 2 * Vectors() + Trivial(), Vectors() + Trivial()),
}
FINITE = ["C(4)", "D(3)", "S(4)"]


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def reps(name):
    group, rep_in, rep_out = CASES[name]
    return group, rep_in.on(group), rep_out.on(group)


# -- Pi ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_pi_is_the_projection_onto_the_basis_of_equivariant_maps(name, generator):
    group, rep_in, rep_out = reps(name)
    weight = normal(generator, rep_out.dim, rep_in.dim)
    basis = equivariant_basis(rep_in, rep_out)
    expected = torch.einsum("kab,ab,koi->oi", basis, weight, basis)
    torch.testing.assert_close(BasisProjection(rep_in, rep_out, group).double()(weight), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_pi_is_idempotent_orthogonal_and_equivariant(name, generator):
    group, rep_in, rep_out = reps(name)
    pi = projection(rep_in, rep_out).double()
    weight, other = normal(generator, rep_out.dim, rep_in.dim), normal(generator, rep_out.dim, rep_in.dim)
    projected = pi(weight)
    assert 1e-3 < projected.norm() < weight.norm()
    torch.testing.assert_close(pi(projected), projected, rtol=0, atol=1e-12)
    assert abs(((weight - projected) * pi(other)).sum()) < 1e-11  # what is left is orthogonal to all equivariant maps
    g = group.sample(generator=generator, dtype=torch.float64)
    left, right = rep_out.matrix(g).double(), rep_in.matrix(g).double()
    assert (left @ projected - projected @ right).norm() < 1e-10 * projected.norm() * max(1, left.norm())


@pytest.mark.parametrize("name", FINITE)
def test_the_mean_over_a_finite_group_is_the_same_projection(name, generator):
    group, rep_in, rep_out = reps(name)
    weight = normal(generator, rep_out.dim, rep_in.dim)
    average = AverageProjection(rep_in, rep_out, group).double()
    torch.testing.assert_close(average(weight), BasisProjection(rep_in, rep_out).double()(weight), rtol=0, atol=1e-12)


def test_the_mean_over_random_elements_approaches_the_projection(generator):
    group, rep_in, rep_out = reps("O(3)")
    weight = normal(generator, rep_out.dim, rep_in.dim)
    exact = projection(rep_in, rep_out).double()(weight)
    errors = []
    for samples in (100, 10_000):
        found = AverageProjection(rep_in, rep_out, group, samples, generator).double()(weight)
        errors.append((found - exact).norm().item())
    assert 3 < errors[0] / errors[1] < 30  # ten, give or take chance
    assert errors[1] < 0.1 * exact.norm()


def test_a_basis_too_large_gives_way_to_the_mean(generator):
    rep = (Defining() @ Defining() @ Defining()).on(S(5))
    pi = projection(rep, Defining().on(S(5))).double()
    assert isinstance(pi, BasisProjection)
    wide = (Defining() @ Defining() @ Defining()).on(S(5))
    pi = projection(wide, wide).double()
    assert isinstance(pi, AverageProjection)
    weight = normal(generator, 125, 125)
    torch.testing.assert_close(pi(pi(weight)), pi(weight), rtol=0, atol=1e-12)


def test_groups_without_a_mean_are_refused():
    with pytest.raises(GroupError, match="cannot be listed"):
        AverageProjection(Vectors(), Vectors(), SO(3))
    with pytest.raises(GroupError, match="compact"):
        AverageProjection(Vectors(), Vectors(), SE(3), samples=4)
    with pytest.raises(RepresentationError, match="more than 4096"):
        projection(Irreps("1x40e").on(SO(3)), Irreps("1x40e").on(SO(3)))


# -- linear layers -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_projected_layer_is_equivariant_and_the_nearest_that_is(name, generator):
    group, rep_in, rep_out = CASES[name]
    torch.manual_seed(0)
    layer = nn.Linear(rep_in.on(group).dim, rep_out.on(group).dim).double()
    free = layer.weight.detach().clone()
    layer.symmetry = Symmetry(group, {"input": rep_in}, rep_out, mask=None)
    inputs = {"input": normal(generator, 5, layer.in_features)}
    assert equivariance_error(layer, inputs, samples=2).max_relative > 1e-2
    assert project_(layer, rep_in, rep_out, group) is layer
    assert_equivariant(layer, inputs, samples=2)
    distance = (free - layer.weight).norm()
    for matrix in equivariant_basis(rep_in.on(group), rep_out.on(group)):
        assert distance < (free - layer.weight - 0.1 * matrix).norm()


def test_layers_without_a_bias_and_of_another_shape():
    layer = nn.Linear(3, 3, bias=False)
    project_(layer, Vectors(), Vectors(), O(3))
    torch.testing.assert_close(layer.weight, layer.weight[0, 0] * torch.eye(3), rtol=0, atol=1e-7)
    with pytest.raises(ShapeError, match="map 3 numbers to 3"):
        project_(nn.Linear(3, 4), Vectors(), Vectors(), O(3))


def test_the_penalty_is_the_squared_distance_and_counts_as_the_dial_says(generator):
    group, rep_in, rep_out = reps("O(3)")
    torch.manual_seed(0)
    layer = nn.Linear(rep_in.dim, rep_out.dim).double()
    basis, biases = equivariant_basis(rep_in, rep_out), equivariant_basis(Trivial().on(group), rep_out)
    inside = torch.einsum("kab,ab->k", basis, layer.weight).square().sum() + (biases.squeeze(-1) @ layer.bias).square().sum()
    distance = layer.weight.square().sum() + layer.bias.square().sum() - inside
    made = ProjectedLinear(layer, rep_in, rep_out, 0.5, penalty=2.0).double()
    torch.testing.assert_close(made.penalty(), 2 * distance, rtol=1e-12, atol=0)
    set_strength(made, 0.2)
    torch.testing.assert_close(made.penalty(), 8 * distance, rtol=1e-12, atol=0)
    x = normal(generator, 4, rep_in.dim)
    assert torch.equal(made(x), layer(x))
    for strength in (0.0, 1.0):
        set_strength(made, strength)
        assert made.penalty() is None
    set_strength(made, 0.0)
    torch.testing.assert_close(made(x), project_(deepcopy(layer), rep_in, rep_out)(x), rtol=0, atol=1e-12)


# -- models ------------------------------------------------------------------------------------------------------------------------------


def vectors_model():
    torch.manual_seed(0)
    return EquivariantMLP(O(3), 2 * Vectors() + Trivial(), Vectors(), hidden=2, depth=1).double()


def test_a_projected_model_starts_as_the_model_and_comes_back_to_a_strict_one(generator):
    plain = vectors_model()
    model = relax(plain, method="projection").eval()
    inputs = {"x": normal(generator, 5, 7)}
    torch.testing.assert_close(model(**inputs), plain(**inputs), rtol=0, atol=1e-12)
    assert total_penalty(model) < 1e-24
    with model.strict():
        torch.testing.assert_close(model(**inputs), plain(**inputs), rtol=0, atol=1e-12)
    optimise(model, inputs, steps=5, rate=1e-2)
    assert total_penalty(model) > 1e-6
    assert model.symmetry.exactness == "approximate"
    assert equivariance_error(model, inputs, samples=2).max_relative > 1e-4
    with model.strict():
        assert model.symmetry.exactness == "exact"
        assert_equivariant(model, inputs, 1e-10, samples=2)


def test_a_larger_penalty_leaves_less_of_the_deviation(generator):
    inputs, target = {"x": normal(generator, 20, 7)}, normal(generator, 20, 3)
    left = []
    for strength in (0.9, 0.05):
        model = relax(vectors_model(), method="projection", strength=strength)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(15):
            optimiser.zero_grad()
            (((model(**inputs) - target) ** 2).mean() + total_penalty(model)).backward()
            optimiser.step()
        set_strength(model, 0.5)
        left.append(total_penalty(model).item())
    assert left[0] > 2 * left[1] > 0


class PlainNetwork(nn.Module):
    """An ordinary network whose hidden layer is said to hold vectors and scalars; its gates commute with rotations."""

    def __init__(self):
        super().__init__()
        self.hidden = (3 * Vectors() + Trivial(2)).on(O(3))
        gated = Gated(self.hidden)
        self.reps = {"first": ((2 * Vectors()).on(O(3)), gated.rep_in.on(O(3))), "last": (self.hidden, Vectors().on(O(3)))}
        self.first, self.gated, self.last = nn.Linear(6, 14), gated, nn.Linear(11, 3)
        self.symmetry = Symmetry(O(3), {"x": 2 * Vectors()}, Vectors(), "none", mask=None)

    def forward(self, x):
        return self.last(self.gated(self.first(x)))


def test_plain_layers_with_given_representations_are_drawn_towards_equivariance(generator):
    torch.manual_seed(0)
    plain = PlainNetwork().double()
    contract = Symmetry(O(3), {"x": 2 * Vectors()}, Vectors(), mask=None)
    model = relax(plain, method="projection", layers=plain.reps, symmetry=contract).eval()
    inputs = {"x": normal(generator, 4, 6)}
    assert torch.equal(model(**inputs), plain(**inputs))
    assert equivariance_error(model, inputs, samples=2).max_relative > 0.1
    with model.strict():
        assert_equivariant(model, inputs, samples=2)
    with pytest.raises(ConfigError, match="no linear layer 'frist'"):
        relax(plain, method="projection", layers={"frist": plain.reps["first"]})


def test_saved_weights_give_the_same_bits(generator):
    x = normal(generator, 3, 7)
    first, second = (relax(vectors_model(), method="projection") for _ in range(2))
    optimise(first, {"x": x}, steps=2)
    second.load_state_dict(load(save(first.state_dict())))
    assert torch.equal(second.eval()(x), first(x))
    with first.strict(), second.strict():
        assert torch.equal(second(x), first(x))


@pytest.mark.compile
def test_compiles_as_one_graph_free_and_strict(generator):
    model, x = relax(vectors_model(), method="projection"), normal(generator, 3, 7)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=1e-12)
    with model.strict():
        torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=1e-12)
