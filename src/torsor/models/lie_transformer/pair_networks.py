"""The networks of all heads on all pairs, without ever holding their hidden units of all pairs.

The first layer is linear, so what it makes of the query and of the key is computed once for each element and only added for each pair. The
pairs are worked through a few queries at a time, which keeps the work in the cache. On the way back the hidden units of a few queries are
computed again, unless there are so few in all that they were kept: memory grows with the pairs, not with pairs times hidden units. Where
that cannot be (compilers, function transforms, second derivatives) `pair_logits` does all at once with the operations of torch.

Axes: b batch, m queries, r queries of a chunk, k keys, p coordinates of a pair, h heads, o hidden units, z = b r k pairs of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from torsor.models.lie_transformer.layers import HeadMLP, activate, with_slope
from torsor.models.lie_transformer.neighbourhood import Neighbourhood

CHUNK = 2**19
"""Hidden units that are held at a time, over all heads: 2 MB in float32, the size of a second-level cache."""

KEPT = 2**24
"""Hidden units of all pairs that are kept for the way back: 64 MB in float32 for their values, and as much for their slopes."""


@dataclass(frozen=True)
class PairNetworks:
    """The networks of several heads, of one layer of attention or of several, and what enters them.

    Args:
        bias: of the first layer.
        second: weights of the second layer.
        second_bias: its bias.
        third: weights of the last layer.
        third_bias: its bias.
        pairs: coordinates of pairs; None where they do not enter.
        pair_weight: what the first layer makes of them.
        query: what the first layer makes of each query, None for nothing.
        key: what it makes of each key.
        scalar: a number of each head and pair, None for nothing.
        scalar_weight: what the first layer makes of it.
        other: another such number.
        other_weight: what the first layer makes of that.
    """

    bias: Float[Tensor, "h o"]
    second: Float[Tensor, "h o o"]
    second_bias: Float[Tensor, "h 1 o"]
    third: Float[Tensor, "h o 1"]
    third_bias: Float[Tensor, "h 1 1"]
    pairs: Float[Tensor, "b m k p"] | None = None
    pair_weight: Float[Tensor, "h p o"] | None = None
    query: Float[Tensor, "b m h o"] | None = None
    key: Float[Tensor, "b #m k h o"] | None = None
    scalar: Float[Tensor, "b h m k"] | None = None
    scalar_weight: Float[Tensor, "h o"] | None = None
    other: Float[Tensor, "b h m k"] | None = None
    other_weight: Float[Tensor, "h o"] | None = None

    @staticmethod
    def of(networks: Sequence[HeadMLP], **inputs: Tensor | None) -> PairNetworks:
        """The parameters of some networks, all heads in a row, but for the weights of their first layers."""
        each = ((n.first.bias, n.second.weight, n.second.bias[:, None], n.third.weight, n.third.bias[:, None]) for n in networks)
        parameters = [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*each, strict=True)]
        return PairNetworks(*parameters, **inputs)  # type: ignore[arg-type]

    def rows(self, start: int, count: int) -> PairNetworks:
        """The same for some queries."""
        axes = {"pairs": 1, "query": 1, "scalar": 2, "other": 2} | ({} if self.key is None or self.key.shape[1] == 1 else {"key": 1})
        given = {name: getattr(self, name) for name in axes}
        return replace(self, **{name: x.narrow(axes[name], start, count) for name, x in given.items() if x is not None})

    def shape(self) -> tuple[int, int, int]:
        """Batch, queries and keys."""
        if self.pairs is not None:
            return self.pairs.shape[0], self.pairs.shape[1], self.pairs.shape[2]
        for scalar in (self.scalar, self.other):
            if scalar is not None:
                return scalar.shape[0], scalar.shape[2], scalar.shape[3]
        assert self.query is not None
        assert self.key is not None
        return self.query.shape[0], self.query.shape[1], self.key.shape[2]

    def first(self) -> Float[Tensor, "b r k h o"]:
        """The sum of what the first layer makes of everything."""
        shape = (*self.shape(), *self.bias.shape)
        if self.pairs is not None and self.pair_weight is not None:
            flat = self.pair_weight.transpose(0, 1).flatten(1)
            total = torch.addmm(self.bias.flatten(), self.pairs.flatten(0, 2), flat).view(shape)
            node = None if self.query is None else self.query[:, :, None]
        else:
            node = self.bias if self.query is None else self.query[:, :, None] + self.bias
            total = None
        terms = [x for x in (node, self.key) if x is not None]
        scalars = ((self.scalar, self.scalar_weight), (self.other, self.other_weight))
        terms += [x.permute(0, 2, 3, 1)[..., None] * w for x, w in scalars if x is not None and w is not None]
        for term in terms:
            total = term if total is None else total + term
        assert total is not None
        return total.expand(shape)


def pair_logits(networks: PairNetworks, activation: str, final: bool, recompute: bool) -> Float[Tensor, "b h m k"]:
    """The number of each head and pair.

    Args:
        networks: the networks and what enters them.
        activation: name of the activation.
        final: whether the number passes through it too.
        recompute: whether to work in chunks and to compute hidden units again on the way back.
    """
    if not recompute:
        return _numbers(networks, activation, final)
    logits: Tensor = _Chunked.apply(activation, final, *(getattr(networks, field.name) for field in fields(networks)))  # type: ignore[no-untyped-call]
    return logits


def location_logits(networks: Sequence[HeadMLP], pairs: Float[Tensor, "b m k p"], recompute: bool) -> tuple[Float[Tensor, "b h m k"], ...]:
    """The location terms of several layers of attention in one go: their heads are heads of one network."""
    joined = PairNetworks.of(networks, pairs=pairs, pair_weight=torch.cat([network.first.weight for network in networks]))
    logits = pair_logits(joined, networks[0].activation, networks[0].final, recompute)
    return tuple(torch.split(logits, [network.first.weight.shape[0] for network in networks], 1))


def seen(logits: Float[Tensor, "b h m k"], neighbourhood: Neighbourhood) -> Float[Tensor, "b h m k"]:
    """The logits, -inf where a neighbour is not valid."""
    visible = neighbourhood.visible
    return logits if visible is None else logits.masked_fill(~visible[:, None], -torch.inf)


def _numbers(networks: PairNetworks, activation: str, final: bool) -> Float[Tensor, "b h r k"]:
    """The networks, layer by layer."""
    x = activate(activation, networks.first())
    batch, rows, keys = x.shape[:3]
    x = activate(activation, torch.baddbmm(networks.second_bias, x.flatten(0, 2).transpose(0, 1), networks.second))
    out = torch.baddbmm(networks.third_bias, x, networks.third).view(-1, batch, rows, keys).transpose(0, 1)
    return activate(activation, out) if final else out


def _chunks(networks: PairNetworks) -> Iterator[tuple[int, PairNetworks]]:
    """The networks on a few queries at a time, with the first of them."""
    batch, queries, keys = networks.shape()
    step = max(1, CHUNK // max(1, batch * keys * networks.bias.numel()))
    for start in range(0, queries, step):
        yield start, networks.rows(start, min(step, queries - start))


@dataclass(frozen=True)
class _Hidden:
    """Hidden units of a chunk and the slopes of their activations.

    Args:
        first: units of the first layer.
        first_slope: their slopes.
        second: units of the second layer.
        second_slope: their slopes.
    """

    first: Float[Tensor, "b r k h o"]
    first_slope: Float[Tensor, "b r k h o"]
    second: Float[Tensor, "h z o"]
    second_slope: Float[Tensor, "h z o"]

    @staticmethod
    def of(networks: PairNetworks, activation: str) -> _Hidden:
        """Compute them."""
        first, first_slope = with_slope(activation, networks.first())
        rows = first.flatten(0, 2).transpose(0, 1)
        return _Hidden(first, first_slope, *with_slope(activation, torch.baddbmm(networks.second_bias, rows, networks.second)))

    def numbers(self, networks: PairNetworks, activation: str, final: bool) -> Float[Tensor, "b h r k"]:
        """What the last layer makes of them."""
        out = torch.baddbmm(networks.third_bias, self.second, networks.third).view(-1, *self.first.shape[:3]).transpose(0, 1)
        return activate(activation, out) if final else out


class _Chunked(torch.autograd.Function):
    """`_numbers` a few queries at a time; the gradient computes the hidden units again where they are many."""

    @staticmethod
    def forward(ctx: Any, activation: str, final: bool, *tensors: Tensor | None) -> Tensor:
        """All numbers."""
        networks = PairNetworks(*tensors)  # type: ignore[arg-type]
        ctx.activation, ctx.final = activation, final
        kept: list[_Hidden] = []
        if any(ctx.needs_input_grad) and 2 * math.prod(networks.shape()) * networks.bias.numel() <= KEPT:
            kept = [_Hidden.of(part, activation) for _, part in _chunks(networks)]
            parts = [hidden.numbers(part, activation, final) for hidden, (_, part) in zip(kept, _chunks(networks), strict=True)]
        else:
            parts = [_numbers(part, activation, final) for _, part in _chunks(networks)]
        ctx.save_for_backward(*tensors, *(x for hidden in kept for x in vars(hidden).values()))
        return torch.cat(parts, 2) if len(parts) != 1 else parts[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of everything that needs one."""
        count = len(fields(PairNetworks))
        networks, kept = PairNetworks(*ctx.saved_tensors[:count]), iter(ctx.saved_tensors[count:])
        wanted = [field.name for field, needed in zip(fields(networks), ctx.needs_input_grad[2:], strict=True) if needed]
        found = {name: torch.zeros_like(getattr(networks, name)) for name in wanted}
        for start, part in _chunks(networks):
            four = tuple(islice(kept, 4))
            hidden = _Hidden(*four) if four else _Hidden.of(part, ctx.activation)
            rows = PairNetworks(**{field.name: found.get(field.name) for field in fields(networks)})  # type: ignore[arg-type]
            into = rows.rows(start, part.shape()[1])
            for name, x in _gradients(part, hidden, gradient.narrow(2, start, part.shape()[1]), ctx.activation, ctx.final, wanted):
                getattr(into, name).add_(x)
        return (None, None, *(found.get(field.name) for field in fields(networks)))


def _gradients(
    networks: PairNetworks, hidden: _Hidden, gradient: Float[Tensor, "b h r k"], activation: str, final: bool, wanted: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Gradients of a chunk by name, layer by layer from the last."""
    rows = hidden.first.flatten(0, 2).transpose(0, 1)
    g3 = gradient.transpose(0, 1).reshape(*hidden.second.shape[:2], 1)
    if final:
        g3 = g3 * with_slope(activation, torch.baddbmm(networks.third_bias, hidden.second, networks.third))[1]
    yield "third", hidden.second.mT @ g3
    yield "third_bias", g3.sum(1, keepdim=True)
    # the slopes of a kept chunk may be asked for again (retain_graph): they are not overwritten
    g2 = (hidden.second_slope * g3).mul_(networks.third.mT)
    yield "second", rows.mT @ g2
    yield "second_bias", g2.sum(1, keepdim=True)
    g1 = (g2 @ networks.second.mT).transpose(0, 1).view(hidden.first.shape) * hidden.first_slope
    yield "bias", g1.sum((0, 1, 2))
    yield from _first_gradients(networks, g1, wanted)


def _first_gradients(networks: PairNetworks, g1: Float[Tensor, "b r k h o"], wanted: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Gradients of what enters the first layer, those alone that are wanted."""
    if networks.pairs is not None and networks.pair_weight is not None:
        flat = g1.flatten(3).flatten(0, 2)
        if "pair_weight" in wanted:
            by_weight = networks.pairs.flatten(0, 2).T @ flat
            yield "pair_weight", torch.unflatten(by_weight, 1, g1.shape[3:]).transpose(0, 1)
        if "pairs" in wanted:
            yield "pairs", (flat @ networks.pair_weight.transpose(0, 1).flatten(1).T).view(networks.pairs.shape)
    if "query" in wanted:
        yield "query", g1.sum(2)
    if "key" in wanted and networks.key is not None:
        yield "key", g1.sum(1, keepdim=True) if networks.key.shape[1] == 1 else g1
    for name, x, weight in (
        ("scalar", networks.scalar, networks.scalar_weight),
        ("other", networks.other, networks.other_weight),
    ):
        if x is not None and weight is not None:
            if name in wanted:
                yield name, torch.einsum("brkho, ho -> bhrk", g1, weight)
            if f"{name}_weight" in wanted:
                yield f"{name}_weight", torch.einsum("brkho, bhrk -> ho", g1, x)
