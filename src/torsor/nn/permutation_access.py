"""Reading from and writing to tensors with permuted axes: diagonals, pools and broadcasts.

Axes: *b batch axes, then sets, then c channels.
"""

from __future__ import annotations

from functools import reduce
from operator import add, and_
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.nn.permutation_maps import Axes, Blocks, Pattern, axis_partitions


class Sets(NamedTuple):
    """The sets of one call.

    Args:
        sizes: places of each set.
        masks: true at valid items, of the sets that have a mask.
    """

    sizes: dict[str, int]
    masks: dict[str, Bool[Tensor, "*b n"]]


class Reader:
    """Diagonals and pools of one tensor, each computed once, every pool from a larger one.

    Args:
        x: the tensor, zero at items that are not valid.
        axes: its axes.
        sets: sizes and masks.
        pool: "mean" or "sum".
    """

    def __init__(self, x: Float[Tensor, "..."], axes: Axes, sets: Sets, pool: str) -> None:
        self.x, self.axes, self.sets, self.pool = x, axes, sets, pool
        self.done: dict[tuple[Blocks, tuple[int, ...]], Tensor] = {}

    def read(self, pattern: Pattern) -> Float[Tensor, "..."]:
        """What the pattern carries, `[*b, *key, c]`."""
        kept = tuple(sorted(pattern.carried))
        return _reorder(self._pooled(pattern.blocks, kept), [kept.index(block) for block in pattern.carried])

    def _pooled(self, blocks: Blocks, kept: tuple[int, ...]) -> Tensor:
        """The diagonal of `blocks`, pooled over all blocks that are not kept."""
        if (blocks, kept) not in self.done:
            gone = [block for block in range(len(blocks)) if block not in kept]
            self.done[blocks, kept] = self._pool_one(blocks, kept, gone[0]) if gone else self._diagonal(blocks)
        return self.done[blocks, kept]

    def _pool_one(self, blocks: Blocks, kept: tuple[int, ...], block: int) -> Tensor:
        """Pool over one block what is pooled over the others."""
        larger = tuple(sorted((*kept, block)))
        total = self._pooled(blocks, larger).sum(_dim(larger.index(block), len(larger)))
        if self.pool == "sum":
            return total
        name = self.axes.sets[blocks[block][0]]
        if name not in self.sets.masks:
            return total / max(1, self.sets.sizes[name])
        count = self.sets.masks[name].sum(-1).clamp(min=1).to(total.dtype)
        return total / count.reshape(*count.shape, *(1,) * (len(kept) + 1))

    def _diagonal(self, blocks: Blocks) -> Tensor:
        """One axis a block, in the order of the blocks."""
        x, order = self.x, list(range(len(self.axes.sets)))
        for first, *others in blocks:
            for other in others:
                # torch puts the diagonal behind the channels
                x = x.diagonal(dim1=_dim(order.index(first), len(order)), dim2=_dim(order.index(other), len(order))).transpose(-1, -2)
                order = [*(axis for axis in order if axis not in (first, other)), first]
        return _reorder(x, [order.index(block[0]) for block in blocks])


def write(parts: list[tuple[Pattern, Tensor]], axes: Axes, sets: Sets) -> Float[Tensor, "..."]:
    """Sum of all parts, each `[*b, *key, c]`, broadcast over the axes that carry nothing and put on the diagonals of its pattern.

    Args:
        parts: what to write; those that carry least come first, so that the last additions alone touch the full tensor.
        axes: axes of the output.
        sets: sizes and masks.
    """
    total = reduce(add, (_on_diagonal(_broadcast(parts, blocks), blocks, axes, sets) for blocks in axis_partitions(axes)))
    shape = [sets.sizes[name] for name in axes.sets]
    return total.expand(*_batch(total, len(shape)), *shape, total.shape[-1])


def _broadcast(parts: list[tuple[Pattern, Tensor]], blocks: Blocks) -> Tensor:
    """Sum of what is written to `blocks`, one axis a block, of length one where nothing is carried."""
    return reduce(add, (_align(part, pattern) for pattern, part in parts if pattern.blocks == blocks))


def _align(part: Tensor, pattern: Pattern) -> Tensor:
    """Carried axes in the order of the blocks, and axes of length one for the other blocks."""
    kept = sorted(pattern.carried)
    part = _reorder(part, [pattern.carried.index(block) for block in kept])
    sizes = {block: part.shape[_dim(i, len(kept))] for i, block in enumerate(kept)}
    return part.reshape(*_batch(part, len(kept)), *(sizes.get(block, 1) for block in range(len(pattern.blocks))), part.shape[-1])


def _on_diagonal(x: Tensor, blocks: Blocks, axes: Axes, sets: Sets) -> Tensor:
    """From one axis a block to the axes of the output, zero off the diagonal of each block."""
    count = len(axes.sets)
    sizes = {block[0]: x.shape[_dim(i, len(blocks))] for i, block in enumerate(blocks)}
    x = x.reshape(*_batch(x, len(blocks)), *(sizes.get(axis, 1) for axis in range(count)), x.shape[-1])
    equal = [
        torch.eye(n := sets.sizes[axes.sets[first]], dtype=torch.bool, device=x.device).reshape(
            *(n if axis in (first, other) else 1 for axis in range(count)), 1
        )
        for first, *others in blocks
        for other in others
    ]
    return x.where(reduce(and_, equal), 0) if equal else x


def clear(x: Float[Tensor, "..."], axes: Axes, sets: Sets) -> Float[Tensor, "..."]:
    """Zero at items that are not valid."""
    count = len(axes.sets)
    valid = [
        sets.masks[name].reshape(*sets.masks[name].shape[:-1], *(-1 if i == axis else 1 for i in range(count)), 1)
        for axis, name in enumerate(axes.sets)
        if name in sets.masks
    ]
    return x.where(reduce(and_, valid), 0) if valid else x


def fold(x: Float[Tensor, "..."], axes: Axes) -> Float[Tensor, "..."]:
    """Put the axes that are not permuted among the channels."""
    if not axes.fixed_places:
        return x
    permuted = [i for i in range(len(axes.names)) if i not in axes.fixed_places]
    return _reorder(x, [*permuted, *axes.fixed_places]).flatten(-1 - len(axes.fixed_places))


def unfold(x: Float[Tensor, "..."], axes: Axes) -> Float[Tensor, "..."]:
    """Undo `fold`."""
    if not axes.fixed_places:
        return x
    permuted = [i for i in range(len(axes.names)) if i not in axes.fixed_places]
    places = [*permuted, *axes.fixed_places]
    return _reorder(torch.unflatten(x, -1, (*axes.fixed_sizes, -1)), [places.index(i) for i in range(len(places))])


def _dim(axis: int, count: int) -> int:
    """The dimension, from the end, of one of the `count` axes before the channels."""
    return axis - count - 1


def _batch(x: Tensor, count: int) -> torch.Size:
    """Shape of the batch axes in front of `count` axes and the channels."""
    return x.shape[: x.ndim - count - 1]


def _reorder(x: Tensor, order: list[int]) -> Tensor:
    """Permute the axes before the channels: axis i becomes what axis order[i] was."""
    if order == sorted(order):
        return x
    start = x.ndim - len(order) - 1
    return x.permute(*range(start), *(start + axis for axis in order), x.ndim - 1)
