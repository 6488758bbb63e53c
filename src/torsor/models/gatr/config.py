"""Settings of GATr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torsor.config import Settings
from torsor.models.gatr.network import BlockSettings
from torsor.nn.multivector_attention import Logits
from torsor.nn.multivector_layers import Nonlinearity
from torsor.nn.multivector_linear import Implementation
from torsor.signatures import PointClouds

if TYPE_CHECKING:
    from torsor.models.gatr.model import GATr


@dataclass(frozen=True)
class GATrConfig(Settings):
    """Settings of `GATr`.

    Args:
        channels: multivector channels, of 16 components each.
        scalars: scalar channels beside them.
        blocks: number of blocks.
        heads: attention heads.
        attention_factor: channels of all heads over those of a token.
        mlp_factor: hidden channels of the geometric network over those of a token.
        logits: attention by "distance" of points and inner products, by "inner" products alone, or by the norm of the "join".
        key_value_heads: all queries share "one" head of keys and values (published), or "all" heads have their own.
        group: linear maps that commute with all of "E3" (nine, published), or with rotations and translations only, "SE3" (sixteen).
        mirror: average over the cloud and its mirror image: equivariant under reflections too, at twice the price. The published model is
            not: a point of weight 1 is reflected to one of weight -1, which products with other objects notice.
        joins: use the join of multivectors beside their product.
        reference: what joins are multiplied with, the mean weight of the points of the "data" (published), or 1 ("canonical").
        nonlinearity: of the gates: "gelu", "relu", "silu", "sigmoid" or "divide".
        dropout: probability that a grade of a channel is dropped while training.
        reinsert: give the position, as a point, to queries and keys of every block anew.
        offsets: give each point, as a vector, its offset from the centroid. Without it (published) directions between points come up only
            in joins of what attention has mixed, which starts small.
        edge_width: hidden width of the network that turns features of a pair into attention biases.
        centre: feed positions relative to the centroid of the cloud. The model is equivariant under translations without it too, but far
            from the origin its numbers grow, and rounding with them.
        implementation: of the linear maps: "component", "dense" or "auto", by device.
        initialisation: "corrected", or "official", as the released code draws its weights.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    channels: int = 16
    scalars: int = 64
    blocks: int = 4
    heads: int = 8
    attention_factor: int = 2
    mlp_factor: int = 2
    logits: Logits = "distance"
    key_value_heads: Literal["one", "all"] = "one"
    group: Literal["E3", "SE3"] = "E3"
    mirror: bool = False
    joins: bool = True
    reference: Literal["data", "canonical"] = "data"
    nonlinearity: Nonlinearity = "gelu"
    dropout: float = 0.0
    reinsert: bool = False
    offsets: bool = True
    edge_width: int = 32
    centre: bool = True
    implementation: Implementation = "auto"
    initialisation: Literal["corrected", "official"] = "corrected"

    def block_settings(self) -> BlockSettings:
        """What all blocks have in common."""
        return BlockSettings(
            channels=self.channels,
            scalars=self.scalars,
            heads=self.heads,
            attention_factor=self.attention_factor,
            mlp_factor=self.mlp_factor,
            logits=self.logits,
            multi_query=self.key_value_heads == "one",
            nonlinearity=self.nonlinearity,
            dropout=self.dropout,
            joins=self.joins,
            reflections=self.group == "E3",
            implementation=self.implementation,
            initialisation=self.initialisation,
        )

    def build(self, signature: PointClouds) -> GATr:
        """The model for a task's signature.

        Raises:
            SignatureError: the signature has irreps other than scalars and vectors of either parity, or is not in R^3.
        """
        from torsor.models.gatr.model import GATr, require_served

        require_served(signature)
        return GATr(signature.rep_in, signature.rep_out, edge_features=signature.edge_features, pool=signature.pool, config=self)
