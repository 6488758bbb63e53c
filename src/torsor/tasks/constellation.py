"""How many triangles, squares, pentagons and Ls are among the points? Counting that no motion of the plane changes.

Kosiorek, Sabour, Teh, Hinton: Stacked Capsule Autoencoders (2019), section 3.1; Hutchinson, Le Lan, Zaidi, Dupont, Teh, Kim:
LieTransformer (2021), section 5.1 and its table of accuracies.

The answer is exactly SE(2) x S(n) invariant, while the *data* are not: with `max_rotation` = 0 all patterns stand upright. Test sets that
are moved ask what a model does where the training data say nothing. Corners of absent patterns stay in the arrays and are masked out; the
box to which a sample is scaled holds them too.

Axes: b batch, n points, t types, k counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from torsor.config import Settings
from torsor.data import constellations as data
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError
from torsor.groups import SE, S
from torsor.representations import Irreps, Trivial
from torsor.signatures import PointClouds
from torsor.tasks.base import Task, with_targets

SPLITS = ("train", "valid", "test")
PLANE = SE(2)
COPIES = {"T2": (0.0, 10.0), "SE2": (math.radians(10.0), 0.0)}
"""Published test sets: angle and translation (along both axes, in half boxes) of the copy that is added to the test samples."""
RANDOM = "random SE2"
"""Our own: every test sample moved by a motion of its own, a uniform rotation and a translation by N(0, 1) half boxes an axis."""
Content = Literal["constant", "distances", "moments", "local"]
NEAREST = 8
"""Neighbours whose distances are the content "local"."""


@dataclass(frozen=True)
class ConstellationConfig(Settings):
    """Which samples, and what a model is told about their points.

    Args:
        train: the published training sets: "D" as drawn, "T2" moved by one number along both axes, "SE2" turned by one angle before that.
            In every step one angle and one number from N(1, 1) serve the whole batch. To move each sample by a motion of its own, augment.
        content: features of a point: "constant" (1), "distances" to all other points, sorted, or "moments", ten power means of them, as
            published; or our "local", the distances to the eight nearest points and the share of the corners that are present.
        repetitions: patterns of each type, each there or not.
        max_rotation: a pattern is turned by at most this half-share of a full turn. 0, as in the published sets; 0.33 is what their
            generator does unless told otherwise.
        noise: standard deviation of a coordinate, where a pattern's corners are 1 from its centre.
        presence: odds that a pattern is there.
        quirk: move squares, triangles and pentagons three times as far as Ls, as the published generator does; without it patterns overlap
            more, and the task is harder.
        box: half the side of the box that positions are scaled to: 1, as published, makes the sides of patterns about 0.03 long, so short
            that a network hardly sees their shape; 36 makes them about 1 (12 without the quirk). "local" features are scaled alike.
        train_size: training samples; a smaller set is a prefix of a larger one.
        valid_size: validation samples.
        test_size: test samples.
        seed: of the samples.
    """

    train: Literal["D", "T2", "SE2"] = "D"
    content: Content = "distances"
    repetitions: int = 2
    max_rotation: float = 0.0
    noise: float = 0.1
    presence: float = 0.5
    quirk: bool = True
    box: float = 1.0
    train_size: int = 10_000
    valid_size: int = 1000
    test_size: int = 1000
    seed: int = 0

    def build(self) -> ConstellationTask:
        """Make the task.

        Raises:
            ConfigError: a value makes no sense.
        """
        _check(self)
        return ConstellationTask(self)

    @property
    def points(self) -> int:
        """Corners of all patterns."""
        return self.repetitions * sum(len(data.corners(kind)) for kind in data.TYPES)


class ConstellationTask(Task):
    """Count the patterns of each type.

    Fed: positions in the plane, features of the points, and the mask of those that are present. Returned: `[b, t k]`, for each of the four
    types logits of the counts 0 to `repetitions`. Loss: cross-entropy, mean over types. The headline `error` is the share of counts that
    are wrong, 1 - accuracy.

    Args:
        config: what to draw.
    """

    name = "constellation"
    headline = "error"

    def __init__(self, config: ConstellationConfig) -> None:
        self.config = config
        self.counts = config.repetitions + 1
        features = {"constant": 1, "distances": config.points - 1, "moments": 10, "local": NEAREST + 1}[config.content]
        outputs = len(data.TYPES) * self.counts
        self.signature = PointClouds(Irreps(f"{features}x0e"), Irreps(f"{outputs}x0e"), 0, "mean", config.points, 2)
        self.symmetry = with_targets(self.signature.symmetry(PLANE * S()), {"counts": (Trivial(), Trivial())})
        units = {"error": "share of counts", "cross_entropy": "nats"}
        moved = {f"{metric} ({name})": unit for name in (*COPIES, RANDOM) for metric, unit in units.items()}
        self.units = units | moved
        self.notes = ("patterns that are not squares, triangles or pentagons lie closer together, as published",) if config.quirk else ()

    @property
    def splits(self) -> Splits:
        """Train, validation and test samples in float32; made once a process. Each split has a seed of its own."""
        sizes = (self.config.train_size, self.config.valid_size, self.config.test_size)
        return Splits(*(_samples(_drawing(self.config), split, size) for split, size in zip(SPLITS, sizes, strict=True)))

    @cached_property
    def further_tests(self) -> Mapping[str, Samples]:
        """The test samples with a moved copy of each (as published), and all of them moved at random."""
        test = self.splits.test
        box = self.config.box
        copies = {name: _with_copy(test, angle, shift * box) for name, (angle, shift) in COPIES.items()}
        g = PLANE.sample(len(test), generator=torch.Generator().manual_seed(self.config.seed), scale=box)
        return copies | {RANDOM: _replaced(test, PLANE.act(g, test["positions"].double()))}

    def prepare(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The published augmentation, one motion for the whole batch."""
        if self.config.train == "D":
            return dict(batch)
        angle = 2 * math.pi * torch.rand((), generator=generator) if self.config.train == "SE2" else torch.zeros(())
        shift = self.config.box * (1 + torch.randn((), generator=generator))
        return {**batch, "positions": _moved(batch["positions"], float(angle), float(shift))}

    def loss(self, output: Float[Tensor, "b tk"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Cross-entropy, mean over samples and types."""
        return self._cross_entropy(output, batch["counts"]).mean()

    def metrics(self, output: Float[Tensor, "b tk"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Share of the types that are counted wrongly, and cross-entropy."""
        wrong = self._logits(output).argmax(-1) != batch["counts"]
        return {"error": wrong.to(output.dtype).mean(1), "cross_entropy": self._cross_entropy(output, batch["counts"]).mean(1)}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The most frequent count; what the number of points tells; and clusters of points, counted without learning.

        Each is a table: how often a type had each count, among the training samples with the same key.
        """
        figures: dict[str, dict[str, float]] = {}
        learned = _keys(self.splits.train)
        for suffix, test in [("", self.splits.test), *((f" ({name})", samples) for name, samples in self.further_tests.items())]:
            for name, keys in _keys(test).items():
                found = self.metrics(self._table(learned[name])(keys), test.take(slice(None)))
                figures.setdefault(name, {}).update({f"{metric}{suffix}": float(values.mean()) for metric, values in found.items()})
        return figures

    def _table(self, keys: Int64[Tensor, "s t"]) -> Callable[[Tensor], Tensor]:
        """Key -> logarithms of the shares of each count among training samples with that key, each count seen once more than it was."""
        seen = torch.ones(len(data.TYPES), self.config.points + 1, self.counts, dtype=torch.float64)
        kinds = torch.arange(len(data.TYPES)).expand_as(keys)
        seen.index_put_((kinds, keys, self.splits.train["counts"]), seen.new_ones(()), accumulate=True)
        shares = seen / seen.sum(-1, keepdim=True)
        return lambda test: shares.log()[torch.arange(len(data.TYPES)), test].flatten(1)

    def _logits(self, output: Tensor) -> Float[Tensor, "b t k"]:
        return torch.unflatten(output, -1, (len(data.TYPES), self.counts))

    def _cross_entropy(self, output: Tensor, counts: Int64[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        return cross_entropy(self._logits(output).movedim(-1, 1), counts, reduction="none")


def _keys(samples: Samples) -> dict[str, Int64[Tensor, "b t"]]:
    """What each baseline knows of a sample, for each type."""
    present = samples["mask"]
    nothing = torch.zeros_like(samples["counts"])
    return {
        "most frequent count": nothing,
        "number of points": nothing + present.sum(1, keepdim=True),
        "clusters": data.count_clusters(samples["positions"], present),
    }


def _moved(positions: Float[Tensor, "b n 2"], angle: float, shift: float) -> Float[Tensor, "b n 2"]:
    """Turned about the origin, then moved by the same along both axes."""
    x, y = positions.unbind(-1)
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.stack((cosine * x - sine * y, sine * x + cosine * y), -1) + shift


def _with_copy(samples: Samples, angle: float, shift: float) -> Samples:
    """The samples, and after them all of them moved."""
    moved = _replaced(samples, _moved(samples["positions"].double(), angle, shift))
    return Samples({name: torch.cat((samples[name], moved[name])) for name in samples})


def _replaced(samples: Samples, positions: Float[Tensor, "b n 2"]) -> Samples:
    return Samples({**samples.take(slice(None)), "positions": positions.to(samples["positions"].dtype)})


def _drawing(config: ConstellationConfig) -> ConstellationConfig:
    """The configuration with what the samples do not depend on left out: training sets "D", "T2" and "SE2", and all sizes, share theirs."""
    return replace(config, train="D", train_size=1, valid_size=1, test_size=1)


@lru_cache(maxsize=24)
def _samples(config: ConstellationConfig, split: str, size: int) -> Samples:
    """One split. Splits have generators of their own, so that the size of one leaves the others as they are."""
    generator = torch.Generator().manual_seed(len(SPLITS) * config.seed + SPLITS.index(split))
    positions, present, counts = data.draw_constellations(
        size,
        generator,
        repetitions=config.repetitions,
        max_rotation=config.max_rotation,
        noise=config.noise,
        presence=config.presence,
        quirk=config.quirk,
    )
    features = {
        "constant": lambda: torch.ones_like(positions[..., :1]),
        "distances": lambda: data.sorted_distances(positions, present),
        "moments": lambda: data.power_means(positions, present),
        "local": lambda: _local(config.box * positions, present),
    }[config.content]()
    return Samples({"positions": config.box * positions, "features": features, "mask": present, "counts": counts}).to(torch.float32)


def _local(positions: Float[Tensor, "b n 2"], present: Bool[Tensor, "b n"]) -> Float[Tensor, "b n f"]:
    """Distances to the nearest points, and the share of the corners that are present."""
    share = present.double().mean(1)[:, None, None].expand(-1, present.shape[1], 1)
    return torch.cat((data.nearest_distances(positions, present, NEAREST), share), -1)


def _check(config: ConstellationConfig) -> None:
    """Refuse what makes no sense."""
    for name in ("train_size", "valid_size", "test_size", "repetitions"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}: give 1 or more")
    for name in ("max_rotation", "presence"):
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"{name} is {getattr(config, name)}: give a number from 0 to 1")
    if not config.box > 0:
        raise ConfigError(f"box is {config.box}: give a positive number")
    if not config.noise >= 0:
        raise ConfigError(f"noise is {config.noise}: give 0 or more")
