"""A plain transformer over points: the baseline that knows permutations, and translations if it centres the cloud.

Vaswani et al., Attention is all you need (2017), in the pre-norm form of Xiong et al. (2020). Features of pairs enter as a bias of the
attention scores, one per head, so that the model is fed what its equivariant rivals are fed.

Axes: b batch, n points, f features, e edge features, h heads, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.errors import SignatureError
from torsor.groups import S, T
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.nn.attention import attend, needs_plain_attention, visible_keys
from torsor.nn.pooling import centroid, pool_points
from torsor.representations import Irreps, Points, Trivial
from torsor.signatures import Particles, PointClouds, Pool
from torsor.symmetry import Symmetry


@dataclass(frozen=True)
class TransformerConfig(Settings):
    """Settings of `Transformer`.

    Args:
        width: channels of a point.
        heads: attention heads; `width` must divide by it.
        layers: number of blocks.
        mlp_ratio: hidden width of the feed-forward part over `width`.
        edge_width: hidden width of the network that turns features of a pair into attention biases.
        centre: feed positions relative to the centroid of the cloud, which makes the model exactly invariant under translations.
        output_scale: multiplies the initial weights of the last layer, so that training starts near the zero prediction. Not zero, or an
            untrained model would look perfectly symmetric.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds, Particles)
    width: int = 128
    heads: int = 8
    layers: int = 4
    mlp_ratio: float = 4.0
    edge_width: int = 32
    centre: bool = True
    output_scale: float = 0.01

    def build(self, signature: PointClouds | Particles) -> nn.Module:
        """The model for a task's signature."""
        if isinstance(signature, Particles):
            from torsor.models.particle_transformer import ParticleTransformer

            return ParticleTransformer(signature, self)
        return Transformer(
            signature.rep_in,
            signature.rep_out,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        config: widths.
        edge_width: width of the hidden features of a pair, 0 for none.

    Raises:
        SignatureError: the width does not divide by the heads.
    """

    def __init__(self, config: TransformerConfig, edge_width: int) -> None:
        super().__init__()
        if config.width % config.heads:
            raise SignatureError(f"width {config.width} does not divide by {config.heads} heads: change one of the two")
        width, inner = config.width, round(config.mlp_ratio * config.width)
        self.heads = config.heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.bias = nn.Linear(edge_width, config.heads) if edge_width else None
        self.merge = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        pairs: Float[Tensor, "b n n k"] | None,
        visible: Bool[Tensor, "b 1 n n"] | None,
        plain: bool,
    ) -> Float[Tensor, "b n c"]:
        """Update every point from those it sees."""
        q, k, v = self.query_key_value(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.merge(attend(q, k, v, self._bias(q, pairs, visible), plain=plain).transpose(1, 2).flatten(2))
        updated: Tensor = x + self.mlp(x)
        return updated

    def _bias(self, query: Tensor, pairs: Tensor | None, visible: Tensor | None) -> Tensor | None:
        """What is added to the scores, -inf for hidden keys."""
        bias = None if pairs is None or self.bias is None else self.bias(pairs).permute(0, 3, 1, 2)
        if visible is None:
            return bias
        return (query.new_zeros(()) if bias is None else bias).where(visible, float("-inf"))


class Transformer(nn.Module):
    """A pre-norm transformer on the tokens [position - centroid, features].

    Exactly equivariant under permutations; invariant under translations where the config says `centre`.

    Args:
        rep_in: irreps of the features; their dimension alone matters.
        rep_out: irreps of the output.
        edge_features: number of features of each pair of points.
        pool: how points are pooled; None for one output a point.
        dimension: of the space the points are in.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        SignatureError: `width` does not divide by `heads`.
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
        config: TransformerConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(TransformerConfig, config, settings)
        self.config, self.pool = config, pool
        self.signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, dimension=dimension)
        self.symmetry = _contract(self.signature, config.centre)
        self.widths = (self.signature.rep_in.dim, edge_features)
        edge_width = config.edge_width if edge_features else 0
        self.embed = nn.Linear(dimension + self.widths[0], config.width)
        self.pairs = nn.Sequential(nn.Linear(edge_features, edge_width), nn.GELU()) if edge_features else None
        self.blocks = nn.ModuleList(Block(config, edge_width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, self.signature.rep_out.dim)
        with torch.no_grad():
            self.output.weight.mul_(config.output_scale)
            self.output.bias.zero_()

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths, self.signature.dimension)
        output: Tensor = self.output(self.norm(self._points(cloud)))
        if self.pool:
            return pool_points(output, mask, self.pool)
        return output if mask is None else output.where(mask[..., None], 0)

    def _points(self, cloud: PointCloud) -> Float[Tensor, "b n c"]:
        """Features of the points after the last block."""
        positions = cloud.positions - centroid(cloud.positions, cloud.mask) if self.config.centre else cloud.positions
        x: Tensor = self.embed(torch.cat((positions, cloud.features), -1))
        pairs = None if self.pairs is None else self.pairs(cloud.edge_features)
        visible = visible_keys(cloud.mask)
        plain = needs_plain_attention(cloud.positions, cloud.features, cloud.edge_features)
        for block in self.blocks:
            x = block(x, pairs, visible, plain)
        return x


def _contract(signature: PointClouds, centre: bool) -> Symmetry:
    """Permutations, and translations where the cloud is centred; these leave every feature alone, whatever its irreps."""
    permuted = signature.symmetry(S())
    if not centre:
        return permuted
    moved: dict[str, Any] = {name: (Points() if name == "positions" else Trivial(), action) for name, action in permuted.inputs.items()}
    output: Any = (Trivial(), permuted.output)
    return Symmetry(T(signature.dimension) * S(), moved, output)
