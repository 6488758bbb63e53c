"""What the tasks share whose symmetry a setting breaks as strongly as one likes: sizes, splits, moved test samples, regression.

At strength 0 the data have the symmetry exactly. Each task has a further test set "moved": its test samples, inputs and answers, each moved
by a random element of the group. A model that has the symmetry makes the same errors there, whatever the data have.

Axes: b batch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.config import Settings
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError
from torsor.tasks.base import Task

SPLITS = ("train", "valid", "test")
BLOCK = 256
"""Samples drawn at once. Draws go block by block, so that a smaller set is a prefix of a larger one."""
MOVED = "moved"
DIRECTION_SEED = 5
"""Of the fixed directions along which symmetries are broken: the same for every task, split and seed of the samples."""


@dataclass(frozen=True)
class BreakingConfig(Settings):
    """What all these tasks can be set to.

    Args:
        train_size: training samples; a smaller set is a prefix of a larger one.
        valid_size: validation samples.
        test_size: test samples.
        strength: how strongly the symmetry is broken; 0 for not at all.
        seed: of all samples.

    Raises:
        ConfigError: a size or the strength makes no sense.
    """

    train_size: int = 1000
    valid_size: int = 500
    test_size: int = 2000
    strength: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in SPLITS:
            if getattr(self, f"{split}_size") < 1:
                raise ConfigError(f"{split}_size is {getattr(self, f'{split}_size')}: give 1 or more")
        if not 0 <= self.strength < math.inf:
            raise ConfigError(f"strength is {self.strength}: give a number from 0 on")


class BreakingTask(Task):
    """A task whose samples are drawn, and whose symmetry is broken by a strength.

    Subclasses have `draw`, and in `symmetry` the word "exact" at strength 0 and "approximate" beyond.

    Args:
        config: sizes, strength, seed.
    """

    config: BreakingConfig

    def __init__(self, config: BreakingConfig) -> None:
        self.config = config

    @property
    def broken(self) -> bool:
        """Whether the data lack the symmetry."""
        return self.config.strength > 0

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Samples in float64."""

    @cached_property
    def splits(self) -> Splits:
        """Train, validation and test samples in float32; each split has a generator of its own."""
        return Splits(*(self._samples(getattr(self.config, f"{split}_size"), place) for place, split in enumerate(SPLITS)))

    def _samples(self, size: int, place: int) -> Samples:
        generator = torch.Generator().manual_seed(len(SPLITS) * self.config.seed + place)
        blocks = [self.draw(BLOCK, generator) for _ in range(-(-size // BLOCK))]
        return Samples({name: torch.cat([block[name] for block in blocks])[:size] for name in blocks[0]}).to(torch.float32)

    @cached_property
    def further_tests(self) -> Mapping[str, Samples]:
        """The test samples, inputs and answers, each moved by an element of the group of its own."""
        test = self.splits.test.to(torch.float64).take(slice(None))
        g = self.symmetry.sample(test, torch.Generator().manual_seed(self.config.seed))
        return {MOVED: Samples(self.symmetry.transform(g, test)).to(torch.float32)}

    def with_moved(self, units: Mapping[str, str]) -> dict[str, str]:
        """The units of metrics, and of the same metrics on the moved test samples."""
        return {**units, **{f"{metric} ({MOVED})": unit for metric, unit in units.items()}}

    def figures(self, predictors: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]]) -> dict[str, dict[str, float]]:
        """Figures of predictors, on the test samples and on the moved ones.

        Args:
            predictors: by name, what gives an output, as a model would, for a batch in float64.
        """
        figures: dict[str, dict[str, float]] = {name: {} for name in predictors}
        for suffix, samples in {"": self.splits.test, **{f" ({name})": x for name, x in self.further_tests.items()}}.items():
            batch = samples.to(torch.float64).take(slice(None))
            for name, predict in predictors.items():
                found = self.metrics(predict(batch), batch)
                figures[name] |= {metric + suffix: float(values.mean()) for metric, values in found.items()}
        return figures


class BreakingRegression(BreakingTask):
    """A regression: the answer is "target", and models give it in multiples of `scale`."""

    headline = "mse"

    @cached_property
    def scale(self) -> float:
        """Root mean square of the training targets."""
        return float(self.splits.train["target"].double().square().mean().sqrt())

    def loss(self, output: Float[Tensor, "b *out"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean squared error in multiples of `scale`."""
        return (output - batch["target"] / self.scale).square().mean()

    def metrics(self, output: Float[Tensor, "b *out"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Mean squared error over the numbers of an answer."""
        return {"mse": (output * self.scale - batch["target"]).square().flatten(1).mean(1)}

    def rescaled(self, predict: Callable[[Mapping[str, Tensor]], Tensor]) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """A predictor of targets as one of what a model returns."""
        return lambda batch: predict(batch) / self.scale


def fixed_direction(size: int) -> Float[Tensor, " size"]:
    """A unit vector that is always the same, in float64."""
    drawn = torch.randn(size, generator=torch.Generator().manual_seed(DIRECTION_SEED), dtype=torch.float64)
    unit: Tensor = drawn / torch.linalg.vector_norm(drawn)
    return unit


def linear_fit(rows: Float[Tensor, "b i"], wanted: Float[Tensor, "b o"]) -> Float[Tensor, "i o"]:
    """The coefficients of least squares, in float64."""
    solution: Tensor = torch.linalg.lstsq(rows.double(), wanted.double()).solution
    return solution


def with_one(x: Float[Tensor, "b i"]) -> Float[Tensor, "b i1"]:
    """Rows with a one in front, in float64."""
    return torch.cat((torch.ones(len(x), 1, dtype=torch.float64), x.double()), 1)
