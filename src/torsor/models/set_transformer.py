"""The Set Transformer: attention among points, attention through a few inducing points, and attention of learned seeds as pooling.

Lee, Lee, Kim, Kosiorek, Choi, Teh: Set Transformer: A Framework for Attention-based Permutation-Invariant Neural Networks (2019),
equations 6 to 13. It knows permutations and nothing else: the baseline of SE(3)-Transformers and of LieTransformer.

Axes: b batch, n points, m points attended to, d dimension of space, f features, e edge features, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.errors import SignatureError
from torsor.groups import S
from torsor.models import REGISTRY
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.nn.attention import attend, needs_plain_attention
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool, cannot_serve


@dataclass(frozen=True)
class SetTransformerConfig(Settings):
    """Settings of `SetTransformer`; the widths are those of the paper's experiments.

    Args:
        width: channels of a point.
        heads: attention heads; `width` must divide by it.
        encoder_layers: blocks among the points.
        decoder_layers: blocks among the seeds, after they have pooled; a model with one output a point has none.
        inducing_points: how many stand between the points, so that the cost grows linearly with the cloud; 0 for attention among all.
        seeds: pooled vectors; each gives an equal part of the output.
        layer_norm: normalise after each attention and each feed-forward part.
        activation: of the feed-forward parts: "relu" (published), or "gelu", which is smooth, for energies whose gradient is wanted.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    width: int = 128
    heads: int = 4
    encoder_layers: int = 2
    decoder_layers: int = 1
    inducing_points: int = 0
    seeds: int = 1
    layer_norm: bool = False
    activation: Literal["relu", "gelu"] = "relu"

    def build(self, signature: PointClouds) -> SetTransformer:
        """The model for a task's signature.

        Raises:
            SignatureError: the output does not divide among the seeds, or inducing points are asked to carry features of pairs.
        """
        return SetTransformer(
            signature.rep_in,
            signature.rep_out,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class AttentionBlock(nn.Module):
    """MAB(X, Y) = norm(H + rFF(H)) with H = norm(X + attention(X, Y, Y)), equations 6 and 7.

    Args:
        config: widths.
        edge_features: number of features of a pair of points, which enter as a bias of the scores, one a head.
    """

    def __init__(self, config: SetTransformerConfig, edge_features: int = 0) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query, self.merge = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.bias = nn.Linear(edge_features, config.heads) if edge_features else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) if config.layer_norm else nn.Identity() for _ in range(2))
        self.feed_forward = nn.Sequential(nn.Linear(width, width), nn.ReLU() if config.activation == "relu" else nn.GELU())

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        y: Float[Tensor, "b m c"],
        visible: Bool[Tensor, "b 1 1 m"] | None,
        edges: Float[Tensor, "b n m e"] | None,
        plain: bool,
    ) -> Float[Tensor, "b n c"]:
        """Update x from what is visible of y."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(y).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = attend(query, key, value, self._bias(query, edges, visible), plain=plain)
        h = self.norms[0](x + self.merge(attended.transpose(1, 2).flatten(2)))
        updated: Tensor = self.norms[1](h + self.feed_forward(h))
        return updated

    def _bias(self, query: Tensor, edges: Tensor | None, visible: Tensor | None) -> Tensor | None:
        """What is added to the scores, -inf for hidden points."""
        bias = None if edges is None or self.bias is None else self.bias(edges).permute(0, 3, 1, 2)
        if visible is None:
            return bias
        return (query.new_zeros(()) if bias is None else bias).where(visible, float("-inf"))


class SetBlock(nn.Module):
    """SAB(X) = MAB(X, X), equation 8.

    Args:
        config: widths.
        edge_features: number of features of a pair of points.
    """

    def __init__(self, config: SetTransformerConfig, edge_features: int = 0) -> None:
        super().__init__()
        self.attention = AttentionBlock(config, edge_features)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        visible: Bool[Tensor, "b 1 1 n"] | None,
        edges: Float[Tensor, "b n n e"] | None,
        plain: bool,
    ) -> Float[Tensor, "b n c"]:
        """Update every point from all."""
        updated: Tensor = self.attention(x, x, visible, edges, plain)
        return updated


class InducedBlock(nn.Module):
    """ISAB(X) = MAB(X, MAB(I, X)) with learned inducing points I, equations 9 and 10.

    Args:
        config: widths, and the number of inducing points.
    """

    def __init__(self, config: SetTransformerConfig) -> None:
        super().__init__()
        self.inducing = Seeds(config.inducing_points, config.width)
        self.gather, self.spread = AttentionBlock(config), AttentionBlock(config)

    def forward(
        self, x: Float[Tensor, "b n c"], visible: Bool[Tensor, "b 1 1 n"] | None, edges: None, plain: bool
    ) -> Float[Tensor, "b n c"]:
        """Update every point through the inducing points."""
        summary = self.gather(self.inducing(len(x)), x, visible, edges, plain)
        updated: Tensor = self.spread(x, summary, None, None, plain)
        return updated


class Seeds(nn.Module):
    """Learned vectors, the same for every item of a batch.

    Args:
        count: how many.
        width: channels.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(nn.init.xavier_uniform_(torch.empty(count, width)))

    def forward(self, batch: int) -> Float[Tensor, "b m c"]:
        """The vectors for each item."""
        return self.vectors.expand(batch, -1, -1)


class SeedPool(nn.Module):
    """PMA(Z) = MAB(S, rFF(Z)) with learned seeds S, then SABs among the seeds, equations 11 and 13.

    Args:
        config: widths, seeds and decoder layers.
    """

    def __init__(self, config: SetTransformerConfig) -> None:
        super().__init__()
        self.seeds = Seeds(config.seeds, config.width)
        self.feed_forward = nn.Sequential(nn.Linear(config.width, config.width), nn.ReLU() if config.activation == "relu" else nn.GELU())
        self.attention = AttentionBlock(config)
        self.blocks = nn.ModuleList(SetBlock(config) for _ in range(config.decoder_layers))

    def forward(self, z: Float[Tensor, "b n c"], visible: Bool[Tensor, "b 1 1 n"] | None, plain: bool) -> Float[Tensor, "b k c"]:
        """One vector a seed."""
        x: Tensor = self.attention(self.seeds(len(z)), self.feed_forward(z), visible, None, plain)
        for block in self.blocks:
            x = block(x, None, None, plain)
        return x


class SetTransformer(nn.Module):
    """Attention on the tokens [position, features]; exactly equivariant under permutations, and under nothing else.

    Args:
        rep_in: irreps of the features; their dimension alone matters.
        rep_out: irreps of the output.
        edge_features: number of features of each pair of points.
        pool: None for one output a point; with a pooling the seeds pool, whichever the pooling is.
        dimension: of space.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        SignatureError: `width` does not divide by `heads`, the output not by `seeds`, or there are features of pairs and inducing points.
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
        config: SetTransformerConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(SetTransformerConfig, config, settings)
        self.config, self.pool = config, pool
        self.signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, None, dimension)
        self.symmetry = self.signature.symmetry(S())
        self.widths = (self.signature.rep_in.dim, edge_features, dimension)
        outputs = self.signature.rep_out.dim
        _check(config, self.signature)
        self.embed = nn.Linear(dimension + self.widths[0], config.width)
        self.encoder = nn.ModuleList(
            InducedBlock(config) if config.inducing_points else SetBlock(config, edge_features) for _ in range(config.encoder_layers)
        )
        self.decoder = SeedPool(config) if pool else None
        self.output = nn.Linear(config.width, outputs // config.seeds if pool else outputs)

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths)
        visible, plain = _visible(mask), needs_plain_attention(cloud.positions, cloud.features, cloud.edge_features)
        x = self._encoded(cloud, visible, plain)
        if self.decoder is not None:
            pooled: Tensor = self.output(self.decoder(x, visible, plain)).flatten(1)
            return pooled
        output: Tensor = self.output(x)
        return output if mask is None else output.where(mask[..., None], 0)

    def _encoded(self, cloud: PointCloud, visible: Bool[Tensor, "b 1 1 n"] | None, plain: bool) -> Float[Tensor, "b n c"]:
        """Features of the points after the encoder."""
        x: Tensor = self.embed(torch.cat((cloud.positions, cloud.features), -1))
        for block in self.encoder:
            x = block(x, visible, cloud.edge_features, plain)
        return x


def _check(config: SetTransformerConfig, signature: PointClouds) -> None:
    """Refuse settings that cannot be built for a signature."""
    if config.width % config.heads:
        raise SignatureError(f"width {config.width} does not divide by {config.heads} heads: change one of the two")
    if signature.pool and signature.rep_out.dim % config.seeds:
        raise SignatureError(f"an output of {signature.rep_out.dim} numbers does not divide among {config.seeds} seeds: change seeds")
    if signature.edge_features and config.inducing_points:
        raise cannot_serve("set-transformer", signature, "inducing points carry no features of pairs: give inducing_points=0", REGISTRY)


def _visible(mask: Bool[Tensor, "b n"] | None) -> Bool[Tensor, "b 1 1 n"] | None:
    """Which points are seen: the valid ones; in a cloud without any all, which are zeros, so that the softmax stays finite."""
    return None if mask is None else (mask | ~mask.any(1, keepdim=True))[:, None, None]
