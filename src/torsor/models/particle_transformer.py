"""The plain transformer over particles: the baseline that knows permutations and nothing of the Lorentz group.

Its blocks and its settings are those of `Transformer` over points. A particle enters with its momentum and with arsinh of each component,
since energies in a jet spread over orders of magnitude.

Axes: b batch, n particles, s scalars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.groups import S
from torsor.models.particles import jet
from torsor.models.transformer import Block
from torsor.nn.attention import needs_plain_attention, visible_keys
from torsor.nn.pooling import pool_points
from torsor.signatures import Particles

if TYPE_CHECKING:
    from torsor.models.transformer import TransformerConfig


class ParticleTransformer(nn.Module):
    """A pre-norm transformer on the tokens [p, arsinh p, scalars].

    Args:
        signature: what it is fed and what it returns.
        config: settings; `edge_width` and `centre` are of no use here.

    Raises:
        SignatureError: the width does not divide by the heads.
    """

    def __init__(self, signature: Particles, config: TransformerConfig) -> None:
        super().__init__()
        self.config, self.signature, self.symmetry = config, signature, signature.symmetry(S())
        self.embed = nn.Linear(8 + signature.scalars_in, config.width)
        self.blocks = nn.ModuleList(Block(config, 0) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, signature.dim)
        with torch.no_grad():
            self.output.weight.mul_(config.output_scale)
            self.output.bias.zero_()

    def forward(
        self,
        momenta: Float[Tensor, "b n v"],
        scalars: Float[Tensor, "b n s"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of jets to one output a particle, or one a jet where the model pools."""
        particles = jet(momenta, scalars, mask, self.signature.scalars_in)
        x = self.embed(torch.cat((particles.momenta, particles.momenta.asinh(), particles.scalars), -1))
        visible, plain = visible_keys(particles.mask), needs_plain_attention(momenta, scalars)
        for block in self.blocks:
            x = block(x, None, visible, plain)
        output: Tensor = self.output(self.norm(x))
        if self.signature.pool:
            return pool_points(output, mask, self.signature.pool)
        return output if mask is None else output.where(mask[..., None], 0)
