"""Representations of products of groups that share one axis."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.groups.base import Element, Group
from torsor.representations.algebra import DirectSum
from torsor.representations.base import Representation
from torsor.representations.elementary import Trivial


class Commuting(Representation):
    """rho(g_1, ..., g_k) = rho_1(g_1) ... rho_k(g_k) on one and the same axis, one representation for each factor of a product.

    They have to commute, as those of shifts along the rows and along the columns of a flattened picture do:
    `Commuting(Regular() @ Trivial(8), Trivial(8) @ Regular()).on(C(8) * C(8))`.

    Args:
        each: the representations, in the order of the factors.
    """

    def __init__(self, *each: Representation) -> None:
        self.each = each

    def on(self, group: Group) -> Commuting:
        """The representation with each part bound to its factor.

        Raises:
            RepresentationError: the group has another number of factors, or the parts have different dimensions.
        """
        factors = getattr(group, "factors", (group,))
        if len(factors) != len(self.each):
            raise RepresentationError(f"{self} has {len(self.each)} parts but {group} has {len(factors)} factors: give one for each")
        bound = super().on(group)
        bound.each = tuple(part.on(factor) for part, factor in zip(self.each, factors, strict=True))
        dims = [part.dim for part in bound.each]
        if len(set(dims)) > 1:
            raise RepresentationError(f"{self} has parts of dimensions {dims}: they share one axis, so give equal ones")
        return bound

    @property
    def dim(self) -> int:
        """Length of the axis."""
        return self.each[0].dim

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """Products of the matrices of all parts."""
        elements = g if len(self.each) > 1 else (g,)
        matrices = [part.matrix(element) for part, element in zip(self.each, elements, strict=True)]
        dtype = reduce(torch.promote_types, (matrix.dtype for matrix in matrices))
        return reduce(torch.matmul, (matrix.to(dtype) for matrix in matrices))


def for_each_factor(rep: Representation, group: Group) -> Representation | tuple[Representation, ...]:
    """A representation of a group as contracts have it: one for each factor of a product, else itself.

    Args:
        rep: the representation; of a product of groups it is `Trivial`, `Commuting` or a sum of such.
        group: the group.

    Raises:
        RepresentationError: the representation does not say what each factor of a product does.
    """
    factors = tuple(getattr(group, "factors", (group,)))
    return rep.on(group) if len(factors) == 1 else _each(rep, group, factors)


def _each(rep: Representation, group: Group, factors: tuple[Group, ...]) -> tuple[Representation, ...]:
    """What each factor of a product does."""
    if isinstance(rep, Trivial):
        return tuple(Trivial(rep.dim).on(factor) for factor in factors)
    if isinstance(rep, Commuting):
        return rep.on(group).each
    if isinstance(rep, DirectSum):
        summands = (_each(part, group, factors) for part in rep.summands)
        return tuple(DirectSum(*parts) for parts in zip(*summands, strict=True))
    raise RepresentationError(f"{rep} does not say what each factor of {group} does: give Commuting(...), Trivial(n) or sums of them")
