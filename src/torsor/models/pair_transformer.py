"""A transformer whose tokens are ordered pairs of points, each with a learned place: it can express anything and knows no permutation.

The base network of Kim et al., Learning Probabilistic Symmetrization (2023), for charged particles, to be symmetrised. The defaults are
those of the released code; the paper's first figures are those of `layers=4`.

Axes: b batch, n points given, p points of the largest cloud, d dimension of space, f features, e edge features, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.errors import ShapeError
from torsor.groups import T
from torsor.models import REGISTRY
from torsor.models.message_passing import node_and_pair_features
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.models.transformer import Block, TransformerConfig
from torsor.nn.attention import needs_plain_attention, visible_keys
from torsor.nn.perceptron import output_layer
from torsor.nn.pooling import pool_points
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool, cannot_serve


@dataclass(frozen=True)
class PairTransformerConfig(Settings):
    """Settings of `PairTransformer`.

    Args:
        width: channels of a pair.
        heads: attention heads; `width` must divide by it.
        layers: number of blocks.
        mlp_ratio: hidden width of the feed-forward part over `width`.
        centre: feed positions relative to the centroid of the cloud, which makes the model exactly invariant under translations.
        output_scale: multiplies the initial weights of the last layer, so that training starts near the zero prediction. Not zero, or an
            untrained model would look perfectly symmetric.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    width: int = 64
    heads: int = 4
    layers: int = 8
    mlp_ratio: float = 1.0
    centre: bool = True
    output_scale: float = 0.01

    def build(self, signature: PointClouds) -> PairTransformer:
        """The model for a task's signature.

        Raises:
            SignatureError: the signature does not bound the number of points.
        """
        return PairTransformer(
            signature.rep_in,
            signature.rep_out,
            points=signature.points,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class PairTransformer(nn.Module):
    """Pre-norm attention among the n x n tokens [squared distance, edge features, and on the diagonal position and features].

    Read on the diagonal. Invariant under translations where the config says `centre`, and symmetric in no other way.

    Args:
        rep_in: irreps of the features; their dimension alone matters.
        rep_out: irreps of the output.
        points: places in the largest cloud.
        edge_features: number of features of each pair of points.
        pool: how points are pooled; None for one output a point.
        dimension: of the space the points are in.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        SignatureError: `points` is not given, or `width` does not divide by `heads`.
        UnknownNameError: a setting is not a field of the config.
    """

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        points: int | None = None,
        edge_features: int = 0,
        pool: Pool | None = None,
        dimension: int = 3,
        config: PairTransformerConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(PairTransformerConfig, config, settings)
        self.signature = signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, points, dimension)
        if points is None:
            missing = "its places are learned, so it needs the size of the largest cloud: give points="
            raise cannot_serve("pair-transformer", signature, missing, REGISTRY)
        self.config, self.points, self.pool = config, points, pool
        self.symmetry = signature.symmetry(T(dimension)) if config.centre else signature.symmetry(exactness="none")
        self.widths = (signature.rep_in.dim, edge_features)
        self.embed = nn.Linear(1 + edge_features + dimension + self.widths[0], config.width)
        self.places = nn.Parameter(torch.randn(points, points, config.width))
        block = TransformerConfig(config.width, config.heads, config.layers, config.mlp_ratio)
        self.blocks = nn.ModuleList(Block(block, 0) for _ in range(config.layers))
        self.readout = nn.Sequential(nn.LayerNorm(config.width), nn.ReLU(), nn.Linear(config.width, config.width), nn.ReLU())
        self.output = output_layer(config.width, signature.rep_out.dim, config.output_scale)

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools.

        Raises:
            ShapeError: the cloud is larger than the model was built for.
        """
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths, self.signature.dimension)
        n = positions.shape[1]
        if n > self.points:
            raise ShapeError(f"positions has {n} points, but this model was built for {self.points}: give fewer")
        x = (self.embed(self._tokens(cloud)) + self.places[:n, :n]).flatten(1, 2)
        visible = visible_keys(None if mask is None else (mask[:, :, None] & mask[:, None]).flatten(1))
        plain = needs_plain_attention(cloud.positions, cloud.features, cloud.edge_features)
        for block in self.blocks:
            x = block(x, None, visible, plain)
        output: Tensor = self.output(self.readout(x[:, :: n + 1]))
        if self.pool:
            return pool_points(output, mask, self.pool)
        return output if mask is None else output.where(mask[..., None], 0)

    def _tokens(self, cloud: PointCloud) -> Float[Tensor, "b n n k"]:
        """What the pairs carry: the features of a point stand on the diagonal."""
        nodes, pairs = node_and_pair_features(cloud, self.config.centre)
        itself = torch.eye(nodes.shape[1], dtype=nodes.dtype, device=nodes.device)[..., None]
        return torch.cat((pairs, itself * nodes[:, :, None]), -1)
