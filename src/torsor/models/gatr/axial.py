"""GATr on a grid of tokens, such as time steps of several objects: its blocks attend along one axis, then along the other.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), section 5 (planning); blocks 0, 2, .. of the released code attend
over the second axis.

Axes: b batch, t first axis of tokens, u second axis, c multivector channels in, d out, s scalars in, r out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.models.gatr.network import BlockSettings, GATrBlock, join_reference
from torsor.nn.attention import needs_plain_attention
from torsor.nn.multivector_attention import Visibility, visibility
from torsor.nn.multivector_linear import MultivectorLinear
from torsor.representations import PROJECTIVE


class AxialGATr(nn.Module):
    """(multivectors, scalars) -> (multivectors, scalars) on tokens `[b, t, u]`, equivariant under every versor.

    Args:
        channels_in: multivector channels of the input.
        channels_out: of the output.
        scalars_in: scalar channels of the input.
        scalars_out: of the output.
        blocks: number of blocks, of both kinds together.
        settings: of each block but for `rotary`; defaults if not given.
        rotary: whether attention over the first and over the second axis knows the places of tokens; else it is equivariant under their
            permutations.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        scalars_in: int = 0,
        scalars_out: int = 0,
        *,
        blocks: int = 4,
        settings: BlockSettings | None = None,
        rotary: tuple[bool, bool] = (False, False),
    ) -> None:
        super().__init__()
        settings = BlockSettings() if settings is None else settings
        common: dict[str, Any] = {"reflections": settings.reflections, "implementation": settings.implementation}
        self.embed = MultivectorLinear(PROJECTIVE, channels_in, settings.channels, scalars_in, settings.scalars, **common)
        self.blocks = nn.ModuleList(GATrBlock(PROJECTIVE, replace(settings, rotary=rotary[1 - i % 2])) for i in range(blocks))
        self.output = MultivectorLinear(PROJECTIVE, settings.channels, channels_out, settings.scalars, scalars_out, **common)

    def forward(
        self,
        multivectors: Float[Tensor, "b t u c 16"],
        scalars: Float[Tensor, "b t u s"] | None = None,
        mask: Bool[Tensor, "b t u"] | None = None,
    ) -> tuple[Float[Tensor, "b t u d 16"], Float[Tensor, "b t u r"]]:
        """Transform tokens; invalid ones are not seen, must be finite, and what is returned there means nothing."""
        plain = needs_plain_attention(multivectors, scalars)
        reference = join_reference(multivectors.flatten(1, 2), None if mask is None else mask.flatten(1))
        x, s = self.embed(PROJECTIVE.to_slots(multivectors), scalars)
        for i, block in enumerate(self.blocks):
            over_first = i % 2 == 1
            if over_first:
                x, s = x.transpose(2, 3), s.transpose(1, 2)
            x, s = self._along_last(block, x, s, reference, _seen(mask, over_first, multivectors, plain))
            if over_first:
                x, s = x.transpose(2, 3), s.transpose(1, 2)
        x, s = self.output(x, s)
        return PROJECTIVE.from_slots(x), s

    def _along_last(
        self,
        block: nn.Module,
        x: Float[Tensor, "16 b v w c"],
        s: Float[Tensor, "b v w s"],
        reference: Float[Tensor, "b 1 1"],
        seen: Visibility,
    ) -> tuple[Float[Tensor, "16 b v w c"], Float[Tensor, "b v w s"]]:
        """A block over the last axis of tokens, each place of the other being an item of the batch."""
        grid = s.shape[:2]
        rows = reference[:, None].expand(*grid, 1, 1).flatten(0, 1)
        x, s = block(x.flatten(1, 2), s.flatten(0, 1), seen, rows)
        return torch.unflatten(x, 1, grid), torch.unflatten(s, 0, grid)


def _seen(mask: Bool[Tensor, "b t u"] | None, over_first: bool, like: Tensor, plain: bool) -> Visibility:
    """The valid tokens of each row."""
    if mask is None:
        return Visibility(None, None, plain)
    rows = mask.transpose(1, 2) if over_first else mask
    return visibility(rows.flatten(0, 1)[:, None], like=like, plain=plain)
