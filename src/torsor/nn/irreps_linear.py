"""Self-interaction: maps between the channels of a node, one for each degree.

Fuchs et al.: SE(3)-Transformers (2020), equations 12 and 13.

Axes: m components, c channels in, o channels out.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.nn.fiber import Fiber


class _SelfInteraction(nn.Module):
    """Puts the inputs side by side, degree by degree, and joins the outputs."""

    def __init__(self, inputs: tuple[Fiber, ...], output: Fiber) -> None:
        super().__init__()
        self.inputs, self.output = inputs, output
        self.received = {l: sum(f.channels[l] for f in inputs if l <= f.l_max) for l in output.degrees}

    def _together(self, features: tuple[Tensor, ...], l: int) -> Float[Tensor, "*batch m c"]:
        return torch.cat([f.take(x, l) for f, x in zip(self.inputs, features, strict=True) if l in f.degrees], -1)

    def _join(self, parts: dict[int, Tensor], like: Tensor) -> Float[Tensor, "*batch m o"]:
        if not parts:
            return like.new_zeros(*like.shape[:-2], self.output.components, self.output.width)
        return self.output.join(parts)


class IrrepsLinear(_SelfInteraction):
    """f'^l = W^l (f_1^l + f_2^l + ..), where + puts channels side by side; no bias.

    A degree of the output that no input has stays zero.

    Args:
        inputs: fibers of the inputs.
        output: fiber of the output.
    """

    def __init__(self, inputs: tuple[Fiber, ...], output: Fiber) -> None:
        super().__init__(inputs, output)
        self.weights = nn.ParameterDict(
            {str(l): nn.Parameter(torch.randn(count, output.channels[l]) * count**-0.5) for l, count in self.received.items() if count}
        )

    def forward(self, *features: Float[Tensor, "*batch _ _"]) -> Float[Tensor, "*batch m o"]:
        """Map the features of each fiber in `inputs`."""
        parts = {int(l): self._together(features, int(l)) @ weight for l, weight in self.weights.items()}
        return self._join(parts, features[0])


class AttentiveLinear(_SelfInteraction):
    """f'^l_o = sum_c w_oc f^l_c with weights that depend on the invariants <f^l_c, f^l_c'> (equation 13).

    w = softmax_c(Linear(LeakyReLU(LayerNorm(<f_c, f_c'>)))), so that each output is a convex combination; without the softmax its scale
    is free.

    Args:
        inputs: fibers of the inputs.
        output: fiber of the output.
        normalise: "softmax" (published) or "none".
    """

    def __init__(self, inputs: tuple[Fiber, ...], output: Fiber, normalise: Literal["softmax", "none"] = "softmax") -> None:
        super().__init__(inputs, output)
        self.normalise = normalise
        self.networks = nn.ModuleDict(
            {
                str(l): nn.Sequential(nn.LayerNorm(count**2), nn.LeakyReLU(), nn.Linear(count**2, count * output.channels[l]))
                for l, count in self.received.items()
                if count
            }
        )

    def forward(self, *features: Float[Tensor, "*batch _ _"]) -> Float[Tensor, "*batch m o"]:
        """Map the features of each fiber in `inputs`."""
        parts = {}
        for name, network in self.networks.items():
            x = self._together(features, int(name))
            invariants = (x.transpose(-1, -2) @ x).flatten(-2)
            weight = torch.unflatten(network(invariants), -1, (-1, x.shape[-1]))
            weight = weight.softmax(-1) if self.normalise == "softmax" else weight
            parts[int(name)] = x @ weight.transpose(-1, -2)
        return self._join(parts, features[0])
