"""Upright by a network: a learned sampler without its noise.

Kaba, Mondal, Zhang, Bengio, Ravanbakhsh: Equivariance with Learned Canonicalization Functions (2023), section 3: an equivariant network
gives the group element. It is the learned distribution of Kim et al. (2023) as a point mass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torsor.dial.symmetrize.base import Draws, Sampler
from torsor.nn.noise_sources import FixedNoise


class LearnedCanonical(Sampler):
    """One element from a sampler whose noise is held at zero.

    Ties are broken by the order of the places, and what the noise would have completed stays arbitrary: on inputs with symmetries the
    result is right up to one of them.

    Args:
        sampler: any sampler with noise: a learned one, an average over the group by recursion, or another.
    """

    exactness = "relaxed"

    def __init__(self, sampler: Sampler) -> None:
        super().__init__(sampler.symmetry, sampler.moving)
        self.sampler = sampler

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """What the sampler gives for noise that is zero."""
        shaped = self.sampler.draw(inputs, 1, FixedNoise(0))
        draws: Draws = self.sampler(inputs, {name: torch.zeros_like(x) for name, x in shaped.items()}, 1)
        return draws
