"""Tensor-field messages contracted at their sender: the weights meet the features of a point once, not once for each of its edges.

A message is y_{a,o} = sum_{b,t} B_{a,b,t} sum_h z_h sum_c W_{c,t,o,h} x_{b,c}, where only the basis B and the hidden units z belong to the
edge. Kernels in space do not turn the features before the weights meet them, so the innermost sum is that of the sender, and what is left
for an edge has no sum over channels. Edges are put in order of their senders; senders with about as many edges as each other go together,
so that what follows is matrix products of batches. As in `hidden_contraction`, nothing of the size of a weight is stored for all edges or
senders: they go through in chunks that stay in the cache, and the backward pass makes the intermediate numbers again.

Axes: N points, s senders in a chunk, d places for the edges of each, T places of all edges (some are empty), e edges, h hidden units,
a components out, b components in, t terms J, c channels in, o channels out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

_CHUNK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
"""Size of the products of features and weight in one chunk: what a CPU keeps near a core, enough to fill a GPU."""

Groups = tuple[tuple[int, int], ...]
"""How many senders in a row have how many places each."""


@dataclass(frozen=True)
class SenderOrder:
    """Edges in order of their senders.

    Args:
        senders: the points that send, in order.
        groups: senders with equally many places.
        edges: the edge at each place; the number of edges where the place is empty.
        places: the place of each edge.
    """

    senders: Int[Tensor, "s"]
    groups: Groups
    edges: Int[Tensor, "T"]
    places: Int[Tensor, "e"]

    @classmethod
    def of(cls, source: Int[Tensor, "e"], nodes: int) -> SenderOrder:
        """The order of edges with these senders."""
        counts = source.new_zeros(nodes).index_add(0, source, torch.ones_like(source))
        room = _rounded(counts)
        by_room = room.argsort(stable=True)
        rooms, sizes = (column.tolist() for column in torch.unique_consecutive(room[by_room], return_counts=True))
        ends = room[by_room].cumsum(0)
        first = torch.empty_like(ends).scatter(0, by_room, ends - room[by_room])
        by_source = source.argsort(stable=True)
        rank = torch.arange(len(source), device=source.device) - (counts.cumsum(0) - counts)[source[by_source]]
        taken = first[source[by_source]] + rank
        places = torch.empty_like(source).scatter(0, by_source, taken)
        edges = torch.full((sum(r * s for r, s in zip(rooms, sizes, strict=True)),), len(source), device=source.device)
        silent = sizes[0] if rooms and rooms[0] == 0 else 0
        groups = tuple((size, room) for room, size in zip(rooms, sizes, strict=True) if room)
        return cls(by_room[silent:], groups, edges.scatter(0, taken, by_source), places)

    @cached_property
    def filled(self) -> Int[Tensor, "T"]:
        """The edge at each place, any edge where it is empty."""
        return self.edges.clamp(max=max(len(self.places) - 1, 0))

    def enter(self, x: Float[Tensor, "e h"]) -> Float[Tensor, "T h"]:
        """Rows of edges at their places, zeros at empty ones."""
        return pad(x, (0, 0, 0, 1)).index_select(0, self.edges)

    def leave(self, y: Float[Tensor, "T a o"]) -> Float[Tensor, "e a o"]:
        """Rows of places back at their edges."""
        return y.index_select(0, self.places)


def _rounded(counts: Int[Tensor, "N"]) -> Int[Tensor, "N"]:
    """Numbers of edges, rounded up to even numbers and to one of four steps within each power of two: few groups, few empty places."""
    step = 2 ** ((counts.clamp(min=1).log2() + 1e-6).floor().long() - 2).clamp(min=1)
    return (counts + step - 1) // step * step


@dataclass(frozen=True)
class _Chunk:
    """Some senders in a row with equally many places.

    Args:
        senders: which senders.
        places: which places.
        shape: how many senders, and places of each.
    """

    senders: slice
    places: slice
    shape: tuple[int, int]


def _chunks(groups: Groups, bytes_of_sender: int, device: str) -> list[_Chunk]:
    """Parts of the groups whose products of features and weight have about the size of a chunk."""
    most = max(1, _CHUNK_BYTES.get(device, 64 << 20) // max(bytes_of_sender, 1))
    chunks, sender, place = [], 0, 0
    for size, room in groups:
        for start in range(0, size, most):
            count = min(most, size - start)
            chunks.append(_Chunk(slice(sender, sender + count), slice(place, place + count * room), (count, room)))
            sender, place = sender + count, place + count * room
    return chunks


class _Part:
    """What a chunk sees of one degree of the features, and the products of these with the weight."""

    def __init__(self, chunk: _Chunk, x: Tensor, basis: Tensor, matrix: Float[Tensor, "c toh"], hidden: int) -> None:
        self.matrix = matrix
        self.x = x[chunk.senders].flatten(0, 1)
        self.basis = basis[chunk.places]
        self.products = torch.mm(self.x, matrix).view(chunk.shape[0], -1, hidden)

    def terms(self, z: Float[Tensor, "s d h"]) -> Float[Tensor, "T bt o"]:
        """The products summed with the hidden units of each edge."""
        return torch.bmm(z, self.products.mT).view(*self.basis.shape[::2], -1)


class _Contract(torch.autograd.Function):
    """Messages at all places, from all degrees k of the features: first all x_k, then all bases `[T, a, b t]`, then all `[c, t o h]`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(groups: Groups, z: Tensor, *tensors: Tensor) -> Tensor:
        messages = []
        for chunk in _plan(groups, tensors):
            hidden, message = _of_senders(z, chunk), None
            for part in _parts(chunk, tensors, z.shape[1]):
                terms = part.terms(hidden)
                message = torch.bmm(part.basis, terms) if message is None else torch.baddbmm(message, part.basis, terms)
            messages.append(message)
        return torch.cat(cast(list[Tensor], messages))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.groups = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, *tensors = ctx.saved_tensors
        needed, count = ctx.needs_input_grad[2:], len(tensors) // 3
        found: list[list[Tensor]] = [[] for _ in tensors]
        of_matrices = [torch.zeros_like(matrix) for matrix in tensors[2 * count :]]
        of_z = []
        for chunk in _plan(ctx.groups, tensors):
            y, hidden = gradient[chunk.places], _of_senders(z, chunk)
            of_hidden = torch.zeros_like(hidden)
            for k, part in enumerate(_parts(chunk, tensors, z.shape[1])):
                of_terms = torch.bmm(part.basis.mT, y).view(*chunk.shape, -1)
                of_hidden = torch.baddbmm(of_hidden, of_terms, part.products)
                if needed[count + k]:
                    found[count + k].append(torch.bmm(y, part.terms(hidden).mT))
                of_products = torch.bmm(of_terms.mT, hidden).view(part.x.shape[0], -1)
                of_matrices[k] = torch.addmm(of_matrices[k], part.x.T, of_products)
                if needed[k]:
                    found[k].append(torch.mm(of_products, part.matrix.T).view(chunk.shape[0], -1, part.x.shape[1]))
            of_z.append(of_hidden.flatten(0, 1))
        return (None, torch.cat(of_z), *(torch.cat(parts) if parts else None for parts in found[: 2 * count]), *of_matrices)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        saved = ctx.saved_tensors
        count = len(saved) // 3
        terms = []
        for place, tangent in enumerate(tangents[1:]):
            if tangent is None:
                continue
            # the hidden units are in all terms, the others in the terms of one degree
            replaced = [*saved[:place], tangent, *saved[place + 1 :]]
            chosen = replaced[1:] if place == 0 else replaced[1 + (place - 1) % count :: count]
            terms.append(_Contract.forward(ctx.groups, replaced[0], *chosen))
        return torch.stack(terms).sum(0)


def _of_senders(z: Float[Tensor, "T h"], chunk: _Chunk) -> Float[Tensor, "s d h"]:
    return z[chunk.places].view(*chunk.shape, -1)


def _parts(chunk: _Chunk, tensors: Sequence[Tensor], hidden: int) -> Iterator[_Part]:
    count = len(tensors) // 3
    for x, basis, matrix in zip(tensors[:count], tensors[count : 2 * count], tensors[2 * count :], strict=True):
        yield _Part(chunk, x, basis, matrix, hidden)


def _plan(groups: Groups, tensors: Sequence[Tensor]) -> list[_Chunk]:
    count = len(tensors) // 3
    products = sum(x.shape[1] * matrix.shape[1] for x, matrix in zip(tensors[:count], tensors[2 * count :], strict=True))
    return _chunks(groups, products * tensors[0].element_size(), tensors[0].device.type)


def contract_by_sender(
    features: Sequence[Float[Tensor, "s _ _"]],
    hidden: Float[Tensor, "T h"],
    bases: Sequence[Float[Tensor, "T a _ _"]],
    weights: Sequence[Float[Tensor, "_ h _ o"]],
    groups: Groups,
) -> Float[Tensor, "T a o"]:
    """y_{a,o} = sum_{k,b,t,h,c} bases^k_{a,b,t} hidden_h weights^k_{t,h,c,o} features^k_{b,c} at the places of a `SenderOrder`.

    Args:
        features: features of the senders, in order, for each degree k `[s, b, c]`.
        hidden: hidden units of the radial network.
        bases: kernels without their radial parts, for each degree `[T, a, b, t]`.
        weights: last layers of the radial network, for each degree `[t, h, c, o]`.
        groups: of the order.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    if not groups:
        return hidden.new_zeros(0, bases[0].shape[1], weights[0].shape[3], dtype=dtype)
    matrices = [weight.permute(2, 0, 3, 1).flatten(1) for weight in weights]
    tensors = [x.to(dtype) for x in (hidden, *features, *(basis.flatten(2) for basis in bases), *matrices)]
    result: Tensor = _Contract.apply(groups, *tensors)  # type: ignore[no-untyped-call]
    return result
