"""L-GATr: the geometric algebra transformer of spacetime, for particles.

Spinner, Breso, de Haan, Plehn, Thaler, Brehmer: Lorentz-Equivariant Geometric Algebra Transformers for High-Energy Physics (2024), section
3. Hidden features are multivectors of G(1, 3), in which a four-momentum is the grade 1; the network is that of GATr without joins and
distances: products and inner products are all that the metric gives.

Axes: b batch, n particles, t tokens, c multivector channels, s scalars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.groups import Lorentz, RestrictedLorentz
from torsor.models.gatr.network import BlockSettings, GATrNetwork
from torsor.models.lgatr.spurions import Spurion, as_multivectors, contract, spurion_multivectors
from torsor.models.particles import Jet, jet
from torsor.nn.multivector_layers import Nonlinearity
from torsor.nn.multivector_linear import Implementation
from torsor.nn.pooling import pool_points
from torsor.representations import LORENTZ
from torsor.signatures import Particles


@dataclass(frozen=True)
class LGATrConfig(Settings):
    """Settings of `LGATr`.

    Args:
        channels: multivector channels; 16 in the paper's top tagger.
        scalars: scalar channels.
        blocks: number of blocks; 12 in the paper's top tagger.
        heads: attention heads; 8 in the paper's top tagger.
        attention_factor: channels of all heads over those of a token.
        mlp_factor: hidden channels of the geometric network over those of a token.
        group: "RestrictedLorentz" has ten linear maps of multivectors, grades and their duals; "Lorentz" five, which parity and time
            reversal leave alone too.
        spurions: constants among the inputs that break the symmetry: the "time" direction, the two directions of the "beam" along z, the
            "plane" across it. The paper's tagger has time and plane; none keeps the symmetry whole.
        spurions_as: "channels" of every token, or "tokens" of their own.
        multi_query: all heads share keys and values.
        nonlinearity: of the gates.
        dropout: probability that a grade of a channel is dropped.
        implementation: of the linear maps, see `MultivectorLinear`.

    Raises:
        ConfigError: a number is below one, or a spurion is given twice.
    """

    families: ClassVar[tuple[type, ...]] = (Particles,)
    channels: int = 8
    scalars: int = 32
    blocks: int = 4
    heads: int = 4
    attention_factor: int = 1
    mlp_factor: int = 4
    group: Literal["Lorentz", "RestrictedLorentz"] = "RestrictedLorentz"
    spurions: tuple[Spurion, ...] = ()
    spurions_as: Literal["channels", "tokens"] = "channels"
    multi_query: bool = True
    nonlinearity: Nonlinearity = "gelu"
    dropout: float = 0.0
    implementation: Implementation = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "scalars", "blocks", "heads", "attention_factor", "mlp_factor"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")
        spurion_multivectors(self.spurions)

    def build(self, signature: Particles) -> LGATr:
        """The model for a task's signature."""
        return LGATr(signature, self)

    def block_settings(self) -> BlockSettings:
        """What GATr's blocks are told."""
        return BlockSettings(
            channels=self.channels,
            scalars=self.scalars,
            heads=self.heads,
            attention_factor=self.attention_factor,
            mlp_factor=self.mlp_factor,
            logits="inner",
            multi_query=self.multi_query,
            nonlinearity=self.nonlinearity,
            dropout=self.dropout,
            joins=False,
            reflections=self.group == "Lorentz",
            implementation=self.implementation,
        )


class LGATr(nn.Module):
    """Four-momenta and scalars in, scalars and four-vectors out, through multivectors of spacetime.

    Scalars are read from scalar channels, four-vectors from the grade 1.

    Args:
        signature: what it is fed and what it returns.
        config: settings; defaults if not given.
    """

    spurions: Tensor

    def __init__(self, signature: Particles, config: LGATrConfig | None = None) -> None:
        super().__init__()
        config = LGATrConfig() if config is None else config
        self.config, self.signature = config, signature
        self.symmetry = contract(signature, config.spurions, Lorentz() if config.group == "Lorentz" else RestrictedLorentz())
        self.register_buffer("spurions", spurion_multivectors(config.spurions), persistent=False)
        self.as_tokens = config.spurions_as == "tokens" and len(self.spurions) > 0
        self.network = GATrNetwork(
            channels_in=1 if self.as_tokens else 1 + len(self.spurions),
            channels_out=max(signature.vectors_out, 1),
            # a spurion among the tokens is told from the particles by a scalar
            scalars_in=signature.scalars_in + self.as_tokens,
            scalars_out=signature.scalars_out,
            blocks=config.blocks,
            algebra=LORENTZ,
            settings=config.block_settings(),
        )

    def forward(
        self,
        momenta: Float[Tensor, "b n v"],
        scalars: Float[Tensor, "b n s"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of jets to one output a particle, or one a jet where the model pools."""
        particles = jet(momenta, scalars, mask, self.signature.scalars_in)
        tokens = self._with_tokens(particles) if self.as_tokens else self._with_channels(particles)
        multivectors, invariants = (y[:, : momenta.shape[1]] for y in self.network(*tokens))
        vectors = multivectors[:, :, : self.signature.vectors_out, 1:5]
        output = torch.cat((invariants, vectors.flatten(2)), -1)
        if self.signature.pool:
            return pool_points(output, mask, self.signature.pool)
        return output if mask is None else output.where(mask[..., None], 0)

    def _with_channels(self, particles: Jet) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Multivectors, scalars and mask of the tokens, spurions in every one of them."""
        x = as_multivectors(particles.momenta)[:, :, None]
        constant = self.spurions.to(x).expand(*x.shape[:2], -1, -1)
        return torch.cat((x, constant), 2), particles.scalars if self.signature.scalars_in else None, particles.mask

    def _with_tokens(self, particles: Jet) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The same, spurions after the particles."""
        k, b = len(self.spurions), len(particles.momenta)
        x = torch.cat((as_multivectors(particles.momenta), self.spurions.to(particles.momenta).expand(b, -1, -1)), 1)
        flag = pad(torch.ones_like(x[:, :k, :1]), (0, 0, len(x[0]) - k, 0))
        s = torch.cat((pad(particles.scalars, (0, 0, 0, k)), flag), -1)
        return x[:, :, None], s, None if particles.mask is None else pad(particles.mask, (0, k), value=True)
