"""The slim L-GATr: attention and gated networks on scalars and four-vectors alone, 4 numbers a channel instead of 16.

After the slim version that Heidelberg's L-GATr package offers beside Spinner et al. (2024); layers in `nn.slim_layers`. The network is
equivariant under all of O(1, 3).

Axes: b batch, n particles, c vector channels (last, behind the four components), s scalars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.groups import Lorentz
from torsor.groups.lorentz import METRIC
from torsor.models.lgatr.spurions import Spurion, contract, spurion_vectors
from torsor.models.particles import jet
from torsor.nn.attention import needs_plain_attention, visible_keys
from torsor.nn.pooling import pool_points
from torsor.nn.slim_layers import SlimBlock, SlimLinear, SlimSettings, inner, joint_norm
from torsor.representations.precision import precise
from torsor.signatures import Particles


@dataclass(frozen=True)
class LGATrSlimConfig(Settings):
    """Settings of `LGATrSlim`.

    Args:
        vectors: four-vector channels; `heads` must divide them.
        scalars: scalar channels; `heads` must divide them.
        blocks: number of blocks.
        heads: attention heads.
        mlp_factor: hidden channels of the gated network over those of a token.
        spurions: constants among the vectors of every particle that break the symmetry: the "time" direction, the two directions of the
            "beam" along z. None keeps the symmetry whole.

    Raises:
        ConfigError: a number is below one or does not divide, or a spurion is given twice or is a plane.
    """

    families: ClassVar[tuple[type, ...]] = (Particles,)
    vectors: int = 32
    scalars: int = 96
    blocks: int = 4
    heads: int = 8
    mlp_factor: int = 2
    spurions: tuple[Spurion, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks < 1:
            raise ConfigError(f"blocks is {self.blocks}: give 1 or more")
        self.block_settings()
        if "plane" in self.spurions:
            raise ConfigError("the plane is a bivector, and the slim version has vectors alone: give 'time' or 'beam', or take lgatr")
        spurion_vectors(self.spurions)

    def block_settings(self) -> SlimSettings:
        """What all blocks have in common."""
        return SlimSettings(METRIC, self.vectors, self.scalars, self.heads, self.mlp_factor)

    def build(self, signature: Particles) -> LGATrSlim:
        """The model for a task's signature."""
        return LGATrSlim(signature, self)


class LGATrSlim(nn.Module):
    """Four-momenta and scalars in, scalars and four-vectors out, through scalars and four-vectors alone.

    A particle starts with its momentum and the spurions as vectors, and with arsinh of its squared mass and its own scalars.

    Args:
        signature: what it is fed and what it returns.
        config: settings; defaults if not given.
    """

    spurions: Tensor

    def __init__(self, signature: Particles, config: LGATrSlimConfig | None = None) -> None:
        super().__init__()
        config = LGATrSlimConfig() if config is None else config
        self.config, self.signature = config, signature
        self.symmetry = contract(signature, config.spurions, Lorentz())
        self.register_buffer("spurions", spurion_vectors(config.spurions), persistent=False)
        self.embed = SlimLinear((1 + len(self.spurions), config.vectors), (1 + signature.scalars_in, config.scalars))
        self.blocks = nn.ModuleList(SlimBlock(config.block_settings()) for _ in range(config.blocks))
        self.to_scalars = nn.Linear(config.scalars, signature.scalars_out) if signature.scalars_out else None
        self.to_vectors = nn.Linear(config.vectors, signature.vectors_out, bias=False) if signature.vectors_out else None

    def forward(
        self,
        momenta: Float[Tensor, "b n v"],
        scalars: Float[Tensor, "b n s"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of jets to one output a particle, or one a jet where the model pools."""
        particles = jet(momenta, scalars, mask, self.signature.scalars_in)
        x = particles.momenta.unsqueeze(-1)
        constant = self.spurions.T.to(x).expand(*x.shape[:2], -1, -1)
        v, s = self.embed(torch.cat((x, constant), -1), torch.cat((inner(x, x, METRIC).asinh(), particles.scalars), -1))
        visible, plain = visible_keys(particles.mask), needs_plain_attention(momenta, scalars)
        bias = None if visible is None else v.new_zeros(()).where(visible, float("-inf"))
        for block in self.blocks:
            v, s = block(v, s, bias, plain)
        output = self._read(*joint_norm(v, s, METRIC))
        if self.signature.pool:
            return pool_points(output, mask, self.signature.pool)
        return output if mask is None else output.where(mask[..., None], 0)

    def _read(self, vectors: Float[Tensor, "b n 4 c"], scalars: Float[Tensor, "b n s"]) -> Float[Tensor, "b n out"]:
        """Scalars, then the four-vectors one after another."""
        parts = [] if self.to_scalars is None else [self.to_scalars(scalars)]
        if self.to_vectors is not None:
            with precise(vectors):
                parts.append(linear(vectors, self.to_vectors.weight).mT.flatten(2))
        return torch.cat(parts, -1)
