"""No symmetrisation at all, one law in training and another in evaluation, and noise that never changes: what the others are held against.

Axes: b batch, k samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from torsor.dial.symmetrize.base import Draws, Sampler
from torsor.errors import GroupError
from torsor.nn.noise_sources import FixedNoise, NoiseSource
from torsor.symmetry import Exactness, Symmetry


class Identity(Sampler):
    """The identity alone: the network as it is.

    Args:
        symmetry: the contract.
        exactness: what the network itself promises.
    """

    def __init__(self, symmetry: Symmetry, exactness: Exactness = "none") -> None:
        super().__init__(symmetry, (False,) * len(symmetry.factors))
        self.exactness = exactness

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """One identity for each item, whatever number of samples is asked for."""
        return Draws(self.element(self.at_rest(inputs, 1)))


class Phased(Sampler):
    """One sampler in training mode, another in evaluation mode.

    Draws in training and none in evaluation are augmentation inside the network; the other way round is test-time averaging.

    Args:
        training: the sampler of training mode.
        evaluation: the sampler of evaluation mode; what it promises is promised.

    Raises:
        GroupError: they were made for different contracts.
    """

    def __init__(self, training: Sampler, evaluation: Sampler) -> None:
        if training.symmetry != evaluation.symmetry:
            raise GroupError("training and evaluation have samplers of different contracts: make both with the same symmetry")
        super().__init__(evaluation.symmetry, evaluation.moving)
        self.in_training, self.in_evaluation = training, evaluation
        self.noise = {**training.noise, **evaluation.noise}
        self.exactness = evaluation.exactness

    @property
    def phase(self) -> Sampler:
        """The sampler of the mode that the module is in."""
        return self.in_training if self.training else self.in_evaluation

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """The noise of the present sampler."""
        return self.phase.draw(inputs, samples, source)

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:
        """The elements of the present sampler."""
        draws: Draws = self.phase(inputs, noise, samples)
        return draws


class SameNoise(Sampler):
    """A sampler whose noise is the same in every call and for every item: what is left of it without chance.

    Still equivariant when the noise moves along, but no longer in distribution: noise that never changes prefers the order and the pose in
    which an input happens to come.

    Args:
        sampler: any sampler.
        seed: of the noise.
    """

    def __init__(self, sampler: Sampler, seed: int = 0) -> None:
        super().__init__(sampler.symmetry, sampler.moving)
        self.sampler, self.source = sampler, FixedNoise(seed)
        self.noise, self.exactness = sampler.noise, sampler.exactness

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:  # noqa: ARG002
        """The same numbers whatever the source."""
        return self.sampler.draw(inputs, samples, self.source)

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:
        """The elements of the sampler."""
        draws: Draws = self.sampler(inputs, noise, samples)
        return draws
