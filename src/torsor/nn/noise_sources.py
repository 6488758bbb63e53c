"""Where a stochastic module gets its random numbers: from a generator, or from a fixed table that has no end.

A module without noise of its own for a call has to be deterministic, the same for an item alone and in a batch, the same however far it is
padded, and traceable by compilers. No generator is any of that. `FixedNoise` is: its numbers are a function of a seed and of their place.

Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as 1, 2, 3 (2011) for counters instead of states; Steele, Lea, Flood: Fast
splittable pseudorandom number generators (2014) for the mixing function.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
"""The constants of SplitMix64, as signed numbers."""
PRIME = 2**61 - 1


class NoiseSource(ABC):
    """Gives independent random numbers; axis 0 of what is asked for is the batch."""

    @abstractmethod
    def uniform(self, name: str, shape: Sequence[int], device: torch.device) -> Float[Tensor, "*shape"]:
        """Uniform numbers of [0, 1) in float64.

        Args:
            name: what they are for; a module asks for each name once a call.
            shape: `[b, ...]`.
            device: where they go.
        """

    @abstractmethod
    def normal(self, name: str, shape: Sequence[int], device: torch.device) -> Float[Tensor, "*shape"]:
        """Standard normal numbers in float64; arguments as `uniform`."""


class DrawnNoise(NoiseSource):
    """Numbers from a generator, other ones for each item.

    Args:
        generator: they are drawn on its device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, name: str, shape: Sequence[int], device: torch.device) -> Float[Tensor, "*shape"]:  # noqa: ARG002
        """Uniform numbers of [0, 1) in float64."""
        return torch.rand(tuple(shape), generator=self.generator, dtype=torch.float64, device=self.generator.device).to(device)

    def normal(self, name: str, shape: Sequence[int], device: torch.device) -> Float[Tensor, "*shape"]:  # noqa: ARG002
        """Standard normal numbers in float64."""
        return torch.randn(tuple(shape), generator=self.generator, dtype=torch.float64, device=self.generator.device).to(device)


class FixedNoise(NoiseSource):
    """Numbers that are a function of the seed, the name and their place: the same for every item of every batch.

    What is asked for in two sizes agrees where both have numbers.

    Args:
        seed: of the table.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, name: str, shape: Sequence[int], device: torch.device) -> Float[Tensor, "*shape"]:
        """Uniform numbers of [0, 1) in float64."""
        return self._table(name, shape, device)

    def normal(self, name: str, shape: Sequence[int], device: torch.device) -> Float[Tensor, "*shape"]:
        """Standard normal numbers in float64, by Box and Muller."""
        radius = (-2 * torch.log1p(-self._table(name + " radius", shape, device))).sqrt()
        return radius * (2 * math.pi * self._table(name + " angle", shape, device)).cos()

    def _table(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        """Hash the place of every number, one axis after another."""
        start = self.seed
        for letter in name:  # compilers can follow this, which they cannot a hash of the standard library
            start = (start * 131 + ord(letter)) % PRIME
        places = mixed(torch.tensor(start, dtype=torch.int64, device=device))
        for size in shape[1:]:
            places = mixed(places.unsqueeze(-1) + GOLDEN * (1 + torch.arange(size, device=device)))
        return (_shifted(places, 11).double() * 2.0**-53).expand(tuple(shape))


def mixed(x: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The finaliser of SplitMix64: a bijection of 64-bit numbers under which neighbours look independent."""
    for shift, factor in zip((30, 27), MULTIPLIERS, strict=True):
        x = (x ^ _shifted(x, shift)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right with zeros from the left, as unsigned numbers do."""
    shifted: Tensor = (x >> bits) & (2 ** (64 - bits) - 1)
    return shifted
