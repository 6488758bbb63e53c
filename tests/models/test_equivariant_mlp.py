from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from torsor import groups
from torsor.check import assert_equivariant
from torsor.errors import RepresentationError, ShapeError
from torsor.groups import Group
from torsor.models.equivariant_mlp import EquivariantLinear, EquivariantMLP, EquivariantMLPConfig, Gated
from torsor.representations import (
    BinaryForms,
    Commuting,
    Defining,
    Irreps,
    Matrix,
    Regular,
    Representation,
    Trivial,
    Vectors,
    equivariant_basis,
)
from torsor.signatures import FeatureVectors
from torsor.symmetry import Symmetry
from torsor.testing import ModelSuite


def spacetime(a: Tensor) -> Tensor:
    """SL2 as Lorentz transformations of (t, x, y): the symmetric matrix [[t + x, y], [y, t - x]] becomes A X A^T."""
    basis = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]], dtype=a.dtype)
    moved = torch.einsum("...ij,kjl,...ml->...kim", a, basis, a)
    return torch.einsum("...kim,nim->...nk", moved, basis) / 2


SHIFTED = Commuting(Regular() @ Trivial(4), Trivial(3) @ Regular())
"""Shifts of the rows and columns of a picture."""


class Suite(ModelSuite):
    group: Group
    rep_in: Representation
    rep_out: Representation
    positions = ""
    masked = False

    def make(self, dtype: torch.dtype) -> EquivariantMLP:
        return EquivariantMLP(self.group, self.rep_in, self.rep_out, hidden=4).to(dtype)

    def inputs(self, dtype: torch.dtype, lengths: Sequence[int]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(len(lengths))
        return {"x": torch.randn(len(lengths), self.rep_in.on(self.group).dim, generator=generator, dtype=torch.float64).to(dtype)}


class TestRotations(Suite):
    group, rep_in, rep_out = groups.SO(3), 3 * Vectors() + Trivial(2), Vectors() + Trivial()
    parameters = 277

    def beyond(self, module: EquivariantMLP) -> Symmetry:
        return Symmetry(groups.O(3), module.symmetry.inputs, module.symmetry.output)


class TestReflections(Suite):
    group, rep_in, rep_out = groups.O(3), Irreps("2x1o+0e"), Irreps("1e+0o+2e+2x0e")
    parameters = 1586


class TestPermutations(Suite):
    group, rep_in, rep_out = groups.S(4), 2 * Defining(), Defining() + Trivial()


class TestQuarterTurns(Suite):
    group, rep_in, rep_out = groups.C(4), Regular() + Vectors(), Vectors()


class TestShiftedPictures(Suite):
    group, rep_in, rep_out = groups.C(3) * groups.C(4), SHIFTED + Trivial(2), SHIFTED + Trivial()


GROUPS = [
    (groups.SL2(), BinaryForms(4) + 2 * Vectors(), Trivial() + BinaryForms(2)),
    (groups.SL2(), 2 * Matrix(spacetime, 3), Matrix(spacetime, 3)),
    (groups.GL(2), Vectors() + Vectors().dual(), Trivial() + Vectors()),
    (groups.SE(2), Vectors() + Defining(), Vectors()),
    (groups.D(5), Vectors(), Trivial(2)),
    (groups.SO(2), BinaryForms(3), Vectors()),
]


@pytest.mark.parametrize(("group", "rep_in", "rep_out"), GROUPS, ids=lambda value: str(value))
def test_network_commutes_with_generic_elements(group: Group, rep_in: Representation, rep_out: Representation, generator: torch.Generator):
    model = EquivariantMLP(group, rep_in, rep_out, hidden=6).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator, std=0.3)
    x = torch.randn(8, rep_in.on(group).dim, generator=generator, dtype=torch.float64)
    g = group.sample(8, generator=generator, dtype=torch.float64)
    moved = model(rep_in.apply(group, g, x))
    expected = rep_out.apply(group, g, model(x))
    assert (moved - expected).abs().max() < 1e-10 * (1 + expected.abs().max())
    assert (expected - model(x)).abs().max() > 1e-5 or all(isinstance(part, Trivial) for _, part in rep_out.parts())


def test_three_lines_suffice():
    group = groups.SO(3)
    model = EquivariantMLP(group, Vectors(), Vectors()).double()
    assert_equivariant(model, {"x": torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))}, tolerance=1e-10)


def test_linear_layer_is_every_combination_of_the_basis():
    group = groups.O(3)
    rep_in, rep_out = Irreps("2x1o+3x0e+1e").on(group), Irreps("1o+2x0e+0o").on(group)
    layer = EquivariantLinear(rep_in, rep_out).double()
    basis = equivariant_basis(rep_in, rep_out)
    assert sum(w.numel() for w in layer.weight.parameters()) == len(basis) == 2 + 6
    assert sum(b.numel() for b in layer.bias.parameters()) == len(equivariant_basis(Trivial(), rep_out)) == 2
    w = layer.weight(basis)
    assert (torch.einsum("koi,oi,kpj->pj", basis, w, basis) - w).abs().max() < 1e-14


def test_linear_layer_keeps_the_variance(generator):
    group = groups.SO(3)
    rep = (16 * Vectors() + Trivial(32) + 8 * Irreps("2e")).on(group)
    layer = EquivariantLinear(rep, rep)
    x = torch.randn(2000, rep.dim, generator=generator)
    assert abs(layer(x).square().mean() - 1) < 0.2


def test_types_may_change_without_loss_of_digits():
    group = groups.SO(3)
    rep = (2 * Irreps("2e") @ Vectors()).on(group)
    layer = EquivariantLinear(rep, rep).double()
    there_and_back = EquivariantLinear(rep, rep).double().bfloat16().float().double()
    there_and_back.load_state_dict(layer.state_dict())
    x = torch.eye(rep.dim, dtype=torch.float64)
    assert torch.equal(there_and_back(x), layer(x))


def test_gates_are_smooth_at_zero():
    gated = Gated((2 * Vectors() + Trivial(2)).on(groups.SO(3)))
    x = torch.zeros(2, gated.rep_in.on(groups.SO(3)).dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gated, x)
    assert torch.autograd.gradgradcheck(gated, x)


def test_network_learns_an_invariant_of_a_group_that_is_not_compact(generator):
    torch.manual_seed(0)
    model = EquivariantMLP(groups.SL2(), BinaryForms(2), Trivial(), hidden=8, depth=1)
    forms = torch.randn(128, 3, generator=generator)
    discriminant = forms[:, 1] ** 2 - 4 * forms[:, 0] * forms[:, 2]
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-2)
    for _ in range(150):
        loss = (model(forms).squeeze(-1) - discriminant).square().mean() / discriminant.var()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-2


def test_wrong_use_is_named():
    with pytest.raises(RepresentationError, match="does not say what each factor of SO"):
        EquivariantMLP(groups.SO(3) * groups.S(3), Vectors(), Trivial())
    with pytest.raises(RepresentationError, match="depth"):
        EquivariantMLP(groups.SO(3), Vectors(), Vectors(), depth=0)
    with pytest.raises(RepresentationError, match="hidden"):
        EquivariantMLP(groups.SO(3), Vectors(), Vectors(), hidden=0)
    with pytest.raises(ShapeError, match=r"\[2, 4\]"):
        EquivariantMLP(groups.SO(3), Vectors(), Vectors(), hidden=2)(torch.ones(2, 4))


def test_settings_build_the_network_of_a_signature(generator) -> None:
    torch.manual_seed(0)
    signature = FeatureVectors(groups.O(5), 2 * Vectors(), Trivial())
    model = EquivariantMLPConfig(channels=3, layers=2).build(signature).double()
    assert len(model.blocks) == 2
    inputs = signature.example(4, generator, torch.float64)
    assert_equivariant(model, inputs, symmetry=signature.symmetry())
    assert model(**inputs).shape == (4, 1)


def test_numbers_that_the_group_permutes_have_functions_applied_one_by_one(generator) -> None:
    group = groups.C(4)
    gated = Gated((Regular() + Vectors() + Trivial()).on(group))
    x = torch.randn(3, 4 + 2 + 1 + 1, generator=generator, dtype=torch.float64)
    expected = torch.cat((torch.nn.functional.silu(x[:, :4]), x[:, 4:6] * x[:, 7:].sigmoid(), torch.nn.functional.silu(x[:, 6:7])), 1)
    assert torch.equal(gated(x), expected)


def test_tensors_may_be_left_out_of_the_products() -> None:
    signature = FeatureVectors(groups.O(3), Vectors(), Vectors() @ Vectors())
    every, few = (EquivariantMLPConfig(channels=2, layers=1, multiplied=size).build(signature) for size in (None, 3))
    assert every.blocks[0].product.dims == [3, 9]
    assert few.blocks[0].product.dims == [3]
    assert_equivariant(few.double(), signature.example(4, dtype=torch.float64))


def test_pictures_are_convolved_and_need_no_products() -> None:
    signature = FeatureVectors(groups.C(3) * groups.C(4), SHIFTED, Trivial(2))
    model = EquivariantMLPConfig(channels=2, layers=1).build(signature)
    assert sum(p.numel() for p in model.blocks.parameters()) == (2 + 2 * 12) + (2 + 2)  # means, kernels of the whole grid, biases
    assert not list(model.blocks[0].product.parameters())


def test_it_tells_pictures_apart_that_have_one_spectrum(generator) -> None:
    """A picture and its mirror image have the same absolute Fourier coefficients, and no shift makes one of the other."""
    torch.manual_seed(0)
    model = EquivariantMLPConfig(channels=4, layers=1).build(FeatureVectors(groups.C(3) * groups.C(4), SHIFTED, Trivial()))
    picture = torch.randn(3, 4, generator=generator)
    pair = torch.stack((picture.flatten(), picture.flip(0, 1).flatten()))
    with torch.no_grad():
        one, other = model(pair)
    assert abs(one - other) > 1e-3
    assert torch.allclose(model(picture.roll((1, 2), (0, 1)).flatten().unsqueeze(0)), one, atol=1e-6)


def test_a_summand_that_does_not_say_what_each_factor_does_is_refused() -> None:
    with pytest.raises(RepresentationError, match="does not say what each factor"):
        EquivariantMLP(groups.C(3) * groups.C(4), SHIFTED @ Trivial(2), Trivial())
