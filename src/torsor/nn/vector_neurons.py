"""Vector neurons: layers whose channels are vectors, and the network of them that scores points and finds axes of a cloud.

Deng, Litany, Duan, Poulenard, Tagliasacchi, Guibas: Vector Neurons (2021), in the arrangement of Kim et al.: Learning Probabilistic
Symmetrization (2023). Layers mix channels and never coordinates, so they are equivariant to O(d) for every d; they have no bias.

Axes: b batch, n points, k neighbours, d dimension of space, c channels, s scalars of a point, e features of a pair.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import dropout

from torsor.groups.numerics import safe_norm
from torsor.nn.masked_norm import Statistics, masked_norm
from torsor.nn.pooling import pool_points

_SMALL = 1e-6
"""Added to lengths before they divide, as in the paper."""


class VectorNorm(nn.Module):
    """Vectors x whose lengths are normalised: x / (|x| + 1e-6) norm(|x| + 1e-6).

    Args:
        channels: number of channels.
        statistics: of the lengths: those of the whole "batch", of each "item", or "none" for no norm.
    """

    def __init__(self, channels: int, statistics: Statistics = "batch") -> None:
        super().__init__()
        self.norm = masked_norm(statistics, channels)

    def forward(self, x: Float[Tensor, "b *places d c"], mask: Bool[Tensor, "b *places"] | None = None) -> Float[Tensor, "b *places d c"]:
        """Normalise; the statistics are those of the valid places, in single precision at least."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        lengths = safe_norm(wide.transpose(-1, -2)) + _SMALL
        normalised: Tensor = wide * (self.norm(lengths, mask) / lengths).unsqueeze(-2)
        return normalised.to(x.dtype)


def vector_leaky_relu(
    x: Float[Tensor, "*batch d c"], direction: Float[Tensor, "*batch d #c"], slope: float = 0.2
) -> Float[Tensor, "*batch d c"]:
    """Vectors on the far side of the plane that is normal to their direction have their part along it shrunk to `slope` times as much."""
    along = (x * direction).sum(-2, keepdim=True)
    squared = direction.square().sum(-2, keepdim=True) + _SMALL
    return x - (1 - slope) * along.clamp(max=0) / squared * direction


class VectorLayer(nn.Module):
    """Linear, norm, leaky ReLU along a learned direction.

    Args:
        channels_in: channels before.
        channels_out: channels afterwards.
        shared_direction: whether all channels have one direction.
        statistics: of the norm.
        invariants: number of invariants by which channels are scaled after the linear map, p (1 + W a); 0 for none, as published.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        shared_direction: bool = False,
        statistics: Statistics = "batch",
        invariants: int = 0,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(channels_in, channels_out, bias=False)
        self.direction = nn.Linear(channels_in, 1 if shared_direction else channels_out, bias=False)
        self.norm = VectorNorm(channels_out, statistics)
        self.scale = nn.Linear(invariants, channels_out, bias=False) if invariants else None

    def forward(
        self,
        x: Float[Tensor, "b *places d i"],
        mask: Bool[Tensor, "b *places"] | None = None,
        invariants: Float[Tensor, "b *places a"] | None = None,
    ) -> Float[Tensor, "b *places d o"]:
        """The next channels."""
        linear = self.linear(x)
        if self.scale is not None:
            linear = linear * (1 + self.scale(invariants)).unsqueeze(-2)
        return vector_leaky_relu(self.norm(linear, mask), self.direction(x))


class VectorMaxPool(nn.Module):
    """For each channel the vector that reaches farthest along its direction, a mixture of channels.

    A choice has no derivative, so the mixtures stay as they were drawn, as they do in the paper's code.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.direction = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Float[Tensor, "*batch n d c"], mask: Bool[Tensor, "*batch n"] | None = None) -> Float[Tensor, "*batch d c"]:
        """Pool over the valid ones of the n places; zero where none is."""
        along = (x * self.direction(x)).sum(-2)
        if mask is not None:
            along = along.where(mask.unsqueeze(-1), -torch.inf)
        farthest = along.argmax(-2)[..., None, None, :]
        pooled = x.gather(-3, farthest.expand(*farthest.shape[:-2], *x.shape[-2:])).squeeze(-3)
        return pooled if mask is None else pooled.where(mask.any(-1)[..., None, None], 0)


class VectorInvariants(nn.Module):
    """A frame for each place, in which vectors become invariant numbers.

    Args:
        channels: channels before; they shrink to a half and a quarter of them.
        frames: vectors of a frame, d of them so that nothing is lost.
        statistics: of the norms.
    """

    def __init__(self, channels: int, frames: int, statistics: Statistics = "batch") -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.layers = nn.ModuleList(VectorLayer(a, b, statistics=statistics) for a, b in ((channels, half), (half, quarter)))
        self.frames = nn.Linear(quarter, frames, bias=False)

    def forward(self, x: Float[Tensor, "b n d c"], mask: Bool[Tensor, "b n"] | None = None) -> Float[Tensor, "b n d f"]:
        """The frames, as columns; inner products with them are invariant."""
        for layer in self.layers:
            x = layer(x, mask)
        frames: Tensor = self.frames(x)
        return frames


class VectorNeurons(nn.Module):
    """Scores of points that no rotation changes, and d axes of the cloud that turn with it: 6,897 parameters as published.

    Two rounds of messages between neighbours, [x_j - x_i, x_i] -> vector layer -> max over neighbours; a third layer on both gives scores,
    the first round alone the axes. With 2 vectors a point (position and velocity), d = 3 and no invariants this is the network of the
    paper. Two changes: dropout takes whole vectors, not single coordinates, which would break the symmetry in training; and invariants
    (scalars of both points, features of the pair) may scale the messages.

    Args:
        vectors: vectors of a point.
        hidden: channels of the layers.
        dimension: the d.
        neighbours: nearest points of each, itself among them, in the space of all its channels; None for all pairs. Where two are equally
            far, rounding decides.
        scalars: invariant features of a point.
        edge_features: invariant features of a pair.
        scores: whether points are scored.
        axes: whether the cloud gets axes.
        statistics: of the norms: those of the "batch" as published, of each "item" by itself, or "none".
        dropout: probability that a vector of a point is dropped after each round.
    """

    def __init__(
        self,
        vectors: int = 2,
        hidden: int = 21,
        *,
        dimension: int = 3,
        neighbours: int | None = 4,
        scalars: int = 0,
        edge_features: int = 0,
        scores: bool = True,
        axes: bool = True,
        statistics: Statistics = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.neighbours, self.dropout, self.scalars, self.edge_features = neighbours, dropout, scalars, edge_features
        invariants, channels = 2 * scalars + edge_features, (vectors, hidden) if scores else (vectors,)
        self.rounds = nn.ModuleList(VectorLayer(2 * c, hidden, statistics=statistics, invariants=invariants) for c in channels)
        self.pools = nn.ModuleList(VectorMaxPool(hidden) for _ in channels)
        self.mix = VectorLayer(2 * hidden, hidden, shared_direction=True, statistics=statistics) if scores else None
        self.frames = VectorInvariants(2 * hidden, dimension, statistics) if scores else None
        self.score = nn.Linear(4 * hidden * dimension, 1) if scores else None
        self.over_points = VectorMaxPool(hidden) if axes else None
        self.axes = nn.Linear(hidden, dimension, bias=False) if axes else None

    def forward(
        self,
        x: Float[Tensor, "b n d c"],
        scalars: Float[Tensor, "b n s"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> tuple[Float[Tensor, "b n"] | None, Float[Tensor, "b d d"] | None]:
        """Scores of the points and axes of the cloud (as columns), where the network has them.

        Args:
            x: vectors of the points.
            scalars: invariant features of the points, where the network was built for them.
            edge_features: invariant features of the pairs, likewise.
            mask: the valid points; elsewhere the inputs are zero.
        """
        first = self._round(0, x, scalars, edge_features, mask)
        axes = None if self.axes is None or self.over_points is None else self.axes(self.over_points(first, mask))
        if self.mix is None:
            return None, axes
        second = self._round(1, first, scalars, edge_features, mask)
        return self._scores(torch.cat((first, second), -1), mask), axes

    def _round(self, i: int, x: Tensor, scalars: Tensor | None, edge_features: Tensor | None, mask: Tensor | None) -> Tensor:
        """Messages from the neighbours, and for each channel the one that reaches farthest."""
        index, valid = neighbours_of(x.flatten(2), self.neighbours, mask)
        received = x.unsqueeze(2).expand(*index.shape, *x.shape[2:])
        sent = x.unsqueeze(1).expand(-1, x.shape[1], -1, -1, -1).take_along_dim(index[..., None, None], 2)
        message = self.rounds[i](torch.cat((sent - received, received), -1), valid, self._invariants(index, scalars, edge_features))
        pooled = self.pools[i](message, valid)
        kept = dropout(torch.ones_like(pooled[..., :1, :]), self.dropout, self.training)
        dropped: Tensor = pooled * kept
        return dropped

    def _invariants(self, index: Tensor, scalars: Tensor | None, edge_features: Tensor | None) -> Float[Tensor, "b n k a"] | None:
        """Scalars of the receiver, of the sender, and features of the pair."""
        parts = []
        if self.scalars and scalars is not None:
            parts.append(scalars.unsqueeze(2).expand(*index.shape, -1))
            parts.append(scalars.unsqueeze(1).expand(-1, scalars.shape[1], -1, -1).take_along_dim(index.unsqueeze(-1), 2))
        if self.edge_features and edge_features is not None:
            parts.append(edge_features.take_along_dim(index.unsqueeze(-1), 2))
        return torch.cat(parts, -1) if parts else None

    def _scores(self, both: Float[Tensor, "b n d c"], mask: Tensor | None) -> Float[Tensor, "b n"]:
        """From the invariants of each point and their maxima over the cloud."""
        assert self.mix is not None
        assert self.frames is not None
        assert self.score is not None
        local = self.mix(both, mask)
        mean = torch.unflatten(pool_points(local.flatten(2), mask, "mean"), -1, local.shape[2:])
        seen = torch.cat((local, mean.unsqueeze(1).expand_as(local)), -1)
        frames = self.frames(seen, mask)
        own, shared = ((x.transpose(-1, -2) @ frames).flatten(2) for x in (both, seen))
        largest = pool_points(shared, mask, "max").unsqueeze(1).expand_as(shared)
        scored: Tensor = self.score(torch.cat((largest, own), -1)).squeeze(-1)
        return scored


@torch.no_grad()
def neighbours_of(
    x: Float[Tensor, "b n f"], nearest: int | None, mask: Bool[Tensor, "b n"] | None
) -> tuple[Int64[Tensor, "b n k"], Bool[Tensor, "b n k"] | None]:
    """The nearest valid points of each, itself among them, and which of them are valid pairs (None where all are).

    Args:
        x: by whose distances points are near.
        nearest: how many; None for all.
        mask: the valid points.
    """
    b, n = x.shape[:2]
    pairs = None if mask is None else mask[:, :, None] & mask[:, None]
    if nearest is None or nearest >= n:
        return torch.arange(n, device=x.device).expand(b, n, n), pairs
    squares = (x[:, :, None] - x[:, None]).square().sum(-1)
    if pairs is not None:
        squares = squares.where(pairs, torch.inf)
    index = squares.topk(nearest, largest=False).indices
    return index, None if pairs is None else pairs.gather(2, index)
