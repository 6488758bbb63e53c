"""The slim GATr: attention and gated networks on scalars and vectors alone, 3 numbers a channel instead of 16.

The Euclidean counterpart of the slim L-GATr, after the slim version that Heidelberg's L-GATr package offers beside Spinner et al. (2024).
Vectors are polar and points are vectors from the centroid of their cloud: what is left of GATr (Brehmer et al. 2023) where planes, lines
and motions are not needed, exact under reflections too, in a space of any dimension.

Axes: b batch, n points, d dimension of space, f features, e edge features, c vector channels (behind the components), s scalars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.groups import E, S
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.models.vectors import count, joined, layout_of, split
from torsor.nn.attention import needs_plain_attention, visible_keys
from torsor.nn.pooling import centroid, pool_points
from torsor.nn.slim_layers import Metric, SlimBlock, SlimLinear, SlimSettings, inner, joint_norm
from torsor.representations import Irreps
from torsor.representations.precision import precise
from torsor.signatures import PointClouds, Pool


@dataclass(frozen=True)
class GATrSlimConfig(Settings):
    """Settings of `GATrSlim`.

    Args:
        vectors: vector channels; `heads` must divide them.
        scalars: scalar channels; `heads` must divide them.
        blocks: number of blocks.
        heads: attention heads.
        mlp_factor: hidden channels of the gated network over those of a token.
        edge_width: hidden width of the network that turns features of a pair into attention biases.

    Raises:
        ConfigError: a number is below one or does not divide.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    vectors: int = 32
    scalars: int = 96
    blocks: int = 4
    heads: int = 8
    mlp_factor: int = 2
    edge_width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("blocks", "edge_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")
        self.block_settings(3)

    def block_settings(self, dimension: int) -> SlimSettings:
        """What all blocks have in common."""
        return SlimSettings((1.0,) * dimension, self.vectors, self.scalars, self.heads, self.mlp_factor)

    def build(self, signature: PointClouds) -> GATrSlim:
        """The model for a task's signature.

        Raises:
            SignatureError: the signature has irreps other than 0e and 1o.
        """
        return GATrSlim(
            signature.rep_in,
            signature.rep_out,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class GATrSlim(nn.Module):
    """A transformer of scalars and vectors, equivariant under rotations, reflections and translations.

    A point starts with its offset from the centroid and its own vectors, with arsinh of their squared norms, and with its own scalars.

    Args:
        rep_in: irreps of the features, 0e and 1o alone.
        rep_out: irreps of the output, 0e and 1o alone.
        edge_features: number of invariant features of each pair of points; they add a bias to the attention of every block.
        pool: how points are pooled; None for one output a point.
        dimension: of the space the points are in.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        SignatureError: an irrep is neither 0e nor 1o.
        UnknownNameError: a setting is not a field of the config.
    """

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        edge_features: int = 0,
        pool: Pool | None = None,
        dimension: int = 3,
        config: GATrSlimConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(GATrSlimConfig, config, settings)
        self.config, self.pool = config, pool
        self.signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, dimension=dimension)
        self.symmetry = self.signature.symmetry(E(dimension) * S())
        self.widths = (self.signature.rep_in.dim, edge_features, dimension)
        reps = (self.signature.rep_in, self.signature.rep_out)
        self.layout_in, self.layout_out = (layout_of(rep, "gatr-slim", self.signature) for rep in reps)
        (scalars, vectors), (scalars_out, vectors_out) = count(self.layout_in), count(self.layout_out)
        self.metric: Metric = config.block_settings(dimension).metric
        self.embed = SlimLinear((1 + vectors, config.vectors), (1 + vectors + scalars, config.scalars))
        self.blocks = nn.ModuleList(SlimBlock(config.block_settings(dimension)) for _ in range(config.blocks))
        self.to_scalars = nn.Linear(config.scalars, scalars_out) if scalars_out else None
        self.to_vectors = nn.Linear(config.vectors, vectors_out, bias=False) if vectors_out else None
        width = config.edge_width
        pairs = (nn.Linear(edge_features, width), nn.GELU(), nn.Linear(width, config.heads)) if edge_features else ()
        self.pairs = nn.Sequential(*pairs)

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths)
        v, s = self._embedded(cloud)
        bias, plain = self._bias(cloud, v), needs_plain_attention(positions, features, edge_features)
        for block in self.blocks:
            v, s = block(v, s, bias, plain)
        output = self._read(*joint_norm(v, s, self.metric))
        if self.pool:
            return pool_points(output, mask, self.pool)
        return output if mask is None else output.where(mask[..., None], 0)

    def _embedded(self, cloud: PointCloud) -> tuple[Float[Tensor, "b n d c"], Float[Tensor, "b n s"]]:
        """Vectors and scalars of the points before the first block."""
        # twice: the first centroid of a cloud far away is rounded
        offsets = cloud.positions - centroid(cloud.positions, cloud.mask)
        offsets = offsets - centroid(offsets, cloud.mask)
        scalars, vectors = split(cloud.features, self.layout_in, self.signature.dimension)
        v = torch.cat((offsets[:, :, None], vectors), 2).mT
        embedded: tuple[Tensor, Tensor] = self.embed(v, torch.cat((inner(v, v, self.metric).asinh(), scalars), -1))
        return embedded

    def _bias(self, cloud: PointCloud, like: Tensor) -> Float[Tensor, "b #h n n"] | None:
        """What is added to the scores of every block, -inf for hidden points."""
        bias = None if cloud.edge_features is None else self.pairs(cloud.edge_features).permute(0, 3, 1, 2).to(like.dtype)
        visible = visible_keys(cloud.mask)
        return bias if visible is None else (like.new_zeros(()) if bias is None else bias).where(visible, float("-inf"))

    def _read(self, vectors: Float[Tensor, "b n d c"], scalars: Float[Tensor, "b n s"]) -> Float[Tensor, "b n out"]:
        """The output irreps in their order."""
        invariants = scalars[..., :0] if self.to_scalars is None else self.to_scalars(scalars)
        read = vectors[..., :0]
        if self.to_vectors is not None:
            with precise(vectors):
                read = linear(vectors, self.to_vectors.weight)
        return joined(invariants, read.mT, self.layout_out)
