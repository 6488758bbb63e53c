"""Radial networks: from the length of an edge and its invariant features to the hidden units of a convolution's weights.

Fuchs et al.: SE(3)-Transformers (2020), appendix C (the published network); Gasteiger et al.: DimeNet (2020), equation 7 (Bessel).

The last, linear layer of a radial network belongs to the convolution, which contracts it with the features (`hidden_contraction`).

Axes: e edges, f input features, h hidden units, q trunks (one for all kernels, or one for each).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.nn.edges import Edges

Basis = Literal["gaussian", "bessel", "distance"]
SILU_POWER = 0.355
"""Mean square of SiLU(x) for standard normal x."""


def sinc(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """sin(x) / x, with derivatives that keep their digits at zero."""
    small = x.abs() < 0.3
    square = torch.where(small, x, torch.zeros_like(x)).square()
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72 * (1 - square / 110 * (1 - square / 156)))))
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, safe.sin() / safe)


@dataclass(frozen=True)
class RadialSettings:
    """How radial networks are made.

    Args:
        basis: functions of the length r that enter the network. "gaussian" bumps or "bessel" functions of a length t in [0, 1], which is
            r / radius where there is a radius, else r / (r + scale); "distance" is r itself (published).
        functions: number of Gaussians or Bessel functions.
        width: hidden units.
        radius: cut-off radius, None for none.
        scale: a typical length, where there is no radius.
        edge_features: invariant features of an edge, which enter beside the functions of its length.
        network: "smooth" (two linear layers with SiLU, no bias in the last, so that the cut-off can switch an edge off) or "published"
            (layer normalisation and ReLU, biases everywhere).
    """

    basis: Basis = "gaussian"
    functions: int = 8
    width: int = 32
    radius: float | None = None
    scale: float = 1.0
    edge_features: int = 0
    network: Literal["smooth", "published"] = "smooth"

    @property
    def inputs(self) -> int:
        """Numbers that enter the network."""
        return self.edge_features + (1 if self.basis == "distance" else self.functions)

    @property
    def hidden(self) -> int:
        """Hidden units that leave the network; the published one adds a constant 1, whose weight is the bias of the last layer."""
        return self.width + (self.network == "published")

    def expand(self, lengths: Float[Tensor, "e 1"]) -> Float[Tensor, "e f"]:
        """Functions of the length."""
        if self.basis == "distance":
            return lengths
        t = lengths / (self.radius if self.radius is not None else lengths + self.scale)
        if self.basis == "bessel":
            order = torch.arange(1, self.functions + 1, dtype=t.dtype, device=t.device)
            return sinc(pi * t * order) * order * sqrt(2 / self.functions)
        centres = torch.linspace(0, 1, self.functions, dtype=t.dtype, device=t.device)
        return (-0.5 * ((t - centres) * self.functions).square()).exp()


class StackedLinear(nn.Module):
    """q linear layers side by side, `[e, q, i] -> [e, q, o]`.

    Args:
        stacks: q.
        inputs: i.
        outputs: o.
        power: expected sum of squares of the inputs, so that outputs start with variance one; None to initialise as `nn.Linear`.
    """

    def __init__(self, stacks: int, inputs: int, outputs: int, power: float | None = None) -> None:
        super().__init__()
        bound = inputs**-0.5 if power is None else (3 / power) ** 0.5
        offset = bound if power is None else 0.0
        self.weight = nn.Parameter(torch.empty(stacks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(stacks, outputs).uniform_(-offset, offset))

    def forward(self, x: Float[Tensor, "e q i"]) -> Float[Tensor, "e q o"]:
        """Apply each layer to its row."""
        return torch.bmm(x.transpose(0, 1), self.weight).transpose(0, 1) + self.bias


class StackedLayerNorm(nn.Module):
    """q layer normalisations side by side."""

    def __init__(self, stacks: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(stacks, width))
        self.bias = nn.Parameter(torch.zeros(stacks, width))

    def forward(self, x: Float[Tensor, "e q h"]) -> Float[Tensor, "e q h"]:
        """Normalise over the last axis."""
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class RadialTrunk(nn.Module):
    """All of a radial network but its last layer.

    Args:
        settings: how it is made.
        stacks: number of networks side by side.
    """

    def __init__(self, settings: RadialSettings, stacks: int = 1) -> None:
        super().__init__()
        self.settings, self.stacks = settings, stacks
        width, published = settings.width, settings.network == "published"
        layers: list[nn.Module] = []
        # the sum of squares of the Gaussians is sqrt(pi) everywhere
        for inputs, power in ((settings.inputs, pi**0.5 + settings.edge_features), (width, width * SILU_POWER)):
            layers.append(StackedLinear(stacks, inputs, width, None if published else power))
            layers += [StackedLayerNorm(stacks, width), nn.ReLU()] if published else [nn.SiLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, edges: Edges) -> Float[Tensor, "e h q"]:
        """Hidden units of each edge, switched off smoothly at the cut-off."""
        functions = self.settings.expand(edges.lengths)
        inputs = functions if edges.features is None else torch.cat([edges.features.to(functions.dtype), functions], -1)
        hidden: Tensor = self.layers(inputs[:, None].expand(-1, self.stacks, -1)).transpose(1, 2)
        if self.settings.network == "published":
            hidden = nn.functional.pad(hidden, (0, 0, 0, 1), value=1.0)
        return hidden if edges.weight is None else hidden * edges.weight[..., None]
