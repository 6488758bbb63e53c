"""E(n)-equivariant graph network: scalars on points, and vectors along differences of points.

Satorras, Hoogeboom, Welling: E(n) Equivariant Graph Neural Networks (2021), equations 3 to 6, and 7 for velocities.

The positions may have several channels, all equal at first; each vector of the output is the displacement of one channel. With one channel
this is the paper. The first layer of the edge network is linear in (h_i, h_j), so it is applied to points, not to pairs: nothing larger
than one hidden feature a pair is ever built.

Axes: b batch, n points, k neighbours (k = n: all pairs), c hidden channels, p position channels, v input vectors, e edge features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from torsor.config import Settings
from torsor.groups import E, S
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.models.vectors import count, joined, layout_of, split
from torsor.nn.pooling import pool_points
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool

_SMOOTH = 1e-8
"""Under the root of every norm, so that its gradient at zero is zero, not infinite."""


@dataclass(frozen=True)
class EGNNConfig(Settings):
    """Settings of `EGNN`; the defaults are those of the paper's n-body experiment.

    Args:
        hidden: channels of points and of messages.
        layers: number of layers.
        neighbours: how many nearest points (in the input) send messages to a point, None for all. Where two points are equally far from a
            third, which of them is chosen depends on rounding, and the model is equivariant up to that choice alone.
        gate: multiply each message by a learned number in (0, 1), section 3.3 of the paper.
        tanh: bound the coefficient of each difference to (-1, 1); steadier on large clouds.
        normalise: move along r / (|r| + 1) instead of r; steadier where distances are large.
        aggregate: "sum" of the messages (equation 5), or their "mean" for clouds of very different sizes.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    hidden: int = 64
    layers: int = 4
    neighbours: int | None = None
    gate: bool = False
    tanh: bool = False
    normalise: bool = False
    aggregate: Literal["sum", "mean"] = "sum"

    def build(self, signature: PointClouds) -> EGNN:
        """The model for a task's signature.

        Raises:
            SignatureError: the signature has irreps other than 0e and 1o.
        """
        return EGNN(
            signature.rep_in,
            signature.rep_out,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


@dataclass(frozen=True)
class Neighbours:
    """Who sends messages to whom.

    Args:
        index: the senders of each point; None where all points are.
        valid: 1 where the sender is a valid point other than the receiver, else 0.
        count: number of valid senders, at least 1.
    """

    index: Int[Tensor, "b n k"] | None
    valid: Float[Tensor, "b n k 1"]
    count: Float[Tensor, "b n 1"]

    def senders(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b #n k c"]:
        """The row of each sender."""
        if self.index is None:
            return x[:, None]
        rows = self.index.flatten(1)[..., None].expand(-1, -1, x.shape[-1])
        return torch.unflatten(x.gather(1, rows), 1, self.index.shape[1:])

    def pairs(self, x: Float[Tensor, "b n n e"]) -> Float[Tensor, "b n k e"]:
        """The entry of each pair."""
        return x if self.index is None else x.take_along_dim(self.index[..., None], 2)


@torch.no_grad()
def find_neighbours(positions: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None, nearest: int | None) -> Neighbours:
    """The nearest valid points of each, itself left out; all of them where `nearest` is None or not smaller than their number."""
    b, n = positions.shape[:2]
    other = ~torch.eye(n, dtype=torch.bool, device=positions.device).expand(b, n, n)
    valid = other if mask is None else other & mask[:, :, None] & mask[:, None, :]
    index = None
    if nearest is not None and nearest < n - 1:
        squares = (positions[:, :, None] - positions[:, None]).square().sum(-1)
        index = squares.where(valid, float("inf")).topk(nearest, largest=False, sorted=False).indices
        valid = valid.gather(2, index)
    weight = valid[..., None].to(positions.dtype)
    return Neighbours(index, weight, weight.sum(2).clamp(min=1))


class EGNNLayer(nn.Module):
    """One round of messages.

    m_ij = phi_e(h_i, h_j, |x_i - x_j|^2, a_ij)                                (3)
    x_i' = x_i + phi_v(h_i) v_i + mean_j (x_i - x_j) phi_x(m_ij)               (4, 7)
    h_i' = h_i + phi_h(h_i, sum_j m_ij)                                        (5, 6)

    Args:
        config: settings of the model.
        edge_features: number of invariant features of a pair.
        channels: position channels p.
        vectors: input vectors v.
        moves: whether the positions are updated.
        updates: whether the scalars are updated.
    """

    def __init__(self, config: EGNNConfig, edge_features: int, channels: int, vectors: int, *, moves: bool, updates: bool) -> None:
        super().__init__()
        c = config.hidden
        self.config = config
        self.edge = nn.Linear(2 * c + channels + edge_features, c)
        self.message = nn.Linear(c, c)
        self.gate = nn.Linear(c, 1) if config.gate else None
        self.node = nn.Sequential(nn.Linear(2 * c, c), nn.SiLU(), nn.Linear(c, c)) if updates else None
        to_coefficient = nn.Linear(c, channels, bias=False)
        self.move = nn.Sequential(nn.Linear(c, c), nn.SiLU(), to_coefficient) if moves else None
        self.drive = nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, channels * vectors)) if moves and vectors else None
        # the paper's start: points hardly move at first, so that the squared distances of later layers stay in range
        nn.init.xavier_uniform_(to_coefficient.weight, gain=0.001)

    def forward(
        self,
        h: Float[Tensor, "b n c"],
        x: Float[Tensor, "b n p d"],
        vectors: Float[Tensor, "b n v d"],
        edges: Float[Tensor, "b n k e"] | None,
        neighbours: Neighbours,
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n p d"] | None]:
        """New scalars, and how far each position channel moves (None where it does not)."""
        difference = x[:, :, None] - torch.unflatten(neighbours.senders(x.flatten(2)), -1, x.shape[2:])
        message = self._messages(h, difference.square().sum(-1), edges, neighbours)
        shift = None if self.move is None else self._shift(h, vectors, difference, message, neighbours)
        if self.node is not None:
            received = message.sum(2) if self.config.aggregate == "sum" else message.sum(2) / neighbours.count
            h = h + self.node(torch.cat((h, received), -1))
        return h, shift

    def _messages(self, h: Tensor, squares: Tensor, edges: Tensor | None, neighbours: Neighbours) -> Float[Tensor, "b n k c"]:
        """Equation 3, zero for pairs that are none."""
        c = self.config.hidden
        to_receiver, to_sender, to_pair = torch.split(self.edge.weight, [c, c, self.edge.in_features - 2 * c], dim=1)
        pair = linear(squares if edges is None else torch.cat((squares, edges), -1), to_pair)
        first = pair + linear(h, to_receiver, self.edge.bias)[:, :, None] + neighbours.senders(linear(h, to_sender))
        message = silu(self.message(silu(first)))
        weight = neighbours.valid if self.gate is None else neighbours.valid * self.gate(message).sigmoid()
        return message * weight

    def _shift(self, h: Tensor, vectors: Tensor, difference: Tensor, message: Tensor, neighbours: Neighbours) -> Float[Tensor, "b n p d"]:
        """Equations 4 and 7."""
        assert self.move is not None
        coefficient: Tensor = self.move(message)
        coefficient = (coefficient.tanh() if self.config.tanh else coefficient) * neighbours.valid / neighbours.count[..., None]
        if self.config.normalise:
            difference = difference / ((difference.square().sum(-1, keepdim=True) + _SMOOTH).sqrt() + 1)
        # sums of products, not matrix products: autocast would round those, and positions with them
        shift: Tensor = (difference * coefficient[..., None]).sum(2)
        if self.drive is None:
            return shift
        driven = self.drive(h).unflatten(-1, (shift.shape[2], -1))
        return torch.add(shift, (driven[..., None] * vectors[:, :, None]).sum(3))


class EGNN(nn.Module):
    """E(n)-equivariant graph network with any number of scalars and vectors, in and out.

    Norms and mutual inner products of the input vectors join the scalars (section 3.2 of the paper); the vectors themselves drive the
    positions (equation 7). The points move in every layer if there are vectors at all, else in none, as in the paper's molecules.

    Args:
        rep_in: irreps of the features, 0e and 1o alone.
        rep_out: irreps of the output, 0e and 1o alone.
        edge_features: number of invariant features of each pair of points.
        pool: how points are pooled; None for one output a point.
        dimension: of the space the points are in.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        SignatureError: an irrep is neither 0e nor 1o.
        UnknownNameError: a setting is not a field of the config.
    """

    invariant_pairs: Tensor

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        edge_features: int = 0,
        pool: Pool | None = None,
        dimension: int = 3,
        config: EGNNConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(EGNNConfig, config, settings)
        self.signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, dimension=dimension)
        self.config, self.pool, self.symmetry = config, pool, self.signature.symmetry(E(dimension) * S())
        self.widths = (self.signature.rep_in.dim, edge_features)
        self.layout_in, self.layout_out = (
            layout_of(rep, "egnn", self.signature) for rep in (self.signature.rep_in, self.signature.rep_out)
        )
        scalars, vectors = count(self.layout_in)
        self.scalars_out, vectors_out = count(self.layout_out)
        self.channels = max(1, vectors_out)
        self.register_buffer("invariant_pairs", torch.triu_indices(vectors, vectors, 1), persistent=False)
        # the column of ones stands for a bias, and feeds clouds that have nothing but positions
        self.embed = nn.Linear(1 + scalars + vectors + self.invariant_pairs.shape[1], config.hidden, bias=False)
        self.layers = nn.ModuleList(
            EGNNLayer(
                config,
                edge_features,
                self.channels,
                vectors,
                moves=bool(vectors_out or (vectors and not last)),
                updates=bool(self.scalars_out or not last),
            )
            for last in (i == config.layers - 1 for i in range(config.layers))
        )
        c = config.hidden
        self.readout = nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, self.scalars_out)) if self.scalars_out else None

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths, self.signature.dimension)
        output = self._output(*self._layers(cloud))
        if self.pool:
            return pool_points(output, mask, self.pool)
        return output if mask is None else output.where(mask[..., None], 0)

    def _layers(self, cloud: PointCloud) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n p d"]]:
        """Scalars after the last layer, and how far each position channel has moved."""
        scalars, vectors = split(cloud.features, self.layout_in, self.signature.dimension)
        h = self.embed(self._invariants(scalars, vectors))
        neighbours = find_neighbours(cloud.positions, cloud.mask, self.config.neighbours)
        edges = None if cloud.edge_features is None else neighbours.pairs(cloud.edge_features)
        start = cloud.positions[:, :, None].expand(-1, -1, self.channels, -1)
        # the displacement is summed apart from the positions: a small one far from the origin keeps its digits
        moved = torch.zeros_like(start)
        for layer in self.layers:
            h, shift = layer(h, start + moved, vectors, edges, neighbours)
            moved = moved if shift is None else moved + shift
        return h, moved

    def _invariants(self, scalars: Float[Tensor, "b n s"], vectors: Float[Tensor, "b n v d"]) -> Float[Tensor, "b n i"]:
        """One, the scalars, the norms of the vectors and their inner products."""
        norms = (vectors.square().sum(-1) + _SMOOTH).sqrt()
        first, second = self.invariant_pairs
        products = (vectors.index_select(2, first) * vectors.index_select(2, second)).sum(-1)
        ones = scalars.new_ones(*scalars.shape[:2], 1)
        return torch.cat((ones, scalars, norms, products), -1)

    def _output(self, h: Float[Tensor, "b n c"], moved: Float[Tensor, "b n p d"]) -> Float[Tensor, "b n out"]:
        """Scalars and displacements in the order of `rep_out`."""
        scalars = h.new_zeros(*h.shape[:2], 0) if self.readout is None else self.readout(h)
        return joined(scalars, moved, self.layout_out)
