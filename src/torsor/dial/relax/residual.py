"""The residual pathway: an equivariant weight plus a free one.

Finzi, Benton, Wilson: Residual Pathway Priors for Soft Equivariance Constraints (2021), section 3: W = W_equivariant + W_free with a wide
Gaussian prior on the one and a narrow prior on the other, so that a network uses the free weight only where the data ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.relax.base import Dial, Exchanged, Relaxed, beside
from torsor.dial.relax.free_twins import free_twin


def _sum(strict: Any, free: Any, scale: float) -> Any:
    """The sum strict + scale * free, tensor by tensor."""
    if isinstance(strict, tuple):
        return tuple(_sum(a, b, scale) for a, b in zip(strict, free, strict=True))
    if isinstance(strict, Mapping):
        return {name: _sum(a, free[name], scale) for name, a in strict.items()}
    return strict + scale * free


class _Prior:
    """Two Gaussian priors: weight / 2 (||theta||^2 + ratio^2 ||freedom * theta_free||^2), constants left out.

    Args:
        ratio: sigma_equivariant / sigma_free.
        weight: 1 / sigma_equivariant^2 in units of the loss, 0 for no prior.
    """

    def __init__(self, ratio: float, weight: float) -> None:
        self.ratio, self.weight = ratio, weight

    def __call__(self, strict: nn.Module, free: nn.Module, freedom: float) -> Float[Tensor, ""] | None:
        """Minus the logarithm of both priors."""
        scaled = [(1.0, p) for p in strict.parameters()]
        scaled += [((self.ratio * freedom) ** 2, p) for p in free.parameters() if freedom]
        if not (self.weight and scaled):
            return None
        return self.weight / 2 * torch.stack([scale * p.square().sum() for scale, p in scaled]).sum()


class ResidualLayer(Dial):
    """y = layer(x) + strength * free(x).

    Args:
        layer: the equivariant layer.
        free: the free one, with the same arguments and results.
        strength: 0 is strict: the layer itself, bit by bit.
        ratio: sigma_equivariant / sigma_free, of the priors of the two weights.
        penalty: 1 / sigma_equivariant^2 in units of the loss, 0 for no prior.
    """

    def __init__(self, layer: nn.Module, free: nn.Module, strength: float, ratio: float = 10.0, penalty: float = 0.0) -> None:
        super().__init__(strength)
        self.layer, self.free, self.prior = layer, free, _Prior(ratio, penalty)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The sum of both."""
        strict = self.layer(*args, **kwargs)
        return strict if self.freedom == 0 else _sum(strict, self.free(*args, **kwargs), self.freedom)

    def penalty(self) -> Float[Tensor, ""] | None:
        """What the priors add to the loss."""
        return self.prior(self.layer, self.free, self.freedom)


class ParallelResidual(Relaxed):
    """f(x) = module(x) + strength * free(x): the residual pathway of models without equivariant linear layers.

    Args:
        module: the equivariant model.
        free: a plain network with the same arguments and results.
        strength: 0 is strict: the model itself, bit by bit.
        ratio: sigma_equivariant / sigma_free, of the priors of the two networks' weights.
        penalty: 1 / sigma_equivariant^2 in units of the loss, 0 for no prior.
    """

    def __init__(self, module: nn.Module, free: nn.Module, strength: float, ratio: float = 10.0, penalty: float = 0.0) -> None:
        super().__init__(module, strength)
        self.free, self.prior = beside(module, free), _Prior(ratio, penalty)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The sum of both."""
        strict = self.module(*args, **kwargs)
        return strict if self.freedom == 0 else _sum(strict, self.free(*args, **kwargs), self.freedom)

    def draw_own(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:  # noqa: ARG002
        """Nothing is drawn."""
        return {}

    def penalty(self) -> Float[Tensor, ""] | None:
        """What the priors add to the loss."""
        return self.prior(self.module, self.free, self.freedom)


def with_residual_layers(
    module: nn.Module, strength: float, ratio: float = 10.0, penalty: float = 0.0, places: Mapping[str, int] | None = None
) -> Exchanged:
    """A copy of a model with a free weight beside each of its equivariant linear layers.

    Known are `EquivariantLinear`, `IrrepsLinear`, `MultivectorLinear` and `PermutationLinear`.

    Args:
        module: the model.
        strength: 0 is strict, 1 is free.
        ratio: sigma_equivariant / sigma_free.
        penalty: 1 / sigma_equivariant^2 in units of the loss, 0 for no prior.
        places: size of the largest set of each name, for layers that permute.

    Raises:
        ConfigError: there is no such layer, or a size is missing.
    """

    def exchange(_: str, layer: nn.Module) -> ResidualLayer | None:
        free = free_twin(layer, places or {})
        return None if free is None else ResidualLayer(layer, free, strength, ratio, penalty)

    return Exchanged(module, exchange, strength)
