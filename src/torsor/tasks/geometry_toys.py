"""Four questions of elementary geometry, with known answers: can a model express them at all, and how fast does it learn them?

After the regression tests of Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023): the distance of two points, a point
translated, the translation that connects two points, the norm of a translation. The symmetry is exact: E(3) and permutations.

Axes: b batch, n points (one or two), c output channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.config import Settings
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError
from torsor.groups import E, S
from torsor.representations import Trivial
from torsor.signatures import PointClouds
from torsor.tasks.base import Task, with_targets

Problem = Literal["distance", "translate", "connect", "norm"]
SPLITS = ("train", "valid", "test")
BLOCK = 256
"""Samples drawn at once. Draws go block by block, so that a smaller set is a prefix of a larger one."""


@dataclass(frozen=True)
class GeometryToysConfig(Settings):
    """Which question, and how many samples. All points and translations are standard normal.

    Args:
        problem: "distance" of two points; "translate", how far and whereto a point goes that is moved by the translation which another
            token carries; "connect", the translation from one marked point to another; "norm" of a translation.
        train_size: training samples; a smaller set is a prefix of a larger one.
        valid_size: validation samples.
        test_size: test samples.
        seed: of all samples.
    """

    problem: Problem = "distance"
    train_size: int = 1000
    valid_size: int = 200
    test_size: int = 1000
    seed: int = 0

    def build(self) -> GeometryToysTask:
        """Make the task.

        Raises:
            ConfigError: a size makes no sense.
        """
        for split in SPLITS:
            if getattr(self, f"{split}_size") < 1:
                raise ConfigError(f"{split}_size is {getattr(self, f'{split}_size')}: give 1 or more")
        return GeometryToysTask(self)


@dataclass(frozen=True)
class Question:
    """How a problem is posed.

    Args:
        rep_in: irreps of a token's features.
        rep_out: irreps of the answer, one of the sample.
        points: tokens of a sample.
        draw: positions, features and answers of a block.
    """

    rep_in: str
    rep_out: str
    points: int
    draw: Callable[[torch.Generator], dict[str, Tensor]]


class GeometryToysTask(Task):
    """Answer one question of elementary geometry about one or two tokens.

    Fed: positions, and features "1x0e" (a mark) and "1x1o" (a translation) where the problem has them. A token that carries a translation
    lies anywhere: a translation has no place. Returned: one pooled scalar or vector. Loss and metric: mean squared error; the answer is
    known, so it can become zero up to rounding.

    Args:
        config: which question.
    """

    name = "geometry-toys"
    headline = "mse"

    def __init__(self, config: GeometryToysConfig) -> None:
        self.config = config
        question = PROBLEMS[config.problem]
        self.signature = PointClouds(question.rep_in, question.rep_out, 0, "mean", question.points)
        symmetry = self.signature.symmetry(E(3) * S())
        self.symmetry = with_targets(symmetry, {"target": (self.signature.rep_out, Trivial())})
        self.units = {"mse": "length^2"}

    @cached_property
    def splits(self) -> Splits:
        """Train, validation and test samples in float32; each split has a generator of its own."""
        sizes = (self.config.train_size, self.config.valid_size, self.config.test_size)
        seeds = (len(SPLITS) * self.config.seed + place for place in range(len(SPLITS)))
        return Splits(*(_samples(self.config.problem, size, seed) for size, seed in zip(sizes, seeds, strict=True)))

    def loss(self, output: Float[Tensor, "b c"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean squared error."""
        return (output - batch["target"]).square().mean()

    def metrics(self, output: Float[Tensor, "b c"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Mean squared error over the components of the answer."""
        return {"mse": (output - batch["target"]).square().mean(-1)}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The mean of the training answers where they are scalars; no translation at all where they are vectors."""
        train, test = (samples["target"].double() for samples in (self.splits.train, self.splits.test))
        scalar = train.shape[1] == 1
        guess = train.mean(0) if scalar else torch.zeros_like(train[0])
        figure = float((test - guess).square().mean())
        return {"mean" if scalar else "no translation": {"mse": figure}}


@lru_cache(maxsize=12)
def _samples(problem: str, size: int, seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    blocks = [PROBLEMS[problem].draw(generator) for _ in range(-(-size // BLOCK))]
    joined = {name: torch.cat([block[name] for block in blocks])[:size] for name in blocks[0]}
    return Samples(joined).to(torch.float32)


def _points(count: int, generator: torch.Generator) -> Float[Tensor, "b n 3"]:
    return torch.randn(BLOCK, count, 3, generator=generator, dtype=torch.float64)


def _marks() -> Float[Tensor, "b 2 1"]:
    """0 at the first token and 1 at the second."""
    return torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(BLOCK, 2, 1)


def _norms(vectors: Float[Tensor, "b 3"]) -> Float[Tensor, "b 1"]:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return norms


def _distance(generator: torch.Generator) -> dict[str, Tensor]:
    positions = _points(2, generator)
    return {"positions": positions, "target": _norms(positions[:, 1] - positions[:, 0])}


def _translate(generator: torch.Generator) -> dict[str, Tensor]:
    """The first token is the point, the second carries the translation; the target is the moved point seen from the centre of both."""
    positions, translation = _points(2, generator), _points(1, generator)
    vectors = torch.cat([torch.zeros_like(translation), translation], 1)
    target = positions[:, 0] + translation[:, 0] - positions.mean(1)
    return {"positions": positions, "features": torch.cat([_marks(), vectors], -1), "target": target}


def _connect(generator: torch.Generator) -> dict[str, Tensor]:
    positions = _points(2, generator)
    return {"positions": positions, "features": _marks().clone(), "target": positions[:, 1] - positions[:, 0]}


def _norm(generator: torch.Generator) -> dict[str, Tensor]:
    positions, translation = _points(1, generator), _points(1, generator)
    return {"positions": positions, "features": translation, "target": _norms(translation[:, 0])}


PROBLEMS = {
    "distance": Question("", "1x0e", 2, _distance),
    "translate": Question("1x0e + 1x1o", "1x1o", 2, _translate),
    "connect": Question("1x0e", "1x1o", 2, _connect),
    "norm": Question("1x1o", "1x0e", 1, _norm),
}
"""The questions by name."""
