"""The geometric algebra transformer on multivectors: no points, no irreps, whatever objects the user has embedded.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), section 3 and figure 1.

Axes: b batch, t tokens, c multivector channels in, d out, s scalars in, r out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from torsor.nn.attention import needs_plain_attention
from torsor.nn.multivector_attention import Context, Logits, MultivectorAttention, Visibility, visibility
from torsor.nn.multivector_layers import GeometricMLP, MultivectorNorm, Nonlinearity
from torsor.nn.multivector_linear import Implementation, MultivectorLinear
from torsor.representations import PROJECTIVE, GeometricAlgebra


@dataclass(frozen=True)
class BlockSettings:
    """What all blocks of a network have in common.

    Args:
        channels: multivector channels.
        scalars: scalar channels.
        heads: attention heads.
        attention_factor: channels of all heads over those of a token.
        mlp_factor: hidden channels of the geometric network over those of a token.
        logits: "distance", "inner" or "join", see `MultivectorAttention`.
        multi_query: all heads share keys and values.
        rotary: rotary encoding of the place of a token, which gives up the symmetry under permutations.
        nonlinearity: of the gates.
        dropout: probability that a grade of a channel is dropped.
        joins: use the join beside the product.
        reflections: linear maps that commute with reflections too.
        implementation: of the linear maps, see `MultivectorLinear`.
        initialisation: "corrected", or "official" as the released code of the paper draws its weights, see `MultivectorLinear`.
    """

    channels: int = 16
    scalars: int = 64
    heads: int = 8
    attention_factor: int = 2
    mlp_factor: int = 2
    logits: Logits = "distance"
    multi_query: bool = True
    rotary: bool = False
    nonlinearity: Nonlinearity = "gelu"
    dropout: float = 0.0
    joins: bool = True
    reflections: bool = True
    implementation: Implementation = "auto"
    initialisation: Literal["corrected", "official"] = "corrected"


class GATrBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), for multivectors and scalars together.

    Args:
        algebra: of the multivectors.
        settings: widths and kinds.
        reinserted: multivector channels given to queries and keys anew.
    """

    def __init__(self, algebra: GeometricAlgebra, settings: BlockSettings, reinserted: int = 0) -> None:
        super().__init__()
        common: dict[str, Any] = {"reflections": settings.reflections, "implementation": settings.implementation}
        self.norm = MultivectorNorm(algebra)
        self.attention = MultivectorAttention(
            algebra,
            settings.channels,
            settings.scalars,
            heads=settings.heads,
            factor=settings.attention_factor,
            logits=settings.logits,
            multi_query=settings.multi_query,
            reinserted=reinserted,
            rotary=settings.rotary,
            dropout=settings.dropout,
            **common,
        )
        self.mlp = GeometricMLP(
            algebra,
            settings.channels,
            settings.scalars,
            factor=settings.mlp_factor,
            nonlinearity=settings.nonlinearity,
            dropout=settings.dropout,
            joins=settings.joins,
            **common,
        )

    def forward(
        self,
        x: Float[Tensor, "16 b t c"],
        s: Float[Tensor, "b t s"],
        seen: Visibility,
        reference: Float[Tensor, "b #t 1"] | None = None,
        again: Float[Tensor, "16 b t r"] | None = None,
        context: Context | None = None,
    ) -> tuple[Float[Tensor, "16 b t c"], Float[Tensor, "b t s"]]:
        """One block; with a `context`, of which the tokens are normalised here too, it is one of cross-attention."""
        if context is not None:
            keys, key_scalars = self.norm(context.x, context.s)
            context = Context(keys, key_scalars, context.again)
        dx, ds = self.attention(*self.norm(x, s), seen, again, context)
        x, s = x + dx, s + ds
        dx, ds = self.mlp(*self.norm(x, s), reference)
        return x + dx, s + ds


class GATrNetwork(nn.Module):
    """(multivectors, scalars) -> (multivectors, scalars), equivariant under every versor: rho_u(y) = net(rho_u(x), s).

    Under reflections too, if `reflections` and the join's reference are; see `GATr` for what that means for points.

    Args:
        channels_in: multivector channels of the input.
        channels_out: of the output.
        scalars_in: scalar channels of the input.
        scalars_out: of the output.
        blocks: number of blocks.
        algebra: of the multivectors; in another than G(3, 0, 1) there are no joins and no distances.
        settings: of each block; defaults if not given.
        reinsert: multivector channels of the input that are given to queries and keys of every block anew.
        reference: what the join is multiplied with: the mean component e123 of all input multivectors of the sample ("data"), or 1
            ("canonical", not equivariant under reflections).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        scalars_in: int = 0,
        scalars_out: int = 0,
        *,
        blocks: int = 4,
        algebra: GeometricAlgebra = PROJECTIVE,
        settings: BlockSettings | None = None,
        reinsert: tuple[int, ...] = (),
        reference: Literal["data", "canonical"] = "data",
    ) -> None:
        super().__init__()
        settings = BlockSettings() if settings is None else settings
        common: dict[str, Any] = {"reflections": settings.reflections, "implementation": settings.implementation}
        self.algebra, self.settings, self.reinsert = algebra, settings, list(reinsert)
        self.reference = reference if settings.joins else "canonical"
        self.embed = MultivectorLinear(algebra, channels_in, settings.channels, scalars_in, settings.scalars, **common)
        self.blocks = nn.ModuleList(GATrBlock(algebra, settings, len(reinsert)) for _ in range(blocks))
        self.output = MultivectorLinear(algebra, settings.channels, channels_out, settings.scalars, scalars_out, **common)
        if settings.initialisation == "official":
            for layer in self.modules():
                if isinstance(layer, MultivectorLinear):
                    layer.undo_correction()

    def forward(
        self,
        multivectors: Float[Tensor, "b t c 16"],
        scalars: Float[Tensor, "b t s"] | None = None,
        mask: Bool[Tensor, "b t"] | None = None,
        samples: Int[Tensor, "b t"] | None = None,
        visible: Bool[Tensor, "b t t"] | None = None,
        bias: Float[Tensor, "b t h t"] | None = None,
    ) -> tuple[Float[Tensor, "b t d 16"], Float[Tensor, "b t r"]]:
        """Transform tokens; what stands at invalid ones must be finite, and what is returned there means nothing.

        Args:
            multivectors: components on the last axis.
            scalars: invariant features.
            mask: valid tokens; all where it is None.
            samples: which sample of a packed batch a token belongs to; tokens of other samples are not seen. None: one sample a row.
            visible: which tokens (last axis) each token sees.
            bias: added to the logits of each head.
        """
        plain = needs_plain_attention(multivectors, scalars, bias)
        seen = visibility(_visible(mask, samples, visible), bias, like=multivectors, plain=plain)
        reference = None if self.reference == "canonical" else join_reference(multivectors, mask, samples)
        x = self.algebra.to_slots(multivectors)
        again = x[..., self.reinsert] if self.reinsert else None
        x, s = self.embed(x, scalars)
        for block in self.blocks:
            x, s = block(x, s, seen, reference, again)
        x, s = self.output(x, s)
        return self.algebra.from_slots(x), s


def _visible(
    mask: Bool[Tensor, "b t"] | None, samples: Int[Tensor, "b t"] | None, visible: Bool[Tensor, "b t t"] | None
) -> Bool[Tensor, "b #t t"] | None:
    """Keys that are valid, of the same sample, and not hidden."""
    conditions = [] if mask is None else [mask[:, None]]
    if samples is not None:
        conditions.append(samples[:, :, None] == samples[:, None, :])
    if visible is not None:
        conditions.append(visible)
    seen = None
    for condition in conditions:
        seen = condition if seen is None else seen & condition
    return seen


def join_reference(
    multivectors: Float[Tensor, "b t c 16"], mask: Bool[Tensor, "b t"] | None = None, samples: Int[Tensor, "b t"] | None = None
) -> Float[Tensor, "b #t 1"]:
    """The mean component e123 over channels and valid tokens of the same sample, a pseudoscalar that makes the join even."""
    weight = multivectors[..., 14].mean(-1)
    valid = torch.ones_like(weight) if mask is None else mask.to(weight.dtype)
    if samples is None:
        return ((weight * valid).sum(1) / valid.sum(1).clamp(min=1))[:, None, None]
    same = (samples[:, :, None] == samples[:, None, :]).to(weight.dtype) * valid[:, None]
    return (same @ weight[..., None]) / same.sum(-1, keepdim=True).clamp(min=1)
