"""What every group can do: the interfaces that the groups of this room implement.

An element is a tensor (a tuple of tensors for a product). Its *batch axes* come first: an element of SO(3) is `[*batch, 3, 3]`.
Whenever an element acts on data, its batch axes are the LEADING axes of the data: an element `[b, 3, 3]` turns points `[b, n, 3]` with one
rotation for each of the b clouds, and an element `[3, 3]` turns everything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torsor.errors import GroupError, ShapeError
from torsor.groups.numerics import safe_norm
from torsor.groups.special_orthogonal import reflect

Element = Any
"""A tensor, or for a product a tuple of the factors' elements."""


class Lifted(NamedTuple):
    """Points lifted to a group (LieTransformer, section 3.1): point-major, `samples` elements for each point.

    Args:
        elements: `[..., n, samples, *element]`, each maps the origin of its orbit to the point.
        orbits: `[..., n, q]`, names the orbit of each point; q = 0 where all of space is one orbit.
    """

    elements: Element
    orbits: Tensor


class Group(ABC):
    """A group as an object; its elements are tensors.

    Two groups are equal when their strings are. `groups.parse(str(group)) == group`.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The string that `groups.parse` reads back, "SE(3)"."""

    @property
    @abstractmethod
    def compact(self) -> bool:
        """Whether `sample` draws from the Haar measure."""

    @abstractmethod
    def identity(self, *batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Element:
        """The neutral element, `[*batch, *element]`."""

    @abstractmethod
    def compose(self, a: Element, b: Element) -> Element:
        """The product ab: first b acts, then a. Batch axes broadcast."""

    @abstractmethod
    def inverse(self, a: Element) -> Element:
        """The inverse element."""

    @abstractmethod
    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Element:
        """Independent random elements `[*batch, *element]`: Haar where the group is compact, else the documented distribution."""

    @abstractmethod
    def matrix(self, a: Element) -> Tensor:
        """A faithful matrix representation `[*batch, N, N]`."""

    def distance(self, a: Element, b: Element) -> Tensor:
        """A left-invariant distance `[*batch]`, zero exactly where a = b: the Frobenius norm of matrix(a^-1 b) - I."""
        m = self.matrix(self.compose(self.inverse(a), b))
        return safe_norm((m - torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)).flatten(-2))

    @abstractmethod
    def algebra(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Basis of the Lie algebra in the matrices of `matrix`, `[dim, N, N]`; dim = 0 for a finite group."""

    @abstractmethod
    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> Element | None:
        """Elements `[k, *element]` that together with the identity component generate the group; None where it is connected."""

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Element]:
        """Elements on which a model must be tried, `[samples, *element]` for each kind.

        Always "identity" and "generic", which are given here; a group adds what it has of "half turn" (rotation angle pi), "quarter turn",
        "reflection", "inversion", "far translation", "transposition", "squeeze" (large condition number).
        """
        generic = self.sample(samples, generator=generator, dtype=dtype, device=device)
        return {"identity": self.identity(samples, dtype=generic.dtype, device=generic.device), "generic": generic}

    def __mul__(self, other: Group) -> Group:
        """The direct product."""
        from torsor.groups.product import Product

        return Product(self, other)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"groups.{self.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class LieGroup(Group):
    """A group with a Lie algebra of dimension `dim`; `exp` and `log` are closed forms, stable at 0 and near pi."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of the Lie algebra."""

    @abstractmethod
    def exp(self, v: Tensor) -> Element:
        """Element of the one-parameter subgroup, `[..., dim] -> [..., *element]`."""

    @abstractmethod
    def log(self, a: Element) -> Tensor:
        """Coordinates `[..., dim]` of the principal logarithm of an element of the identity component."""

    def generators(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The basis of the Lie algebra that `exp` and `log` use, `[dim, N, N]`."""
        return self.algebra(dtype)

    def _check_coordinates(self, v: Tensor) -> None:
        if v.ndim == 0 or v.shape[-1] != self.dim:
            raise ShapeError(f"coordinates are {list(v.shape)} but {self} has dimension {self.dim}: give [..., {self.dim}]")


class MatrixGroup(LieGroup):
    """A Lie group whose elements are matrices `[..., size, size]`."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The N of its N x N matrices."""

    def identity(self, *batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Tensor:
        """The identity matrix, `[*batch, size, size]`."""
        return torch.eye(self.size, dtype=dtype, device=device).repeat(*batch, 1, 1)

    def compose(self, a: Tensor, b: Tensor) -> Tensor:
        """The matrix product ab."""
        return a @ b

    def matrix(self, a: Tensor) -> Tensor:
        """The element itself."""
        return a


class Connected(Group):
    """Mixed into groups of one piece."""

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> None:
        """None: the group is connected."""


class Reflecting(MatrixGroup):
    """Mixed into groups of matrices in two pieces, which the reflection of the first axis exchanges."""

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The reflection of the first axis, `[1, size, size]`."""
        return reflect(self.identity(1, dtype=dtype), -torch.ones(1, dtype=dtype))


class FiniteGroup(Group):
    """A group whose elements can be listed."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Number of elements."""

    @abstractmethod
    def elements(self, device: torch.device | str | None = None) -> Element:
        """All elements, `[order, *element]`, identity first."""


class ActsOnSpace(ABC):
    """Mixed into groups that act on R^n by affine maps."""

    @property
    @abstractmethod
    def space_dim(self) -> int:
        """The n of R^n."""

    @abstractmethod
    def linear(self, a: Element, dtype: torch.dtype | None = None) -> Tensor:
        """The linear part of the affine map, `[*batch, n, n]`: how vectors turn."""

    @abstractmethod
    def shift(self, a: Element, dtype: torch.dtype | None = None) -> Tensor:
        """The translation part of the affine map, `[*batch, n]`; zero for linear groups."""

    def act(self, a: Element, points: Tensor) -> Tensor:
        """Move points: `a` is `[*batch, *element]`, `points` is `[*batch, ..., n]`."""
        self._check_points(points)
        matrix, shift = self.linear(a, points.dtype), self.shift(a, points.dtype)
        batch = matrix.ndim - 2
        if points.ndim <= batch:
            raise ShapeError(
                f"points are {list(points.shape)} but the element has {batch} batch axes: give [*batch, ..., {self.space_dim}]"
            )
        inner = points.shape[batch:]
        rows = points.reshape(*points.shape[:batch], prod(inner[:-1]), self.space_dim)
        moved = rows @ matrix.mT + shift.unsqueeze(-2)
        return moved.reshape(*moved.shape[:-2], *inner)

    def lift(self, points: Tensor, samples: int = 1, generator: torch.Generator | None = None) -> Lifted:  # noqa: ARG002
        """Lift points `[..., n, d]` to elements: section times stabiliser samples, drawn from the generator.

        Raises:
            GroupError: the group has no lift on this space.
        """
        raise GroupError(f"{self} has no lift: use T(n), SO(n), O(n), SE(n), E(n), C(n) or D(n)")

    def orbit(self, points: Tensor) -> Tensor:
        """Invariants `[..., n, q]` that name the orbit of each point, q = 0 for a transitive action."""
        return points.new_zeros(*points.shape[:-1], 0)

    def _check_points(self, points: Tensor) -> None:
        if points.ndim == 0 or points.shape[-1] != self.space_dim:
            n = self.space_dim
            raise ShapeError(f"points are {list(points.shape)} but {self} acts on points in R^{n}: give [..., {n}]")


class ActsLinearly(MatrixGroup, ActsOnSpace):
    """A group of matrices that act on R^size as they are."""

    @property
    def space_dim(self) -> int:
        """The n of R^n."""
        return self.size

    def linear(self, a: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The matrix itself, `[*batch, n, n]`."""
        return a.to(dtype or a.dtype)

    def shift(self, a: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Zero, `[*batch, n]`."""
        return torch.zeros(a.shape[:-1], dtype=dtype or a.dtype, device=a.device)


class Sized(Group):
    """One of a family of groups, one for each n.

    Args:
        n: a whole number from 1 on.

    Raises:
        GroupError: n is none.
    """

    def __init__(self, n: int) -> None:
        self.n = check_size(type(self).__name__, n)

    @property
    def name(self) -> str:
        """The name of the family and n."""
        return f"{type(self).__name__}({self.n})"


def check_size(family: str, n: object) -> int:
    """The n of a family of groups, a whole number from 1 on.

    Raises:
        GroupError: it is none.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise GroupError(f"{family}(n) needs a whole number n >= 1, not {n!r}")
    return n
