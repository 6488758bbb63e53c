"""The teachers that the tests of this folder share, small ones of every kind."""

from functools import cache

from torsor.dial.clone import (
    BasisLayer,
    CircularConvolution,
    DeepSets,
    ExchangeableMatrix,
    GroupConvolution,
    LiftingConvolution,
    ModuleTeacher,
    dense_teacher,
    gated_teacher,
    linear_teacher,
)
from torsor.groups import SL2, SO, C, D, Lorentz, O
from torsor.models.equivariant_mlp import EquivariantBlock, EquivariantMLP
from torsor.representations import Defining, Regular, Trivial, Vectors
from torsor.symmetry import Symmetry


def block(group, rep_in, rep_out):
    """A gated block with products."""
    rep_in, rep_out = rep_in.on(group), rep_out.on(group)
    return ModuleTeacher(EquivariantBlock(rep_in, rep_out, 2), Symmetry(group, {"x": rep_in}, rep_out, mask=None))


ORTHOGONAL = {
    "line": lambda: CircularConvolution(2, 3, (5,), (3,), bias=True),
    "plane": lambda: CircularConvolution(1, 2, (4, 3), (3, 2)),
    "lifting C(4)": lambda: LiftingConvolution(C(4), 1, 2, 4, 3),
    "lifting D(4)": lambda: LiftingConvolution(D(4), 2, 1, 5, 3),
    "group C(4)": lambda: GroupConvolution(C(4), 1, 2, 3, 3),
    "group D(4)": lambda: GroupConvolution(D(4), 1, 1, 4, 3),
    "deep sets": lambda: DeepSets(5, 2, 3),
    "exchangeable": lambda: ExchangeableMatrix(3, 4, 2, 2),
    "O(3)": lambda: BasisLayer(2 * Vectors() + Trivial(), (Vectors() + Vectors() @ Vectors() + Trivial()).on(O(3))),
    "O(3) by blocks": lambda: linear_teacher(2 * Vectors() + Trivial(), (Vectors() + Vectors() @ Vectors() + Trivial()).on(O(3))),
    "C(6) regular": lambda: BasisLayer(Regular(), (Regular() + Trivial()).on(C(6))),
    "gated": lambda: gated_teacher(2 * Vectors() + Trivial(2), (Vectors() + Trivial(2)).on(SO(3))),
    "products": lambda: block(O(2), 2 * Vectors(), Vectors() + Trivial()),
    "network": lambda: ModuleTeacher(EquivariantMLP(O(2), 2 * Vectors(), Trivial(), hidden=1, depth=1)),
    "trivial group": lambda: dense_teacher(4, 3),
    "invariant": lambda: BasisLayer(Regular().on(C(5)), Trivial()),
}
"""Under orthogonal representations, where the bound holds."""

OTHERS = {
    "Lorentz": lambda: linear_teacher(2 * Defining() + Trivial(), (Defining() + Trivial()).on(Lorentz())),
    "SL(2)": lambda: BasisLayer(2 * Vectors(), (Vectors() + Vectors() @ Vectors()).on(SL2())),
}
TEACHERS = ORTHOGONAL | OTHERS


@cache
def teacher_of(name):
    """One of them in float64, made once: the scale of a network takes a moment to find."""
    return TEACHERS[name]().double()
