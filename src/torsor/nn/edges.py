"""Who sends messages to whom, and along which vector: neighbour lists in a dense and a sparse form with one interface.

An edge j -> i carries the vector x_i - x_j. In the dense form each of the N nodes (all points of all clouds) receives from the same number
of places, some of which hold no edge; in the sparse form edges are listed. Layers use the methods of `Edges` and see no difference.

Axes: b batch, n points, k neighbours, N nodes, e edges, f edge features, h heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RADIUS_RAMP = 0.5
NEIGHBOUR_RAMP = 0.25
"""Part of the cut-off length over which an envelope falls from one to zero; steep where the length is the distance of a neighbour, because
most neighbours are nearly as far away as the last one."""


class Edges(ABC):
    """Edges of a graph in space.

    Args:
        vectors: x_i - x_j, zero at places that hold no edge.
        source: the sender j of each edge.
        weight: cut-off envelope of each edge, 0 at places that hold no edge; None where all are 1.
        features: invariant features of each edge.
        coincident: True at edges between points in the same place, whose vector has no direction.
        nodes: N.
    """

    def __init__(
        self,
        vectors: Float[Tensor, "e 3"],
        source: Int[Tensor, "e"],
        weight: Float[Tensor, "e 1"] | None,
        features: Float[Tensor, "e f"] | None,
        coincident: Bool[Tensor, "e 1"],
        nodes: int,
    ) -> None:
        self.source, self.weight, self.features, self.nodes = source, weight, features, nodes
        hold = coincident if weight is None else coincident | (weight.detach() == 0)
        self.vectors = torch.where(hold, torch.zeros_like(vectors), vectors)
        safe = torch.where(hold, torch.ones_like(vectors), vectors).square().sum(-1, keepdim=True).sqrt()
        self.lengths = torch.where(hold, torch.zeros_like(safe), safe)
        up = torch.zeros_like(vectors[:1])
        up[:, 1] = 1
        self.directions = torch.where(hold, up, vectors / safe)
        self.coincident = coincident & hold if weight is None else coincident & (weight.detach() > 0)

    def send(self, x: Float[Tensor, "N ..."]) -> Float[Tensor, "e ..."]:
        """The row of each edge's sender."""
        return x.index_select(0, self.source)

    @abstractmethod
    def receive(self, x: Float[Tensor, "N ..."]) -> Float[Tensor, "e ..."]:
        """The row of each edge's receiver."""

    @abstractmethod
    def total(self, x: Float[Tensor, "e ..."]) -> Float[Tensor, "N ..."]:
        """Sum over the edges that a node receives."""

    @abstractmethod
    def _largest(self, x: Float[Tensor, "e h"]) -> Float[Tensor, "e h"]:
        """The largest value among the edges with the same receiver, for each edge."""

    def softmax(self, logits: Float[Tensor, "e h"]) -> Float[Tensor, "e h"]:
        """Weight exp(logit), normalised over the edges that a node receives; zero where it receives none."""
        if self.weight is not None:
            logits = logits.where(self.weight > 0, torch.finfo(logits.dtype).min)
        powers = (logits - self._largest(logits.detach())).exp()
        if self.weight is not None:
            powers = powers * self.weight
        # far below any sum whose edges matter; a node without edges divides zero by it
        least = torch.finfo(logits.dtype).tiny ** 0.5
        return powers / self.receive(self.total(powers).clamp(min=least))

    def counts(self, like: Float[Tensor, "e ..."]) -> Float[Tensor, "N 1"]:
        """Weighted number of edges that a node receives, at least 1, so that a mean fades out as its last edge does."""
        weight = like.new_ones(self.source.shape[0], 1) if self.weight is None else self.weight
        return self.total(weight).clamp(min=1)


class DenseEdges(Edges):
    """Edges `[N * k]`, k places for each receiver."""

    def __init__(self, *args: object, neighbours: int) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.neighbours = neighbours

    def receive(self, x: Float[Tensor, "N ..."]) -> Float[Tensor, "e ..."]:
        """The row of each edge's receiver."""
        return x[:, None].expand(-1, self.neighbours, *x.shape[1:]).flatten(0, 1)

    def total(self, x: Float[Tensor, "e ..."]) -> Float[Tensor, "N ..."]:
        """Sum over the places of a node."""
        return torch.unflatten(x, 0, (self.nodes, self.neighbours)).sum(1)

    def _largest(self, x: Float[Tensor, "e h"]) -> Float[Tensor, "e h"]:
        return self.receive(torch.unflatten(x, 0, (self.nodes, self.neighbours)).amax(1))


class SparseEdges(Edges):
    """Edges listed with their receivers."""

    def __init__(self, *args: object, target: Int[Tensor, "e"]) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.target = target

    def receive(self, x: Float[Tensor, "N ..."]) -> Float[Tensor, "e ..."]:
        """The row of each edge's receiver."""
        return x.index_select(0, self.target)

    def total(self, x: Float[Tensor, "e ..."]) -> Float[Tensor, "N ..."]:
        """Sum over the edges of a node."""
        return x.new_zeros(self.nodes, *x.shape[1:]).index_add(0, self.target, x)

    def _largest(self, x: Float[Tensor, "e h"]) -> Float[Tensor, "e h"]:
        start = x.new_full((self.nodes, *x.shape[1:]), torch.finfo(x.dtype).min)
        index = self.target[:, None].expand_as(x)
        return self.receive(start.scatter_reduce(0, index, x, "amax"))


def envelope(remaining: Float[Tensor, "*batch"], ramp: float) -> Float[Tensor, "*batch"]:
    """1 inside, 0 outside a cut-off, twice continuously differentiable.

    Args:
        remaining: 1 - r / cut-off, computed as (cut-off - r) / cut-off so that it keeps its digits near zero.
        ramp: `remaining` at which the envelope reaches 1.
    """
    s = (remaining / ramp).clamp(0, 1)
    return s**3 * (10 - 15 * s + 6 * s * s)


def _coincident(receiver: Tensor, sender: Tensor) -> Tensor:
    """Whether two points are equal up to the rounding of their coordinates: the direction between them would be noise."""
    scale = (receiver.abs() + sender.abs()).amax(-1, keepdim=True)
    return (receiver - sender).detach().abs().amax(-1, keepdim=True) <= 4 * torch.finfo(receiver.dtype).eps * scale.detach()


def _squares(positions: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n n"]:
    """Squared distances of all pairs, from differences: products would lose the digits of close pairs."""
    x, y, z = positions.unbind(-1)
    return sum(((c[:, :, None] - c[:, None]).square() for c in (y, z)), (x[:, :, None] - x[:, None]).square())


def _nearest(positions: Tensor, mask: Tensor | None, count: int) -> tuple[Int[Tensor, "b n k"], Bool[Tensor, "b n k"]]:
    """The nearest valid points of each point, nearest first, and which of them are valid."""
    n = positions.shape[1]
    with torch.no_grad():
        itself = torch.eye(n, dtype=torch.bool, device=positions.device)
        hidden = itself if mask is None else itself | ~mask[:, None] | ~mask[:, :, None]
        squares, index = _squares(positions.detach()).masked_fill(hidden, float("inf")).topk(count, largest=False)
        return index, squares.isfinite()


def _all_others(positions: Tensor, mask: Tensor | None) -> tuple[Int[Tensor, "b n k"], Bool[Tensor, "b n k"] | None]:
    """All other points of each point; a lone point has itself as a place that holds no edge."""
    b, n = positions.shape[:2]
    steps = torch.arange(1, max(n, 2), device=positions.device)
    index = (torch.arange(n, device=positions.device)[:, None] + steps) % n
    if n == 1:
        return index.expand(b, 1, 1), torch.zeros(b, 1, 1, dtype=torch.bool, device=positions.device)
    if mask is None:
        return index.expand(b, n, n - 1), None
    return index.expand(b, n, n - 1), mask[:, :, None] & mask[:, index]


def dense_edges(
    positions: Float[Tensor, "b n 3"],
    mask: Bool[Tensor, "b n"] | None = None,
    edge_features: Float[Tensor, "b n n f"] | None = None,
    neighbours: int | None = None,
    radius: float | None = None,
    fade: bool = True,
) -> DenseEdges:
    """Edges between the points of each cloud; no point sends to itself.

    Args:
        positions: points.
        mask: which points are valid.
        edge_features: features of the edge from point `[.., j, ..]` to point `[.., i, .., ..]`, indexed `[b, i, j]`.
        neighbours: only the nearest so many points send, None for all.
        radius: only points nearer than this send, None for all.
        fade: edges fade out towards the radius, and towards the distance of the first point that is not a neighbour any more. Then the
            edges depend continuously on the positions, and points equally far away are treated alike: those tied with the first one left
            out have weight zero. If False, the cut is sharp, and which of several tied points are neighbours depends on their order and
            on rounding: no neighbour list of fixed length can be symmetric there.
    """
    b, n = positions.shape[:2]
    beyond: Tensor | None = None
    if neighbours is None or neighbours >= n - 1:
        index, valid = _all_others(positions, mask)
    else:
        index, valid = _nearest(positions, mask, neighbours + fade)
        if fade:
            beyond, index, valid = _distance(positions, index[..., -1:], valid[..., -1:]), index[..., :-1], valid[..., :-1]
        valid = None if mask is None else valid
    k = index.shape[2]
    offset = n * torch.arange(b, device=positions.device)[:, None, None]
    source = (index + offset).flatten()
    points = positions.flatten(0, 1)
    receiver, sender = points.repeat_interleave(k, 0), points.index_select(0, source)
    weight = _weight(receiver - sender, None if valid is None else valid.flatten()[:, None], radius, fade)
    if beyond is not None:
        near = _fading(receiver - sender, beyond.expand(-1, -1, k).flatten()[:, None])
        weight = near if weight is None else weight * near
    if edge_features is not None:
        row = n * torch.arange(b * n, device=positions.device).view(b, n, 1)
        edge_features = edge_features.flatten(0, 2).index_select(0, (row + index).flatten())
    return DenseEdges(receiver - sender, source, weight, edge_features, _coincident(receiver, sender), b * n, neighbours=k)


def sparse_edges(
    positions: Float[Tensor, "N 3"],
    edge_index: Int[Tensor, "2 e"],
    edge_features: Float[Tensor, "e f"] | None = None,
    radius: float | None = None,
    fade: bool = True,
) -> SparseEdges:
    """Edges that are given, in the form of PyG: senders `edge_index[0]`, receivers `edge_index[1]`.

    Args:
        positions: nodes of all graphs.
        edge_index: senders and receivers; an edge from a node to itself carries nothing.
        edge_features: features of each edge.
        radius: cut-off, as in `dense_edges`.
        fade: as in `dense_edges`.
    """
    source, target = edge_index.unbind(0)
    receiver, sender = positions.index_select(0, target), positions.index_select(0, source)
    weight = _weight(receiver - sender, (source != target)[:, None], radius, fade)
    return SparseEdges(receiver - sender, source, weight, edge_features, _coincident(receiver, sender), positions.shape[0], target=target)


def _length(vectors: Tensor) -> Tensor:
    """Norm with gradient zero at zero."""
    square = vectors.square().sum(-1, keepdim=True)
    zero = square == 0
    return torch.where(zero, torch.zeros_like(square), torch.where(zero, torch.ones_like(square), square).sqrt())


def _distance(positions: Tensor, index: Tensor, valid: Tensor) -> Float[Tensor, "b n 1"]:
    """Distance of each point to one other, infinite where that is no valid point."""
    other = positions.take_along_dim(index, 1)
    return _length(positions - other).where(valid, float("inf"))


def _fading(vectors: Tensor, cutoff: Float[Tensor, "e 1"]) -> Float[Tensor, "e 1"]:
    """Envelope of each edge below a cut-off of its own; 1 where it is infinite."""
    infinite = cutoff.isinf()
    finite = torch.where(infinite | (cutoff == 0), torch.ones_like(cutoff), cutoff)
    faded = envelope((cutoff.where(~infinite, 1.0) - _length(vectors)) / finite, NEIGHBOUR_RAMP)
    return torch.where(infinite, torch.ones_like(faded), faded)


def _weight(vectors: Tensor, valid: Tensor | None, radius: float | None, fade: bool) -> Float[Tensor, "e 1"] | None:
    """Validity and radius as one number for each edge."""
    if radius is None:
        return None if valid is None else valid.to(vectors.dtype)
    remaining = (radius - _length(vectors)) / radius
    weight = envelope(remaining, RADIUS_RAMP) if fade else (remaining > 0).to(vectors.dtype)
    return weight if valid is None else weight * valid
