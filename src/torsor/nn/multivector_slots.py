"""Kernels on multivectors held slot by slot, `[16, ..., c]`: commuting linear maps and products, eager and fast.

The kernels write into their result and have hand-written derivatives, again made of the same kernels; compilers and `torch.func` get the
same sums written out in plain operations.

Axes: t tokens, c channels in, d channels out, k pairs of slots, m basis maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.representations.geometric_algebra import GeometricAlgebra, equivariant_maps, join_table, product_table
from torsor.representations.precision import precise
from torsor.representations.tables import Array, Table


def traced() -> bool:
    """Whether a compiler or `torch.func` is looking on, which want plain operations."""
    return torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None


# -- linear maps --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Neighbouring slots fed by others: slot target + i receives slot source + i, or where the block is turned source - i.

    Args:
        target: first slot that receives.
        source: first slot that feeds one.
        length: number of slots.
        turned: whether the sources run backwards.
    """

    target: int
    source: int
    length: int
    turned: bool = False

    def targets(self, x: Tensor) -> Tensor:
        """The slots that receive."""
        return x[self.target : self.target + self.length]

    def sources(self, x: Tensor) -> Tensor:
        """The slots that feed them, in ascending order."""
        first = self.source - self.length + 1 if self.turned else self.source
        return x[first : first + self.length]

    def matched(self, x: Tensor) -> Tensor:
        """From ascending order to that of the receivers, and back."""
        return x.flip(0) if self.turned else x

    def padded(self, x: Tensor) -> Tensor:
        """What the receivers get, among zeros for all other slots."""
        return pad(x, (0, 0) * (x.ndim - 1) + (self.target, 16 - self.target - self.length))


@Table
def slot_maps(metric: str, reflections: int) -> Array:
    """[m, k, i]: the commuting maps on slots, each of Frobenius norm one."""
    slots = list(GeometricAlgebra(metric).slots)
    maps = equivariant_maps(metric, reflections)[:, slots][:, :, slots]
    return np.asarray(maps / np.linalg.norm(maps, axis=(1, 2), keepdims=True), np.float64)


@cache
def slot_blocks(metric: str, reflections: int) -> tuple[Block, ...]:
    """The pairs of slots that the maps connect, in runs as long as they go; that of every slot with itself comes first."""
    pairs = {(int(k), int(i)) for _, k, i in np.argwhere(slot_maps(metric, reflections))}
    blocks = []
    while pairs:
        start = (0, 0) if (0, 0) in pairs else min(pairs)
        run = max((_run(pairs, start, step) for step in (1, -1)), key=len)
        blocks.append(Block(*start, len(run), turned=len(run) > 1 and run[1][1] < run[0][1]))
        pairs -= set(run)
    return tuple(blocks)


def _run(pairs: set[tuple[int, int]], start: tuple[int, int], step: int) -> list[tuple[int, int]]:
    """Pairs from `start` on, with ascending receivers, and sources that ascend or descend by one."""
    run = [start]
    while (following := (run[-1][0] + 1, run[-1][1] + step)) in pairs:
        run.append(following)
    return run


@Table
def spreading(metric: str, reflections: int) -> Array:
    """[k, m]: the factor of the weight of each basis map in each pair of slots, block after block."""
    maps = slot_maps(metric, reflections)
    pairs = [
        (block.target + n, block.source + (-n if block.turned else n))
        for block in slot_blocks(metric, reflections)
        for n in range(block.length)
    ]
    return np.stack([maps[:, k, i] for k, i in pairs])


def map_slots(
    x: Float[Tensor, "16 t c"], weight: Float[Tensor, "k c d"], grade0: Float[Tensor, "t d"] | None, blocks: tuple[Block, ...]
) -> Float[Tensor, "16 t d"]:
    """Sum over pairs of slots of x_source W, plus `grade0` in the slot of the grade 0.

    Args:
        x: multivectors.
        weight: one matrix for each pair of slots, in the order of `blocks`.
        grade0: what is added to the first slot, None for nothing.
        blocks: which slots feed which; the first connects each slot with itself.
    """
    with precise(x):
        if not traced():
            mapped: Tensor = _MapSlots.apply(x, weight, grade0, blocks)  # type: ignore[no-untyped-call]
            return mapped
        weights = torch.split(weight, [block.length for block in blocks])
        y = torch.stack([block.padded(block.matched(block.sources(x)) @ w) for block, w in zip(blocks, weights, strict=True)]).sum(0)
        return y if grade0 is None else y + pad(grade0[None], (0, 0, 0, 0, 0, 15))


def _forward(x: Tensor, weights: tuple[Tensor, ...], blocks: tuple[Block, ...]) -> Tensor:
    y = torch.bmm(x, weights[0])
    for block, w in zip(blocks[1:], weights[1:], strict=True):
        block.targets(y).baddbmm_(block.matched(block.sources(x)), w)
    return y


def _transposed(g: Tensor, weights: tuple[Tensor, ...], blocks: tuple[Block, ...]) -> Tensor:
    x = torch.bmm(g, weights[0].mT)
    for block, w in zip(blocks[1:], weights[1:], strict=True):
        if block.turned:
            block.sources(x).add_(torch.bmm(block.targets(g), w.mT).flip(0))
        else:
            block.sources(x).baddbmm_(block.targets(g), w.mT)
    return x


class _MapSlots(torch.autograd.Function):
    """`map_slots`, written into place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, grade0: Tensor | None, blocks: tuple[Block, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.blocks, ctx.shifted = blocks, grade0 is not None
        y = _forward(x, torch.split(weight, [block.length for block in blocks]), blocks)
        if grade0 is not None:
            y[0] += grade0
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        by_x = _MapSlotsBack.apply(g, weight, ctx.blocks) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        by_weight = _weight_gradient(x, g, ctx.blocks) if ctx.needs_input_grad[1] else None
        return by_x, by_weight, g[0] if ctx.shifted else None, None


class _MapSlotsBack(torch.autograd.Function):
    """The transpose of `map_slots`."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, blocks: tuple[Block, ...]) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.blocks = blocks
        return _transposed(g, torch.split(weight, [block.length for block in blocks]), blocks)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        g, weight = ctx.saved_tensors
        by_g = _MapSlots.apply(h, weight, None, ctx.blocks) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        return by_g, _weight_gradient(h, g, ctx.blocks) if ctx.needs_input_grad[1] else None, None


def _weight_gradient(x: Tensor, g: Tensor, blocks: tuple[Block, ...]) -> Tensor:
    return torch.cat([torch.bmm(block.matched(block.sources(x)).mT, block.targets(g)) for block in blocks])


# -- products -----------------------------------------------------------------------------------------------------------------------------

Terms = tuple[tuple[int, int, int, float], ...]
"""Slots k, i, j and the sign of x_i y_j in the sum for z_k, in ascending order of k."""


@cache
def product_terms(metric: str) -> Terms:
    """The geometric product."""
    return _terms(product_table(metric), metric)


@cache
def join_terms(metric: str) -> Terms:
    """The join."""
    return _terms(join_table(), metric)


def _terms(table: Array, metric: str) -> Terms:
    slots = list(GeometricAlgebra(metric).slots)
    on_slots = table[np.ix_(slots, slots, slots)]
    return tuple((int(k), int(i), int(j), float(on_slots[k, i, j])) for k, i, j in np.argwhere(on_slots))


@cache
def _seen_from(terms: Terms, place: int) -> Terms:
    """The terms of the derivative by x (place 1: z and y in, x out) or by y (place 2: z and x in, y out)."""
    exchanged = [(i, k, j, sign) if place == 1 else (j, k, i, sign) for k, i, j, sign in terms]
    return tuple(sorted(exchanged))


def multiply_slots(x: Float[Tensor, "16 *t"], y: Float[Tensor, "16 *t"], terms: Terms) -> Float[Tensor, "16 *t"]:
    """z_k = sum of sign x_i y_j over the terms (k, i, j, sign), in float32 or wider.

    Args:
        x: multivectors.
        y: multivectors.
        terms: which products; `product_terms` or `join_terms` of an algebra.
    """
    if not traced():
        product: Tensor = _MultiplySlots.apply(x, y, terms)  # type: ignore[no-untyped-call]
        return product
    xs, ys, zs = x.unbind(0), y.unbind(0), [torch.zeros_like(x[0])] * 16
    for k, i, j, sign in terms:
        zs[k] = torch.addcmul(zs[k], xs[i], ys[j], value=sign)
    return torch.stack(zs)


class _MultiplySlots(torch.autograd.Function):
    """`multiply_slots`, written into place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, terms: Terms) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.terms = terms
        z = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
        xs, ys, zs = x.unbind(0), y.unbind(0), z.unbind(0)
        for k, i, j, sign in terms:
            zs[k].addcmul_(xs[i], ys[j], value=sign)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y = ctx.saved_tensors
        by_x = _MultiplySlots.apply(g, y, _seen_from(ctx.terms, 1)) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        by_y = _MultiplySlots.apply(g, x, _seen_from(ctx.terms, 2)) if ctx.needs_input_grad[1] else None  # type: ignore[no-untyped-call]
        return by_x, by_y, None
