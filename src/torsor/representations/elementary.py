"""The representations that a group brings along (scalars, vectors, points, its own matrices, functions on it), and a user's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.groups.base import ActsOnSpace, Element, FiniteGroup, Group
from torsor.representations.base import Action, Representation


def _space(action: Action, group: Group) -> ActsOnSpace:
    """The group, if it acts on R^n."""
    if not isinstance(group, ActsOnSpace):
        raise RepresentationError(f"{action}: {group} does not act on R^n; use one of T, SO, O, SE, E, C, D, SL2 and GL, or another action")
    return group


class Trivial(Representation):
    """Scalars: nothing moves. As an action it leaves a tensor of any shape alone.

    Args:
        dim: number of scalars.
    """

    def __init__(self, dim: int = 1) -> None:
        if dim < 0:
            raise RepresentationError(f"Trivial({dim}) has no components: give 0 or more")
        self._dim = dim

    @property
    def dim(self) -> int:
        """Number of scalars."""
        return self._dim

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """Identity matrices."""
        like = self._bound().matrix(g)
        return torch.eye(self.dim, dtype=like.dtype, device=like.device).expand(*like.shape[:-2], self.dim, self.dim)

    def apply(self, group: Group, g: Element, x: Tensor) -> Tensor:  # noqa: ARG002
        """The tensor itself."""
        return x

    def parts(self) -> tuple[tuple[int, Representation], ...]:
        """Single scalars."""
        single = Trivial(1)
        return ((self.dim, single if self.group is None else single.on(self.group)),) if self.dim else ()

    def __repr__(self) -> str:
        return "Trivial()" if self.dim == 1 else f"Trivial({self.dim})"


class Vectors(Representation):
    """Vectors of R^n: they turn with the group and are not translated."""

    def on(self, group: Group) -> Vectors:
        """The vectors of the space that the group acts on."""
        _space(self, group)
        return super().on(group)

    @property
    def dim(self) -> int:
        """The n of R^n."""
        return _space(self, self._bound()).space_dim

    def matrix(self, g: Element) -> Float[Tensor, "*batch n n"]:
        """Linear parts."""
        return _space(self, self._bound()).linear(g)


class Points(Action):
    """Points of R^n: turned and translated. Not linear, hence an action and no representation."""

    def apply(self, group: Group, g: Element, x: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape n"]:
        """Move points."""
        return _space(self, group).act(g, x)


class Shifted(Action):
    """Times, or other numbers of which only differences have meaning, under T(1): every entry of the tensor is shifted."""

    def apply(self, group: Group, g: Float[Tensor, "*batch t"], x: Tensor) -> Tensor:  # noqa: ARG002
        """X + t, one t for each item of the batch."""
        if g.shape[-1] != 1:
            raise ShapeError(f"element is {list(g.shape)} but Shifted() acts under T(1): give [..., 1], or use Points()")
        return x + g.to(x.dtype).reshape(*g.shape[:-1], *(1,) * (x.ndim - g.ndim + 1))


class Defining(Representation):
    """The group's own matrices: homogeneous ones for SE(n), permutation matrices for S(n), the elements themselves for matrix groups."""

    @property
    def dim(self) -> int:
        """The N of its N x N matrices."""
        return self._bound().matrix(self._bound().identity()).shape[-1]

    def matrix(self, g: Element) -> Float[Tensor, "*batch n n"]:
        """The matrices of the elements."""
        return self._bound().matrix(g)


class Regular(Representation):
    """Functions on a finite group: component i belongs to the i-th of its `elements`, and g moves it to the component of g elements[i]."""

    def on(self, group: Group) -> Regular:
        """The functions on a finite group."""
        if not isinstance(group, FiniteGroup):
            raise RepresentationError(f"Regular() has infinite dimension under {group}: give a finite group, S(n), C(n) or D(n)")
        return super().on(group)

    def _elements(self) -> Tensor:
        group = self._bound()
        assert isinstance(group, FiniteGroup)
        elements: Tensor = group.elements()
        return elements

    @property
    def dim(self) -> int:
        """Order of the group."""
        return len(self._elements())

    def matrix(self, g: Int64[Tensor, "*batch e"]) -> Float[Tensor, "*batch n n"]:
        """Permutation matrices."""
        elements = self._elements().to(g.device)
        moved: Tensor = self._bound().compose(g.unsqueeze(-2), elements)
        return (elements.unsqueeze(-2) == moved.unsqueeze(-3)).all(-1).to(torch.float64)


class Matrix(Representation):
    """A representation of the user's own.

    Args:
        fn: maps elements `[*batch, *element]` to matrices `[*batch, dim, dim]`; a homomorphism, and differentiable for a Lie group.
        dim: size of the matrices.
    """

    def __init__(self, fn: Callable[[Element], Tensor], dim: int) -> None:
        self.fn = fn
        self._dim = dim

    @property
    def dim(self) -> int:
        """Size of the matrices."""
        return self._dim

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """What the function returns.

        Raises:
            ShapeError: it does not return matrices of size `dim`.
        """
        matrix: Tensor = self.fn(g)
        if matrix.shape[-2:] != (self.dim, self.dim):
            raise ShapeError(f"{self} gives {list(matrix.shape)}: the function must return [*batch, {self.dim}, {self.dim}]")
        return matrix

    def __repr__(self) -> str:
        return f"Matrix({getattr(self.fn, '__name__', self.fn)}, {self.dim})"
