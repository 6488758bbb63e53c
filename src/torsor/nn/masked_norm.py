"""Normalisation with the statistics of valid places alone, so that padding changes nothing.

Axes: b batch, c channels; places are one axis or more (nodes, points, pairs of them).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Statistics = Literal["batch", "item", "none"]


class MaskedBatchNorm(nn.Module):
    """Batch normalisation with the statistics of valid places alone.

    Args:
        channels: number of channels.
        momentum: share of the newest batch in the running statistics.
        eps: under the root.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Float[Tensor, "b *places c"], mask: Bool[Tensor, "b *places"] | None = None) -> Float[Tensor, "b *places c"]:
        """Normalise; in training by the batch, and the running statistics follow."""
        wide = _wide(x)
        mean, variance = self._of_batch(wide, mask) if self.training else (self.mean, self.variance)
        return _standardised(x, wide, mean, variance, self.eps, self)

    def _of_batch(self, x: Tensor, mask: Tensor | None) -> tuple[Float[Tensor, "c"], Float[Tensor, "c"]]:
        mean, variance, count = (moment.flatten() for moment in masked_moments(x, mask, tuple(range(x.ndim - 1))))
        with torch.no_grad():
            # the running variance is the unbiased one, as in torch; a batch without any valid place teaches nothing
            share = self.momentum * (count > 0).to(self.mean.dtype)
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.mean.lerp_(mean.detach().to(self.mean.dtype), share)
            self.variance.lerp_(unbiased.detach().to(self.variance.dtype), share)
        return mean, variance


class MaskedItemNorm(nn.Module):
    """Each channel of each item of the batch normalised over its own valid places, in training and in evaluation alike.

    Ulyanov, Vedaldi, Lempitsky: Instance normalization (2016). Items do not see each other, and no statistics are kept.

    Args:
        channels: number of channels.
        eps: under the root; an item with one valid place becomes `bias`.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Float[Tensor, "b *places c"], mask: Bool[Tensor, "b *places"] | None = None) -> Float[Tensor, "b *places c"]:
        """Normalise."""
        wide = _wide(x)
        mean, variance, _ = masked_moments(wide, mask, tuple(range(1, x.ndim - 1)))
        return _standardised(x, wide, mean, variance, self.eps, self)


class Unnormalised(nn.Module):
    """No normalisation, with the interface of the others."""

    def forward(self, x: Float[Tensor, "b *places c"], mask: Bool[Tensor, "b *places"] | None = None) -> Float[Tensor, "b *places c"]:  # noqa: ARG002
        """The input."""
        return x


def masked_norm(statistics: Statistics, channels: int) -> MaskedBatchNorm | MaskedItemNorm | Unnormalised:
    """The normalisation by statistics of the whole "batch", of each "item", or by "none"."""
    if statistics == "none":
        return Unnormalised()
    return MaskedBatchNorm(channels) if statistics == "batch" else MaskedItemNorm(channels)


def masked_moments(x: Float[Tensor, "..."], mask: Tensor | None, axes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of the valid entries over some axes, which stay with length one.

    Args:
        x: `[b, *places, c]`.
        mask: `[b, *places]`, None where all are valid. What x holds elsewhere, NaN even, has no influence.
        axes: over which the moments are taken.
    """
    valid = torch.ones_like(x[..., :1], dtype=torch.bool) if mask is None else mask[..., None]
    count = valid.sum(axes, keepdim=True)
    share = 1 / count.clamp(min=1).to(x.dtype)
    mean = x.where(valid, 0).sum(axes, keepdim=True) * share
    variance = (x - mean).where(valid, 0).square().sum(axes, keepdim=True) * share
    return mean, variance, count


def _wide(x: Tensor) -> Tensor:
    """In float32 at least: sums of squares in half precision lose their digits, or overflow."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _standardised(x: Tensor, wide: Tensor, mean: Tensor, variance: Tensor, eps: float, norm: MaskedBatchNorm | MaskedItemNorm) -> Tensor:
    """Scaled and shifted, in the type that x and the weights have together."""
    y = (wide - mean) * (variance + eps).rsqrt() * norm.weight + norm.bias
    return y.to(torch.promote_types(x.dtype, norm.weight.dtype))
