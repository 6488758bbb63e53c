"""What every action and representation can do: the interfaces of this room.

An action maps `(group, g, x) -> x'`. A representation is a linear action on the last axis of x, with a dimension and matrices.
Some know their dimension by themselves (`Irreps`), others only once they know their group (`Vectors()`, which is R^2 for SE(2) and
R^3 for SE(3)): bind them with `rep.on(group)`.

Actions are values: two are equal when they are of one class and were made with equal arguments, bound to a group or not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.groups.base import Element, Group
from torsor.representations.precision import precise

Rep = TypeVar("Rep", bound="Representation")


def spread(matrices: Tensor, axes: int) -> Tensor:
    """Matrices `[*batch, m, n]` with axes of length one after their batch axes, so that they broadcast over `axes` leading axes of data."""
    return matrices.reshape(*matrices.shape[:-2], *(1,) * (axes - matrices.ndim + 2), *matrices.shape[-2:])


class Action(ABC):
    """How a group element moves a tensor."""

    @abstractmethod
    def apply(self, group: Group, g: Element, x: Tensor) -> Tensor:
        """Move x by g. The batch axes of g are the leading axes of x."""

    @property
    def exact(self) -> bool:
        """Whether every element acts without interpolation (grids do only for quarter turns)."""
        return True

    def exact_for(self, group: Group, g: Element) -> Bool[Tensor, "*batch"]:
        """Which of the elements act without interpolation."""
        return torch.ones(group.matrix(g).shape[:-2], dtype=torch.bool)

    def _arguments(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "group"}

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and isinstance(other, Action) and self._arguments() == other._arguments())

    def __hash__(self) -> int:
        return hash((type(self), *self._arguments().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self._arguments().values()))})"


class Representation(Action):
    """A linear action on the last axis, `[..., dim]`.

    Algebra: `V + W` (direct sum), `3 * V` (copies), `V @ W` (tensor product, last axis flattened with W fastest), `V.dual()`.
    """

    group: Group | None = None

    def on(self: Rep, group: Group) -> Rep:
        """This representation, bound to a group.

        Raises:
            RepresentationError: the group has no such representation.
        """
        bound = copy(self)
        bound.group = group
        return bound

    def _bound(self) -> Group:
        if self.group is None:
            raise RepresentationError(f"{self} needs its group: write {self}.on(group)")
        return self.group

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of the last axis."""

    @abstractmethod
    def matrix(self, g: Element) -> Tensor:
        """The matrices `[*batch, dim, dim]` of elements `[*batch, *element]`."""

    def apply(self, group: Group, g: Element, x: Tensor) -> Tensor:
        """Multiply the last axis of x by the matrix of g."""
        matrix = spread(self.on(group).matrix(g).to(x.dtype), x.ndim - 1)
        with precise(x):
            return (matrix @ x.unsqueeze(-1)).squeeze(-1)

    def parts(self) -> tuple[tuple[int, Representation], ...]:
        """The direct summands with how often each is repeated in a row; a representation that is not a sum is its only part."""
        return ((1, self),)

    def __add__(self, other: Representation) -> Representation:
        from torsor.representations.algebra import DirectSum

        return DirectSum(self, other)

    def __rmul__(self, copies: int) -> Representation:
        from torsor.representations.algebra import DirectSum

        return DirectSum(*(self,) * copies)

    def __matmul__(self, other: Representation) -> Representation:
        from torsor.representations.algebra import TensorProduct

        return TensorProduct(self, other)

    def dual(self) -> Representation:
        """The dual representation, rho(g^-1)^T."""
        from torsor.representations.algebra import Dual

        return Dual(self)
