"""Nonlinearities and normalisations of irrep features: functions of norms and of scalars, which do not turn.

Fuchs et al.: SE(3)-Transformers (2020), section 3 of the appendix; Liao et al.: EquiformerV2 (2023), section 4.4 (normalisation).

A norm nonlinearity that divides by the norm alone turns a feature that vanishes by symmetry, which is rounding noise, into a unit vector of
random direction. The smooth forms here divide by sqrt(|f|^2 + eps^2) with an eps of the size of small features instead.

Axes: l degrees, m components, c channels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.nn.fiber import Fiber

PUBLISHED_EPS = 1e-12
SMOOTH_EPS = 1e-1


class DegreewiseModule(nn.Module):
    """Works on each degree apart.

    Args:
        fiber: the features.
    """

    def __init__(self, fiber: Fiber) -> None:
        super().__init__()
        self.fiber = fiber
        self.sizes = [2 * l + 1 for l in range(fiber.l_max + 1)]

    def squares(self, features: Float[Tensor, "*batch m c"]) -> Float[Tensor, "*batch l c"]:
        """Squared norm of each channel of each degree."""
        return torch.stack([part.square().sum(-2) for part in torch.split(features, self.sizes, -2)], -2)

    def scale(self, features: Float[Tensor, "*batch m c"], factors: Float[Tensor, "*batch l #c"]) -> Float[Tensor, "*batch m c"]:
        """Multiply each degree by its factor."""
        parts = zip(torch.split(features, self.sizes, -2), factors.unbind(-2), strict=True)
        return torch.cat([part * factor[..., None, :] for part, factor in parts], -2)


class NormNonlinearity(DegreewiseModule):
    """f' = g(n) f / n with n = |f|, for each channel of each degree; subclasses say what g is.

    Args:
        fiber: the features.
        eps: n = sqrt(|f|^2 + eps^2); the published value is no more than a guard against division by zero.
    """

    def __init__(self, fiber: Fiber, eps: float = SMOOTH_EPS) -> None:
        super().__init__(fiber)
        self.eps = eps

    def activation(self, norms: Float[Tensor, "*batch l c"]) -> Float[Tensor, "*batch l c"]:
        """The g of the formula."""
        raise NotImplementedError

    def forward(self, features: Float[Tensor, "*batch m c"]) -> Float[Tensor, "*batch m c"]:
        """Rescale each channel."""
        norms = (self.squares(features) + self.eps**2).sqrt()
        return self.scale(features, self.activation(norms) / norms)


class NormBias(NormNonlinearity):
    """g = ReLU(n + b), b ~ N(0, 1) (published as GNormBias)."""

    def __init__(self, fiber: Fiber, eps: float = SMOOTH_EPS) -> None:
        super().__init__(fiber, eps)
        self.biases = nn.ParameterDict({str(l): nn.Parameter(torch.randn(fiber.channels[l])) for l in fiber.degrees})

    def activation(self, norms: Float[Tensor, "*batch l c"]) -> Float[Tensor, "*batch l c"]:
        """ReLU(n + b)."""
        like = next(iter(self.biases.values()))
        rows = [
            self.fiber.pad(self.biases[str(l)], l) if str(l) in self.biases else like.new_zeros(self.fiber.width)
            for l in range(norms.shape[-2])
        ]
        return (norms + torch.stack(rows)).relu()


class NormNetwork(NormNonlinearity):
    """g = ReLU(LN(n)), or `layers` times (LN, ReLU, Linear), over the channels of each degree (published as GNormSE3).

    Args:
        fiber: the features.
        eps: see `NormNonlinearity`.
        layers: number of linear layers.
    """

    def __init__(self, fiber: Fiber, eps: float = SMOOTH_EPS, layers: int = 0) -> None:
        super().__init__(fiber, eps)
        self.networks = nn.ModuleDict({str(l): self._network(fiber.channels[l], layers) for l in fiber.degrees})

    @staticmethod
    def _network(channels: int, layers: int) -> nn.Sequential:
        modules: list[nn.Module] = []
        for _ in range(max(layers, 1)):
            modules += [nn.LayerNorm(channels), nn.ReLU()]
            if layers:
                modules.append(nn.Linear(channels, channels, bias=False))
        return nn.Sequential(*modules)

    def activation(self, norms: Float[Tensor, "*batch l c"]) -> Float[Tensor, "*batch l c"]:
        """The network of each degree."""
        rows = []
        for l, row in enumerate(norms.unbind(-2)):
            if str(l) not in self.networks:
                rows.append(torch.zeros_like(row))
                continue
            rows.append(self.fiber.pad(self.networks[str(l)](self.fiber.strip(row, l)), l))
        return torch.stack(rows, -2)


class Gate(DegreewiseModule):
    """SiLU on degree 0; on the others a sigmoid gate for each channel, linear in the scalars.

    Args:
        fiber: the features, which have degree 0.
    """

    def __init__(self, fiber: Fiber) -> None:
        super().__init__(fiber)
        self.gates = nn.Linear(fiber.channels[0], fiber.width * fiber.l_max) if fiber.l_max else None

    def forward(self, features: Float[Tensor, "*batch m c"]) -> Float[Tensor, "*batch m c"]:
        """Apply SiLU and gates."""
        scalars = features[..., :1, :]
        if self.gates is None:
            return nn.functional.silu(scalars)
        gates = torch.unflatten(self.gates(self.fiber.take(features, 0).squeeze(-2)).sigmoid(), -1, (self.fiber.l_max, self.fiber.width))
        return self.scale(features, torch.cat([scalars.sigmoid().to(gates.dtype), gates], -2))


class IrrepsLayerNorm(DegreewiseModule):
    """Layer normalisation of every degree: scalars as usual, the others divided by their common root mean square.

    f^0_c' = a_0c (f^0_c - mean) / std + b_c;  f^l_c' = a_lc f^l_c / rms, with the mean square over all channels and components of degrees
    l > 0, each degree counted alike. One scale for all of them keeps a degree that vanishes by symmetry at zero.

    Args:
        fiber: the features.
        eps: added to the mean squares.
    """

    per_channel: Tensor

    def __init__(self, fiber: Fiber, eps: float = 1e-3) -> None:
        super().__init__(fiber)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(fiber.l_max + 1, fiber.width))
        self.bias = nn.Parameter(torch.zeros(fiber.channels[0])) if fiber.channels[0] else None
        higher = [l for l in fiber.degrees if l]
        shares = [1 / (fiber.channels[l] * (2 * l + 1) * len(higher)) if l in higher else 0.0 for l in range(fiber.l_max + 1)]
        self.register_buffer("per_channel", torch.tensor(shares), persistent=False)

    def forward(self, features: Float[Tensor, "*batch m c"]) -> Float[Tensor, "*batch m c"]:
        """Normalise."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.weight.dtype)
            scalars = self._scalars(features)
            if self.fiber.l_max == 0:
                return scalars
            squares = self.squares(features)[..., 1:, :].sum(-1)
            rms = ((squares * self.per_channel[1:]).sum(-1) + self.eps).rsqrt()
            factors = torch.cat([torch.zeros_like(scalars), self.weight[1:] * rms[..., None, None]], -2)
            return self.scale(features, factors) + nn.functional.pad(scalars, (0, 0, 0, self.fiber.components - 1))

    def _scalars(self, features: Tensor) -> Float[Tensor, "*batch 1 c"]:
        if self.bias is None:
            return features[..., :1, :]
        x = self.fiber.take(features, 0)
        weight = self.fiber.take(self.weight[:1], 0)[0]
        return self.fiber.pad(nn.functional.layer_norm(x, x.shape[-1:], weight, self.bias, self.eps), 0)
