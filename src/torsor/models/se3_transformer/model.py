"""The SE(3)-Transformer: attention blocks on irrep features over a graph of points.

Fuchs, Worrall, Fischer, Welling: SE(3)-Transformers: 3D Roto-Translation Equivariant Attention Networks (2020).

Axes: b batch, n points, N = b n nodes, e edges, m components, c channels, d flattened irreps, f edge features.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from torsor.errors import ShapeError, SignatureError
from torsor.groups import SE, E, S
from torsor.models.point_clouds import configured, point_cloud
from torsor.models.se3_transformer.attention import AttentionBlock, TensorFieldLayer
from torsor.models.se3_transformer.config import SE3TransformerConfig
from torsor.nn.edges import Edges, dense_edges, sparse_edges
from torsor.nn.fiber import Fiber, FiberLayout
from torsor.nn.frames import EdgeFrames, Frames, SenderFrames, SpaceFrames
from torsor.nn.irreps_norm import Gate, IrrepsLayerNorm, NormBias, NormNetwork
from torsor.nn.pooling import pool_points
from torsor.nn.tensor_field import terms
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool


def nonlinearity(fiber: Fiber, config: SE3TransformerConfig) -> nn.Sequential:
    """What follows a block: normalisation and nonlinearity."""
    modules: list[nn.Module] = [IrrepsLayerNorm(fiber)] if config.norm == "layer" else []
    if config.nonlinearity == "gate":
        modules.append(Gate(fiber))
    elif config.nonlinearity == "norm":
        modules.append(NormNetwork(fiber, config.norm_eps))
    elif config.nonlinearity == "norm_bias":
        modules.append(NormBias(fiber, config.norm_eps))
    return nn.Sequential(*modules)


class SE3Transformer(nn.Module):
    """Self-attention over points whose outputs turn and move exactly with the input.

    depth x [attention block, normalisation, nonlinearity], then a final attention block or tensor-field layer.

    Args:
        rep_in: irreps of the features of a point; "" for none, then every point carries the scalar 1.
        rep_out: irreps of the output.
        edge_features: number of invariant features of each pair.
        pool: "sum", "mean" or "max" over the points; None for an output at each point.
        config: settings; `SE3TransformerConfig()` if not given.
        settings: fields of the config, written over it.

    Raises:
        UnknownNameError: a setting is no field of the config.
        SignatureError: the settings do not fit the representations.
    """

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        edge_features: int = 0,
        pool: Pool | None = None,
        config: SE3TransformerConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.config = config = configured(SE3TransformerConfig, config, settings)
        self.signature = signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool)
        _check(signature, config)
        self.symmetry = signature.symmetry(E(3) * S() if config.parity else SE(3) * S())
        self.layout_in = FiberLayout(signature.rep_in if signature.rep_in.dim else Irreps("1x0e"))
        width, last = config.readout, signature.rep_out
        self.readout: nn.Sequential | None = None
        if width is not None:
            self.readout = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, last.dim))
            last = Irreps(f"{width}x0e")
        self.layout_out = FiberLayout(last)
        self._build(self.layout_in.fiber, config.hidden(), self.layout_out.fiber)

    def _build(self, first: Fiber, hidden: Fiber, last: Fiber) -> None:
        config, radial = self.config, self.config.radial_settings(self.signature.edge_features)
        fibers = [first, *[hidden] * config.depth]
        self.l_max = (
            max(first.l_max, hidden.l_max, last.l_max)
            if config.relative_position != "cat"
            else max(1, first.l_max, hidden.l_max, last.l_max)
        )
        divided = tuple(count // config.div for count in hidden.channels)
        self.blocks = nn.ModuleList(
            TensorFieldLayer(fiber, hidden, config, radial)
            if config.block == "tfn"
            else AttentionBlock(fiber, hidden, config, radial, divided, config.heads, config.interaction)
            for fiber in fibers[:-1]
        )
        self.nonlinearities = nn.ModuleList(nonlinearity(hidden, config) for _ in fibers[:-1])
        self.last: AttentionBlock | TensorFieldLayer
        if config.final == "tfn":
            self.last = TensorFieldLayer(fibers[-1], last, config, radial)
            return
        width = config.last_channels if config.last_channels is not None else max(divided)
        values = tuple(width if l in last.degrees else 0 for l in range(last.l_max + 1))
        heads = config.heads if config.last_heads is None else config.last_heads
        self.last = AttentionBlock(fibers[-1], last, config, radial, values, heads, config.last_interaction)

    def path(self, edges: Edges) -> str:
        """How messages along these edges are computed: "cg", "so2" or "sender"."""
        config = self.config
        if config.path != "auto":
            return config.path
        if self.l_max == 0 or (config.trunk == "per_pair" and config.kernel == "full"):
            return "cg"
        if config.kernel == "full" and config.relative_position == "none" and SenderFrames.serves(edges) and self._many(edges):
            return "sender"
        # measured on a CPU: below this the number of operations costs more than the arithmetic in them
        small = self.l_max == 1 and config.hidden().width <= 8 and config.kernel == "full"
        return "cg" if small else "so2"

    def _many(self, edges: Edges) -> bool:
        """Whether points send along so many edges that contracting there is faster than contracting at the edges.

        Counted forward and backward, in products of a hidden unit and a pair of channels, for each edge. At the sender, everything is
        computed twice in the backward pass; without a sum over channels what is left for an edge is fewer by their number.
        """
        pairs = [(l, k) for l in range(self.l_max + 1) for k in range(self.l_max + 1)]
        at_sender = sum((2 * k + 1) * len(terms(l, k, self.config.parity)) for l, k in pairs)
        at_edge = sum(1 + (2 if self.config.parity else 3) * min(l, k) for l, k in pairs)
        count = 4 * at_sender * (edges.nodes / max(edges.source.shape[0], 1) + 1 / self.config.hidden().width)
        # measured on a CPU: products of many small matrices take longer than those of a few large ones
        return count < 0.6 * 3 * at_edge

    def forward(
        self,
        positions: Float[Tensor, "b n 3"],
        features: Float[Tensor, "b n d"] | None = None,
        edge_features: Float[Tensor, "b n n f"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *_"]:
        """Output at each point (zero behind the mask), or of each cloud.

        Args:
            positions: the points.
            features: irreps of each point, flattened.
            edge_features: features of the edge that point i receives from point j, at `[b, i, j]`.
            mask: which points are valid.
        """
        signature, config = self.signature, self.config
        cloud = point_cloud(positions, features, edge_features, mask, signature.rep_in.dim, signature.edge_features)
        edges = dense_edges(cloud.positions, cloud.mask, cloud.edge_features, config.neighbours, config.radius, fade=config.cut == "smooth")
        nodes = cloud.features.flatten(0, 1) if signature.rep_in.dim else positions.new_ones(edges.nodes, 1)
        output = torch.unflatten(self._run(nodes, edges), 0, positions.shape[:2])
        if signature.pool is not None:
            return self._read(pool_points(output, cloud.mask, signature.pool))
        return output if cloud.mask is None else output * cloud.mask[..., None]

    def forward_edges(
        self,
        positions: Float[Tensor, "N 3"],
        edge_index: Int[Tensor, "_ e"],
        features: Float[Tensor, "N d"] | None = None,
        edge_features: Float[Tensor, "e f"] | None = None,
        batch: Int[Tensor, "N"] | None = None,
        graphs: int | None = None,
    ) -> Float[Tensor, "g _"]:
        """The same on a graph whose edges are given, as PyG gives them: bonds of molecules, for instance.

        Args:
            positions: nodes of all graphs.
            edge_index: senders and receivers of all edges.
            features: irreps of each node, flattened.
            edge_features: features of each edge.
            batch: the graph of each node, where the model pools; one graph if not given.
            graphs: number of graphs; as many as `batch` names if not given.

        Returns:
            Output of each node, or of each graph where the model pools.
        """
        if edge_index.ndim != 2 or edge_index.shape[0] != 2:
            raise ShapeError(f"edge_index is {list(edge_index.shape)}: give senders and receivers, [2, edges]")
        edges = sparse_edges(positions, edge_index, edge_features, self.config.radius, fade=self.config.cut == "smooth")
        if features is None:
            features = positions.new_ones(positions.shape[0], 1)
        output = self._run(features, edges)
        if self.signature.pool is None:
            return output
        batch = edge_index.new_zeros(positions.shape[0]) if batch is None else batch
        return self._read(_pool_graphs(output, batch, graphs, self.signature.pool))

    def _run(self, features: Float[Tensor, "N d"], edges: Edges) -> Float[Tensor, "N _"]:
        """All layers."""
        with torch.autocast(features.device.type, enabled=False):
            frames = self._frames(edges)
        x = self.layout_in.dense(features)
        for block, after in zip(self.blocks, self.nonlinearities, strict=True):
            x = after(block(x, frames))
        return self.layout_out.flat(self.last(x, frames))

    def _frames(self, edges: Edges) -> Frames:
        path = self.path(edges)
        if path == "so2":
            return EdgeFrames(edges, self.l_max)
        by_sender = path == "sender" and SenderFrames.serves(edges)
        return SenderFrames(edges, self.l_max) if by_sender else SpaceFrames(edges, self.l_max)

    def _read(self, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b _"]:
        output: Tensor = pooled if self.readout is None else self.readout(pooled)
        return output


def _check(signature: PointClouds, config: SE3TransformerConfig) -> None:
    """Refuse settings that contradict the signature."""
    if config.parity:
        for irreps in (signature.rep_in, signature.rep_out):
            for _, irrep in irreps:
                if irrep.p != (-1) ** irrep.l:
                    raise SignatureError(
                        f"parity=True needs irreps of natural parity (0e, 1o, 2e, ..), but {irreps} has {irrep}: give parity=False"
                    )
    if config.readout is not None and (signature.pool is None or signature.rep_out.lmax > 0):
        raise SignatureError(
            f"readout is a network on pooled scalars, but the model has pool={signature.pool} and returns {signature.rep_out}"
        )


def _pool_graphs(x: Float[Tensor, "N d"], batch: Int[Tensor, "N"], graphs: int | None, how: Pool) -> Float[Tensor, "g d"]:
    """Pool the nodes of each graph; a graph without nodes gives zero."""
    count = (int(batch.max()) + 1 if batch.numel() else 0) if graphs is None else graphs
    if how == "max":
        index = batch[:, None].expand_as(x)
        return x.new_zeros(count, x.shape[1]).scatter_reduce(0, index, x, "amax", include_self=False)
    total = x.new_zeros(count, x.shape[1]).index_add(0, batch, x)
    if how == "sum":
        return total
    return total / x.new_zeros(count, 1).index_add(0, batch, x.new_ones(x.shape[0], 1)).clamp(min=1)
