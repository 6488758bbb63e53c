"""Attention and gated networks on scalars and vectors alone, for any metric of the vectors.

After the slim version that Heidelberg's L-GATr package offers beside Spinner et al. (2024): a channel has the d numbers of a vector instead
of the 16 of a multivector. Nothing but inner products goes from vectors to scalars, and nothing but gates from scalars to vectors, so every
layer is equivariant under all linear maps that keep the metric.

Axes: b batch, n points, h heads, d components, c vector channels (last, behind the components), s scalars.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from torsor.errors import ConfigError
from torsor.nn.attention import attend
from torsor.nn.multivector_layers import wide
from torsor.representations.precision import precise

_SMALLEST = 0.01
"""Added to mean squares under a root."""

Metric = tuple[float, ...]
Features = tuple[Float[Tensor, "*tokens d c"], Float[Tensor, "*tokens s"]]
"""Vectors and scalars of each token."""


@dataclass(frozen=True)
class SlimSettings:
    """What all blocks of a slim network have in common.

    Args:
        metric: the sign of each component in the inner product of vectors.
        vectors: vector channels; `heads` must divide them.
        scalars: scalar channels; `heads` must divide them.
        heads: attention heads.
        mlp_factor: hidden channels of the gated network over those of a token.

    Raises:
        ConfigError: a number is below one or does not divide.
    """

    metric: Metric
    vectors: int
    scalars: int
    heads: int
    mlp_factor: int = 2

    def __post_init__(self) -> None:
        for name in ("vectors", "scalars", "heads", "mlp_factor"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")
        for name in ("vectors", "scalars"):
            if getattr(self, name) % self.heads:
                raise ConfigError(f"{name} {getattr(self, name)} do not divide by {self.heads} heads: change one of the two")


def inner(x: Float[Tensor, "*tokens d c"], y: Float[Tensor, "*tokens d c"], metric: Metric) -> Float[Tensor, "*tokens c"]:
    """The sum over components of sign x y, channel by channel."""
    return (x * y * torch.tensor(metric, dtype=x.dtype, device=x.device).unsqueeze(-1)).sum(-2)


def joint_norm(vectors: Float[Tensor, "*tokens d c"], scalars: Float[Tensor, "*tokens s"], metric: Metric) -> Features:
    """Both divided by sqrt(mean(|<v, v>|, s^2) + 0.01), the mean over all channels together, in float32 or wider."""
    vectors, scalars = wide(vectors), wide(scalars)
    scale = (torch.cat((inner(vectors, vectors, metric).abs(), scalars.square()), -1).mean(-1, keepdim=True) + _SMALLEST).rsqrt()
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
        self, vectors: Float[Tensor, "*tokens d c"], scalars: Float[Tensor, "*tokens s"]
    ) -> tuple[Float[Tensor, "*tokens d e"], Float[Tensor, "*tokens r"]]:
        """Map each token; vectors keep their precision under autocast, or inner products would be differences of rounded numbers."""
        with precise(vectors):
            mixed = linear(wide(vectors), self.vectors.weight)
        return mixed, self.scalars(scalars)


class SlimAttention(nn.Module):
    """softmax_j((sum_c <q_ic, k_jc> + q^s_i . k^s_j) / sqrt(d c + s)) applied to vectors and scalars, all of them normalised by head.

    Args:
        settings: metric and widths.
    """

    def __init__(self, settings: SlimSettings) -> None:
        super().__init__()
        v, s = settings.vectors, settings.scalars
        self.metric, self.heads, self.channels = settings.metric, settings.heads, v // settings.heads
        self.project, self.merge = SlimLinear((v, 3 * v), (s, 3 * s)), SlimLinear((v, v), (s, s))

    def forward(
        self,
        vectors: Float[Tensor, "b n d c"],
        scalars: Float[Tensor, "b n s"],
        bias: Float[Tensor, "#b #h n n"] | None,
        plain: bool,
    ) -> Features:
        """What each token gathers from those it sees; -inf in the bias hides one from another."""
        d = len(self.metric)
        projected, invariants = self.project(vectors, scalars)
        v = torch.unflatten(projected, -1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        s = torch.unflatten(invariants, -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        v, s = joint_norm(v, s, self.metric)
        query, key, value = torch.cat((v.flatten(-2), s), -1).unbind(0)
        signs = torch.cat([v.new_full((self.channels,), sign) for sign in self.metric] + [v.new_ones(s.shape[-1])])
        with precise(query):
            mixed = attend(query * signs, key, value, bias, plain=plain)
        mixed_vectors, mixed_scalars = mixed.tensor_split((d * self.channels,), -1)
        gathered = torch.unflatten(mixed_vectors, -1, (d, self.channels)).permute(0, 2, 3, 1, 4).flatten(3)
        merged: Features = self.merge(gathered, mixed_scalars.transpose(1, 2).flatten(2))
        return merged


class SlimMLP(nn.Module):
    """Gated units: u_c = W_3 v gelu(<W_1 v, W_2 v> + g), t = a gelu(b), with (a, b, g) linear in the scalars and the inner products.

    Args:
        settings: metric and widths.
    """

    def __init__(self, settings: SlimSettings) -> None:
        super().__init__()
        v, s, factor = settings.vectors, settings.scalars, settings.mlp_factor
        self.metric, self.widths = settings.metric, (factor * s, factor * s, factor * v)
        self.lift = nn.Linear(v, 3 * factor * v, bias=False)
        self.mix = nn.Linear(s + factor * v, sum(self.widths))
        self.merge = SlimLinear((factor * v, v), (factor * s, s))

    def forward(self, vectors: Float[Tensor, "b n d c"], scalars: Float[Tensor, "b n s"]) -> Features:
        """The update of a residual stream."""
        with precise(vectors):
            first, second, third = linear(wide(vectors), self.lift.weight).chunk(3, -1)
        products = inner(first, second, self.metric)
        value, gate, opening = torch.split(self.mix(torch.cat((scalars, products), -1)), list(self.widths), -1)
        merged: Features = self.merge(third * gelu(products + opening).unsqueeze(-2), value * gelu(gate))
        return merged


class SlimBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), for vectors and scalars together.

    Args:
        settings: metric and widths.
    """

    def __init__(self, settings: SlimSettings) -> None:
        super().__init__()
        self.metric = settings.metric
        self.attention, self.mlp = SlimAttention(settings), SlimMLP(settings)

    def forward(
        self,
        vectors: Float[Tensor, "b n d c"],
        scalars: Float[Tensor, "b n s"],
        bias: Float[Tensor, "#b #h n n"] | None,
        plain: bool,
    ) -> Features:
        """One block."""
        dv, ds = self.attention(*joint_norm(vectors, scalars, self.metric), bias, plain)
        vectors, scalars = vectors + dv, scalars + ds
        dv, ds = self.mlp(*joint_norm(vectors, scalars, self.metric))
        return vectors + dv, scalars + ds
