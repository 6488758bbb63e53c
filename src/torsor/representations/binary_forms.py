"""Binary forms: homogeneous polynomials in two variables, the irreducible representations of SL(2, R)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.groups.base import Group
from torsor.representations.base import Representation

_GROUPS = ("SL2", "GL(2)", "SO(2)", "O(2)")


def substitution_matrix(degree: int, a: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch n n"]:
    """R(A) with v(A z) = R(A) v(z), where v(z) = (z_1^d, z_1^{d-1} z_2, .., z_2^d). A homomorphism: R(AB) = R(A) R(B).

    Row i holds the coefficients of (a + b s)^{d-i} (c + e s)^i; each degree follows from the one below by a product with a linear
    polynomial.
    """
    rows = torch.ones_like(a[..., :1, :1])
    for _ in range(degree):
        grown = torch.cat([rows, rows[..., -1:, :]], -2)
        # all rows get the factor z_1 but for the last, which gets z_2
        linear = torch.cat([a[..., :1, :].expand(*a.shape[:-2], rows.shape[-2], 2), a[..., 1:, :]], -2)
        low, high = grown * linear[..., :1], grown * linear[..., 1:]
        rows = torch.nn.functional.pad(low, (0, 1)) + torch.nn.functional.pad(high, (1, 0))
    return rows


class BinaryForms(Representation):
    """Coefficients of binary forms p of one degree, moved by (A p)(z) = p(A^{-1} z).

    The inverse makes it a left action, A (B p) = (A B) p, as every representation is; the paper on SL(2)-equivariance acts from the right,
    by p(A z), which is this with A^{-1} for A. Degree 1 is the dual of `Vectors()`.

    Component a is the coefficient of x^a y^{degree - a}, and z = (y, x).

    Lawrence and Harris: Learning Polynomial Problems with SL(2, R)-Equivariance (2024), section 2.

    Args:
        degree: degree of the forms.
    """

    def __init__(self, degree: int) -> None:
        if degree < 0:
            raise RepresentationError(f"BinaryForms({degree}): give a degree of 0 or more")
        self.degree = degree

    def on(self, group: Group) -> BinaryForms:
        """The forms, bound to a group of 2 x 2 matrices."""
        if group.name not in _GROUPS:
            raise RepresentationError(f"{self} cannot act under {group}: give one of {', '.join(_GROUPS)}")
        return super().on(group)

    @property
    def dim(self) -> int:
        """Degree + 1."""
        return self.degree + 1

    def matrix(self, g: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch n n"]:
        """R(A^{-1})^T."""
        (a, b), (c, d) = (row.unbind(-1) for row in g.unbind(-2))
        adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
        determinant = (a * d - b * c)[..., None, None]
        return substitution_matrix(self.degree, adjugate / determinant).mT
