"""Which lifted elements attend to which: all of them, or the nearest in the distance of the group.

Axes: b batch, m lifted elements (queries), k neighbours (k = m where all are), c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from torsor.errors import ShapeError


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbours of every element.

    Args:
        index: which elements they are; None where all are neighbours of all, in order.
        visible: which of them are valid; None where all are. An element without any sees all, so that a softmax stays finite.
        count: number of valid neighbours, at least 1.
    """

    index: Int[Tensor, "b m k"] | None
    visible: Bool[Tensor, "b #m k"] | None
    count: Float[Tensor, "b m 1"]

    def keys(self, x: Float[Tensor, "b m c"]) -> Float[Tensor, "b #m k c"]:
        """The row of each neighbour."""
        if self.index is None:
            return x[:, None]
        rows = self.index.flatten(1)[..., None].expand(-1, -1, x.shape[-1])
        return torch.unflatten(x.gather(1, rows), 1, self.index.shape[1:])

    def pairs(self, x: Float[Tensor, "b m m p"]) -> Float[Tensor, "b m k p"]:
        """The entry of each pair."""
        return x if self.index is None else x.take_along_dim(self.index[..., None], 2)

    def weights(self) -> Float[Tensor, "b #m k"] | None:
        """The valid neighbours as numbers, None where all are."""
        return None if self.visible is None else self.visible.to(self.count.dtype)


def everyone(like: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"] | None) -> Neighbourhood:
    """All valid elements."""
    batch, count = like.shape[:2]
    if mask is None:
        return Neighbourhood(None, None, like.new_full((batch, count, 1), float(max(count, 1))))
    return _seen(None, mask[:, None], like)


def nearest(
    distance: Float[Tensor, "b m m"],
    mask: Bool[Tensor, "b m"] | None,
    neighbours: int,
    fill: float,
    thinning: Float[Tensor, "b m r"] | None,
) -> Neighbourhood:
    """The nearest valid elements; or, of the nearest `neighbours / fill`, those with the least random numbers.

    Args:
        distance: group distance of all pairs.
        mask: valid elements.
        neighbours: how many.
        fill: see `candidates`.
        thinning: random numbers of the candidates of each element; None takes the nearest.
    """
    if mask is not None:
        distance = distance.masked_fill(~mask[:, None], torch.inf)
    wide = candidates(distance.shape[-1], neighbours, fill) if thinning is not None else min(neighbours, distance.shape[-1])
    values, index = distance.topk(wide, largest=False, sorted=True)
    visible = values.isfinite()
    if thinning is not None:
        expected = (*distance.shape[:2], wide)
        if tuple(thinning.shape) != expected:
            raise ShapeError(f"thinning has {list(thinning.shape)} numbers: give {list(expected)}, one for each candidate of each element")
        chosen = thinning.masked_fill(~visible, torch.inf).topk(min(neighbours, wide), largest=False, sorted=False).indices
        index, visible = index.gather(2, chosen), visible.gather(2, chosen)
    return _seen(index, visible, distance)


def candidates(elements: int, neighbours: int, fill: float) -> int:
    """How many nearest elements are drawn from."""
    return min(ceil(neighbours / fill), elements)


def _seen(index: Tensor | None, visible: Tensor, like: Tensor) -> Neighbourhood:
    count = visible.sum(-1, keepdim=True)
    counted = count.clamp(min=1).to(like.dtype).expand(-1, like.shape[1], -1)
    return Neighbourhood(index, visible | (count == 0), counted)
