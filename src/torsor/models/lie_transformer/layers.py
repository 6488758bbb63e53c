"""Small layers: activations, normalisation over valid elements, and one small network for each head.

Axes: b batch, m lifted elements, c channels, h heads, i and o inputs and outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import relu, silu, softplus

from torsor.nn.masked_norm import MaskedBatchNorm

ACTIVATIONS: MappingProxyType[str, Callable[[Tensor], Tensor]] = MappingProxyType({"swish": silu, "relu": relu, "softplus": softplus})


def activate(name: str, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The activation of x."""
    return ACTIVATIONS[name](x)


def back_through(name: str, gradient: Float[Tensor, "..."], x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The gradient of x, from that of its activation. Without derivatives of its own."""
    if name == "relu":
        return gradient * (x > 0)
    if name == "softplus":
        return gradient * torch.sigmoid(x)
    out: Tensor = torch.ops.aten.silu_backward(gradient, x)
    return out


class HeadLinear(nn.Module):
    """A linear map of its own for each head, torch's start: uniform in +-1/sqrt(fan in).

    Args:
        heads: number of heads.
        inputs: length of the input.
        outputs: length of the output.
    """

    def __init__(self, heads: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = max(inputs, 1) ** -0.5
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, outputs).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "*shape h i"]) -> Float[Tensor, "*shape h o"]:
        """Apply each head's map to its own input."""
        return torch.einsum("...hi, hio -> ...ho", x, self.weight) + self.bias


class HeadMLP(nn.Module):
    """Three linear layers to one number, for each head by itself (LieTransformer, appendix C).

    Args:
        heads: number of heads.
        inputs: length of the input.
        hidden: hidden units.
        activation: between the layers, by name.
        final: whether the number passes through the activation too.
    """

    def __init__(self, heads: int, inputs: int, hidden: int, activation: str, final: bool) -> None:
        super().__init__()
        self.first = HeadLinear(heads, inputs, hidden)
        self.second = HeadLinear(heads, hidden, hidden)
        self.third = HeadLinear(heads, hidden, 1)
        self.activation, self.final = activation, final

    def forward(self, x: Float[Tensor, "*shape h i"]) -> Float[Tensor, "*shape h"]:
        """The number of each head."""
        act = ACTIVATIONS[self.activation]
        out: Tensor = self.third(act(self.second(act(self.first(x))))).squeeze(-1)
        return act(out) if self.final else out


class Norm(nn.Module):
    """Layer normalisation, batch normalisation over valid elements, or nothing.

    Args:
        kind: "layer", "batch" or "none".
        channels: number of channels.
    """

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.layer = nn.LayerNorm(channels) if kind == "layer" else None
        self.batch = MaskedBatchNorm(channels) if kind == "batch" else None

    def forward(self, x: Float[Tensor, "b m c"], mask: Bool[Tensor, "b m"] | None) -> Float[Tensor, "b m c"]:
        """Normalise."""
        normed: Tensor = x if self.layer is None else self.layer(x)
        return normed if self.batch is None else self.batch(normed, mask)
