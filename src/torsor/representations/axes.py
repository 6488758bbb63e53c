"""Permutations of axes: sets, and pairs of things from one set."""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Int64
from torch import Tensor

from torsor.errors import ShapeError
from torsor.groups.base import Group
from torsor.representations.base import Action


def _permute(action: Action, g: Tensor, x: Tensor, axis: int) -> Tensor:
    """The items of one axis moved: y[p[i]] = x[i]."""
    batch, place = g.ndim - 1, axis % x.ndim if -x.ndim <= axis < x.ndim else x.ndim
    if not batch <= place < x.ndim or x.shape[place] != g.shape[-1]:
        raise ShapeError(
            f"{action} cannot move x {list(x.shape)} by permutations {list(g.shape)}: axis {axis} must come after "
            f"the {batch} batch axes and hold {g.shape[-1]} items"
        )
    inverse = g.argsort(-1)
    return x.index_select(place, inverse) if batch == 0 else reordered(x, inverse, place)


def reordered(x: Tensor, source: Int64[Tensor, "*batch n"], place: int) -> Tensor:
    """The items of one axis in another order, y[i] = x[source[i]], for each entry of the batch axes its own.

    Whole rows are copied, which is several times faster than to look up every number by itself.

    Args:
        x: `[*batch, ..., n, ...]`.
        source: where each item comes from.
        place: the axis, not negative.
    """
    lead, n = x.shape[:place], x.shape[place]
    rows = prod(lead)
    each = source.reshape(*source.shape[:-1], *(1,) * (place - source.ndim + 1), n).expand(*lead, n).reshape(rows, n)
    index = (each + n * torch.arange(rows, device=x.device).unsqueeze(-1)).flatten()
    return x.reshape(rows * n, prod(x.shape[place + 1 :])).index_select(0, index).reshape(x.shape)


class Permuted(Action):
    """A set along one axis: S(n) permutes its items, y[p[i]] = x[i].

    Args:
        axis: counted on the full tensor, its batch axis included: `Permuted(1)` for `[b, n, ...]`.
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def apply(self, group: Group, g: Int64[Tensor, "*batch n"], x: Tensor) -> Tensor:  # noqa: ARG002
        """Move the items of the axis."""
        return _permute(self, g, x, self.axis)


class Pairs(Action):
    """Pairs of items of one set along two axes: S(n) permutes both, y[p[i], p[j]] = x[i, j].

    Args:
        first: axis of the first of each pair, counted on the full tensor: `Pairs(1, 2)` for `[b, n, n, ...]`.
        second: axis of the second.
    """

    def __init__(self, first: int, second: int) -> None:
        self.first, self.second = first, second

    @property
    def axes(self) -> tuple[int, int]:
        """Both axes."""
        return self.first, self.second

    def apply(self, group: Group, g: Int64[Tensor, "*batch n"], x: Tensor) -> Tensor:  # noqa: ARG002
        """Move the items of both axes."""
        return _permute(self, g, _permute(self, g, x, self.first), self.second)
