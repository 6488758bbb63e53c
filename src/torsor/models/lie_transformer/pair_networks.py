"""The networks of all heads on all pairs, without ever holding their hidden units of all pairs.

The first layer is linear, so what it makes of the query and of the key is computed once for each element and only added for each pair. The
pairs are worked through a few queries at a time, which keeps the work in the cache. On the way back the hidden units of a few queries are
computed again, unless there are so few in all that they were kept: memory grows with the pairs, not with pairs times hidden units. Where
that cannot be (compilers, function transforms, second derivatives) `pair_logits` does all at once with the operations of torch.

Hidden units come first and pairs last in memory: products with the small matrices of the heads then run along the pairs, and what they
give needs no transposition.

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

from torsor.models.lie_transformer.layers import HeadMLP, activate, back_through
from torsor.models.lie_transformer.neighbourhood import Neighbourhood

CHUNK = 2**19
"""Hidden units of a layer that are held at a time, over all heads: 2 MB in float32, the size of a second-level cache."""

KEPT = 2**24
"""Hidden units of all pairs that are kept for the way back: 64 MB in float32 before their activations, and as much after."""


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
    query: Float[Tensor, "h o b m"] | None = None
    key: Float[Tensor, "h o b #m k"] | None = None
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
        axes = {"pairs": 1, "query": 3, "scalar": 2, "other": 2} | ({} if self.key is None or self.key.shape[3] == 1 else {"key": 3})
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
        return self.query.shape[2], self.query.shape[3], self.key.shape[4]

    def first(self) -> Float[Tensor, "h o b r k"]:
        """The sum of what the first layer makes of everything."""
        shape = (*self.bias.shape, *self.shape())
        bias = self.bias[:, :, None, None, None]
        node = None if self.query is None else self.query.unsqueeze(4)
        if self.pairs is not None and self.pair_weight is not None:
            total: Tensor | None = torch.addmm(self.bias.flatten()[:, None], self.flat_weight().T, self.flat_pairs()).view(shape)
        else:
            total, node = None, bias if node is None else node + bias
        terms = [x for x in (node, self.key) if x is not None]
        scalars = ((self.scalar, self.scalar_weight), (self.other, self.other_weight))
        terms += [x.transpose(0, 1)[:, None] * w[:, :, None, None, None] for x, w in scalars if x is not None and w is not None]
        for term in terms:
            total = term if total is None else total + term
        assert total is not None
        return total.expand(shape)

    def flat_pairs(self) -> Float[Tensor, "p z"]:
        """The coordinates, one row each."""
        assert self.pairs is not None
        return self.pairs.permute(3, 0, 1, 2).flatten(1)

    def flat_weight(self) -> Float[Tensor, "p ho"]:
        """What the first layer makes of coordinates, for all heads."""
        assert self.pair_weight is not None
        return self.pair_weight.transpose(0, 1).flatten(1)


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
    second = activate(activation, _second(networks, x))
    return _last(networks, second, activation, final, x.shape[2:])


def _second(networks: PairNetworks, x: Float[Tensor, "h o b r k"]) -> Float[Tensor, "h o z"]:
    """What the second layer makes of the units of the first."""
    return torch.baddbmm(networks.second_bias.mT, networks.second.mT, x.flatten(2))


def _third(networks: PairNetworks, x: Float[Tensor, "h o z"]) -> Float[Tensor, "h 1 z"]:
    """What the last layer makes of the units of the second."""
    return torch.baddbmm(networks.third_bias, networks.third.mT, x)


def _last(
    networks: PairNetworks, x: Float[Tensor, "h o z"], activation: str, final: bool, pairs: Sequence[int]
) -> Float[Tensor, "b h r k"]:
    """The numbers, for `pairs` = (b, r, k)."""
    out = _third(networks, x).view(-1, *pairs).transpose(0, 1)
    return activate(activation, out) if final else out


def _chunks(networks: PairNetworks) -> Iterator[tuple[int, PairNetworks]]:
    """The networks on a few queries at a time, with the first of them."""
    batch, queries, keys = networks.shape()
    step = max(1, CHUNK // max(1, batch * keys * networks.bias.numel()))
    for start in range(0, queries, step):
        yield start, networks.rows(start, min(step, queries - start))


@dataclass(frozen=True)
class _Hidden:
    """Hidden units of a chunk, before and after their activations.

    Args:
        before_first: what the activation of the first layer sees.
        first: units of the first layer.
        before_second: what that of the second layer sees.
        second: units of the second layer.
    """

    before_first: Float[Tensor, "h o b r k"]
    first: Float[Tensor, "h o b r k"]
    before_second: Float[Tensor, "h o z"]
    second: Float[Tensor, "h o z"]

    @staticmethod
    def of(networks: PairNetworks, activation: str) -> _Hidden:
        """Compute them."""
        before_first = networks.first()
        first = activate(activation, before_first)
        before_second = _second(networks, first)
        return _Hidden(before_first, first, before_second, activate(activation, before_second))


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
            parts = [
                _last(part, hidden.second, activation, final, hidden.first.shape[2:])
                for hidden, (_, part) in zip(kept, _chunks(networks), strict=True)
            ]
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
    shape, first = hidden.first.shape, hidden.first.flatten(2)
    g3 = gradient.transpose(0, 1).reshape(shape[0], 1, -1)
    if final:
        g3 = back_through(activation, g3, _third(networks, hidden.second))
    yield "third", hidden.second @ g3.mT
    yield "third_bias", g3.sum(2, keepdim=True)
    g2 = back_through(activation, networks.third @ g3, hidden.before_second)
    yield "second", first @ g2.mT
    yield "second_bias", g2.sum(2).unsqueeze(1)
    g1 = back_through(activation, (networks.second @ g2).view(shape), hidden.before_first)
    yield "bias", g1.sum((2, 3, 4))
    yield from _first_gradients(networks, g1, wanted)


def _first_gradients(networks: PairNetworks, g1: Float[Tensor, "h o b r k"], wanted: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Gradients of what enters the first layer, those alone that are wanted."""
    if networks.pairs is not None and networks.pair_weight is not None:
        flat = g1.flatten(2).flatten(0, 1)
        if "pair_weight" in wanted:
            by_weight = networks.flat_pairs() @ flat.T
            yield "pair_weight", torch.unflatten(by_weight, 1, g1.shape[:2]).transpose(0, 1)
        if "pairs" in wanted:
            yield "pairs", (networks.flat_weight() @ flat).view(-1, *g1.shape[2:]).permute(1, 2, 3, 0)
    if "query" in wanted:
        yield "query", g1.sum(4)
    if "key" in wanted and networks.key is not None:
        yield "key", g1.sum(3, keepdim=True) if networks.key.shape[3] == 1 else g1
    for name, x, weight in (
        ("scalar", networks.scalar, networks.scalar_weight),
        ("other", networks.other, networks.other_weight),
    ):
        if x is not None and weight is not None:
            if name in wanted:
                yield name, torch.einsum("hobrk, ho -> bhrk", g1, weight)
            if f"{name}_weight" in wanted:
                yield f"{name}_weight", torch.einsum("hobrk, bhrk -> ho", g1, x)
