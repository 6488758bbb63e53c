"""The slim L-GATr: attention and gated networks on scalars and four-vectors alone, 4 numbers a channel instead of 16.

After the slim version that Heidelberg's L-GATr package offers beside Spinner et al. (2024). Nothing but inner products goes from vectors to
scalars, and nothing but gates from scalars to vectors, so the network is equivariant under all of O(1, 3).

Axes: b batch, n particles, h heads, c vector channels (last, behind the four components), s scalars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.groups import Lorentz
from torsor.groups.lorentz import METRIC
from torsor.models.lgatr.spurions import Spurion, contract, spurion_vectors
from torsor.models.particles import jet
from torsor.nn.attention import attend, needs_plain_attention, visible_keys
from torsor.nn.multivector_layers import wide
from torsor.nn.pooling import pool_points
from torsor.representations.precision import precise
from torsor.signatures import Particles

_SMALLEST = 0.01
"""Added to mean squares under a root."""

Features = tuple[Float[Tensor, "*tokens 4 c"], Float[Tensor, "*tokens s"]]
"""Four-vectors and scalars of each token."""


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
        for name in ("vectors", "scalars", "blocks", "heads", "mlp_factor"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")
        for name in ("vectors", "scalars"):
            if getattr(self, name) % self.heads:
                raise ConfigError(f"{name} {getattr(self, name)} do not divide by {self.heads} heads: change one of the two")
        if "plane" in self.spurions:
            raise ConfigError("the plane is a bivector, and the slim version has vectors alone: give 'time' or 'beam', or take lgatr")
        spurion_vectors(self.spurions)

    def build(self, signature: Particles) -> LGATrSlim:
        """The model for a task's signature."""
        return LGATrSlim(signature, self)


def inner(x: Float[Tensor, "*tokens 4 c"], y: Float[Tensor, "*tokens 4 c"]) -> Float[Tensor, "*tokens c"]:
    """x_0 y_0 - x_1 y_1 - x_2 y_2 - x_3 y_3, channel by channel."""
    return (x * y * torch.tensor(METRIC, dtype=x.dtype, device=x.device).unsqueeze(-1)).sum(-2)


def joint_norm(vectors: Float[Tensor, "*tokens 4 c"], scalars: Float[Tensor, "*tokens s"]) -> Features:
    """Both divided by sqrt(mean(|<v, v>|, s^2) + 0.01), the mean over all channels together, in float32 or wider."""
    vectors, scalars = wide(vectors), wide(scalars)
    scale = (torch.cat((inner(vectors, vectors).abs(), scalars.square()), -1).mean(-1, keepdim=True) + _SMALLEST).rsqrt()
    return vectors * scale.unsqueeze(-1), scalars * scale


class SlimLinear(nn.Module):
    """Vectors mixed without a bias, scalars with one.

    Args:
        vectors: vector channels in and out.
        scalars: scalar channels in and out.
    """

    def __init__(self, vectors: tuple[int, int], scalars: tuple[int, int]) -> None:
        super().__init__()
        self.vectors, self.scalars = nn.Linear(*vectors, bias=False), nn.Linear(*scalars)

    def forward(
        self, vectors: Float[Tensor, "*tokens 4 c"], scalars: Float[Tensor, "*tokens s"]
    ) -> tuple[Float[Tensor, "*tokens 4 d"], Float[Tensor, "*tokens r"]]:
        """Map each token; vectors keep their precision under autocast, or masses would be differences of rounded energies."""
        with precise(vectors):
            mixed = linear(wide(vectors), self.vectors.weight)
        return mixed, self.scalars(scalars)


class SlimAttention(nn.Module):
    """softmax_j((sum_c <q_ic, k_jc> + q^s_i . k^s_j) / sqrt(4 c + s)) applied to vectors and scalars, all of them normalised by head.

    Args:
        config: widths.
    """

    def __init__(self, config: LGATrSlimConfig) -> None:
        super().__init__()
        v, s = config.vectors, config.scalars
        self.heads, self.channels = config.heads, v // config.heads
        self.project, self.merge = SlimLinear((v, 3 * v), (s, 3 * s)), SlimLinear((v, v), (s, s))

    def forward(
        self, vectors: Float[Tensor, "b n 4 c"], scalars: Float[Tensor, "b n s"], visible: Bool[Tensor, "b 1 n n"] | None, plain: bool
    ) -> Features:
        """What each particle gathers from those it sees."""
        projected, invariants = self.project(vectors, scalars)
        v = torch.unflatten(projected, -1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        s = torch.unflatten(invariants, -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        v, s = joint_norm(v, s)
        query, key, value = torch.cat((v.flatten(-2), s), -1).unbind(0)
        signs = torch.cat([v.new_full((self.channels,), sign) for sign in METRIC] + [v.new_ones(s.shape[-1])])
        bias = None if visible is None else query.new_zeros(()).where(visible, float("-inf"))
        with precise(query):
            mixed = attend(query * signs, key, value, bias, plain=plain)
        mixed_vectors, mixed_scalars = mixed.tensor_split((4 * self.channels,), -1)
        gathered = torch.unflatten(mixed_vectors, -1, (4, self.channels)).permute(0, 2, 3, 1, 4).flatten(3)
        merged: Features = self.merge(gathered, mixed_scalars.transpose(1, 2).flatten(2))
        return merged


class SlimMLP(nn.Module):
    """Gated units: u_c = W_3 v gelu(<W_1 v, W_2 v> + g), t = a gelu(b), with (a, b, g) linear in the scalars and the inner products.

    Args:
        config: widths.
    """

    def __init__(self, config: LGATrSlimConfig) -> None:
        super().__init__()
        v, s, factor = config.vectors, config.scalars, config.mlp_factor
        self.widths = (factor * s, factor * s, factor * v)
        self.lift = nn.Linear(v, 3 * factor * v, bias=False)
        self.mix = nn.Linear(s + factor * v, sum(self.widths))
        self.merge = SlimLinear((factor * v, v), (factor * s, s))

    def forward(self, vectors: Float[Tensor, "b n 4 c"], scalars: Float[Tensor, "b n s"]) -> Features:
        """The update of a residual stream."""
        with precise(vectors):
            first, second, third = linear(wide(vectors), self.lift.weight).chunk(3, -1)
        products = inner(first, second)
        value, gate, opening = torch.split(self.mix(torch.cat((scalars, products), -1)), list(self.widths), -1)
        merged: Features = self.merge(third * gelu(products + opening).unsqueeze(-2), value * gelu(gate))
        return merged


class SlimBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), for vectors and scalars together.

    Args:
        config: widths.
    """

    def __init__(self, config: LGATrSlimConfig) -> None:
        super().__init__()
        self.attention, self.mlp = SlimAttention(config), SlimMLP(config)

    def forward(
        self, vectors: Float[Tensor, "b n 4 c"], scalars: Float[Tensor, "b n s"], visible: Bool[Tensor, "b 1 n n"] | None, plain: bool
    ) -> Features:
        """One block."""
        dv, ds = self.attention(*joint_norm(vectors, scalars), visible, plain)
        vectors, scalars = vectors + dv, scalars + ds
        dv, ds = self.mlp(*joint_norm(vectors, scalars))
        return vectors + dv, scalars + ds


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
        self.blocks = nn.ModuleList(SlimBlock(config) for _ in range(config.blocks))
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
        v, s = self.embed(torch.cat((x, constant), -1), torch.cat((inner(x, x).asinh(), particles.scalars), -1))
        visible, plain = visible_keys(particles.mask), needs_plain_attention(momenta, scalars)
        for block in self.blocks:
            v, s = block(v, s, visible, plain)
        output = self._read(*joint_norm(v, s))
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
