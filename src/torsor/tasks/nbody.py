"""Where do the particles go? Charged bodies and planets, seen once and to be found again some time later.

Fuchs, Worrall, Fischer, Welling: SE(3)-Transformers (2020), section 4.1 and table 1 (`headline`); Satorras, Hoogeboom, Welling: E(n)
Equivariant Graph Neural Networks (2021), section 5.1 (`egnn`); Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023),
section 4.1 (`gravity`).

How much symmetry the data have: gravity is exactly E(3) x S(n) symmetric. The published charged simulator clips every *component* of a
force, which depends on the axes, and `headline` has reflecting walls. That is no detail: close encounters magnify the difference, so that
turning a system changes the answer for about a quarter of the systems, and no rotation-equivariant model can get below a mean squared error
of about 0.0045 (positions) and 0.045 (velocities) in `headline`, 0.0023 in `egnn`. Every table carries this floor. With `clip = "norm"` and
`box = inf` the data are exactly symmetric.

Axes: b batch, n particles, c output channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from torsor.config import Settings
from torsor.data import nbody
from torsor.data.archives import require_folder
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError
from torsor.groups import E, S
from torsor.representations import Irreps, Permuted
from torsor.signatures import PointClouds
from torsor.tasks.base import Task, with_targets

SPLITS = ("train", "valid", "test")
FURTHER_SHIFT, FURTHER_BODIES = 200.0, 2
"""How far the systems of the test set "shifted" are moved, and how many particles those of "more bodies" have more than the others."""


@dataclass(frozen=True)
class Variant:
    """A published setting.

    Args:
        gravity: planets around a star; charged bodies if not.
        particles: in each system.
        box: half width of the reflecting box, infinity for none.
        clip: how forces are clipped.
        start: frame that is seen.
        horizon: frames until the one to predict.
        velocity: whether the change of velocity is a target besides the displacement.
        charges: whether the charge or mass of a particle is one of its features.
        sizes: training, validation and test systems.
    """

    gravity: bool
    particles: int
    box: float
    clip: nbody.Clip
    start: int
    horizon: int
    velocity: bool
    charges: bool
    sizes: tuple[int, int, int]

    @property
    def frames(self) -> tuple[int, int]:
        """The frame that is seen and the one to predict."""
        return self.start, self.start + self.horizon

    @property
    def time(self) -> float:
        """Simulated time from what is seen to what is to be predicted."""
        return nbody.FRAME_TIME * self.horizon


VARIANTS = {
    "headline": Variant(False, 5, 5.0, "component", 0, 10, True, False, (5000, 1000, 1000)),
    "egnn": Variant(False, 5, math.inf, "component", 30, 10, False, False, (3000, 2000, 2000)),
    "gravity": Variant(True, 4, math.inf, "component", 0, 1, False, True, (1000, 5000, 5000)),
}


@dataclass(frozen=True)
class NBodyConfig(Settings):
    """Which particles, how many, and how they are simulated. None stands for the variant's own value.

    Args:
        variant: "headline" (table 1 of the SE(3)-Transformer: displacement and change of velocity over 10 frames from frame 0), "egnn"
            (position at frame 40 from frame 30, no walls) or "gravity" (GATr's star and planets, 100 steps; its "1 % of the data" setting).
        train_size: training systems; a smaller set is a prefix of a larger one.
        valid_size: validation systems.
        test_size: test systems.
        particles: particles in each system.
        clip: what is held to the largest force, "component" (published) or "norm" (rotation symmetric); charged bodies only.
        box: half width of the box with reflecting walls, inf for none; charged bodies only.
        charges: whether a particle's charge (or mass) is one of its features; the products of charges are edge features in any case.
        test_particles: particles in each test system, for generalisation to more bodies than were trained on.
        test_shift: distance along x by which the test systems are moved, for generalisation far from the training data.
        also_test: further test sets, whose figures stand beside those of the test set: "shifted", the test systems 200 along x from where
            they were; "more bodies", systems with two particles more (five planets instead of three).
        source: "simulate", or "published" to read the set that EGNN's own generator made (variant "egnn") from `folder`.
        folder: folder of data sets for "published"; the variable TORSOR_DATA if not given.
        seed: of the simulated systems.
    """

    variant: Literal["headline", "egnn", "gravity"] = "headline"
    train_size: int | None = None
    valid_size: int | None = None
    test_size: int | None = None
    particles: int | None = None
    clip: Literal["component", "norm"] | None = None
    box: float | None = None
    charges: bool | None = None
    test_particles: int | None = None
    test_shift: float = 0.0
    also_test: tuple[Literal["shifted", "more bodies"], ...] = ()
    source: Literal["simulate", "published"] = "simulate"
    folder: str | None = None
    seed: int = 0

    def build(self) -> NBodyTask:
        """Make the task.

        Raises:
            ConfigError: a value makes no sense, or does not go with the variant.
        """
        return NBodyTask(self)

    def resolved(self) -> Variant:
        """The variant with this configuration's own values in place."""
        if self.variant not in VARIANTS:
            raise ConfigError(f"variant is {self.variant!r}: give one of {', '.join(VARIANTS)}")
        published = VARIANTS[self.variant]
        own = {name: getattr(self, name) for name in ("particles", "box", "clip", "charges") if getattr(self, name) is not None}
        train, valid, test = published.sizes
        sizes = (_or(self.train_size, train), _or(self.valid_size, valid), _or(self.test_size, test))
        variant = replace(published, **own, sizes=sizes)
        _check(self, variant)
        return variant


class NBodyTask(Task):
    """Predict the displacement (and, in `headline`, the change of velocity) of every particle.

    Fed: positions, velocities ("1x1o", after the charge "1x0e" where that is a feature), and for charged bodies the product of charges of
    each pair. Returned: "1x1o" or "2x1o" a particle, in multiples of `scale`, the root mean square of all training targets. One number for
    all channels keeps the relative weight that the published loss gives them. Metrics are in the units of the simulation.

    Args:
        config: what to simulate or read.
    """

    name = "nbody"
    headline = "mse_position"

    def __init__(self, config: NBodyConfig) -> None:
        self.config = config
        self.variant = variant = config.resolved()
        rep_in, rep_out = Irreps("1x0e + 1x1o" if variant.charges else "1x1o"), Irreps("2x1o" if variant.velocity else "1x1o")
        more = FURTHER_BODIES if "more bodies" in config.also_test else 0
        points = max(variant.particles + more, config.test_particles or 0)
        self.signature = PointClouds(rep_in, rep_out, 0 if variant.gravity else 1, None, points)
        exact = variant.gravity or (variant.clip == "norm" and math.isinf(variant.box) and config.source == "simulate")
        symmetry = self.signature.symmetry(E(3) * S(), "exact" if exact else "approximate")
        self.symmetry = with_targets(symmetry, {"target": (self.signature.rep_out, Permuted(1))})
        self.metric_names = ("mse_position", "mse_velocity") if variant.velocity else ("mse_position",)
        units = dict(zip(self.metric_names, ("length^2", "velocity^2"), strict=False))
        self.units = units | {f"{metric} ({name})": unit for name in config.also_test for metric, unit in units.items()}
        self.notes = () if exact else tuple(_notes(variant))

    @property
    def splits(self) -> Splits:
        """Train, validation and test systems in float32; simulated once a process."""
        return Splits(*(_samples(self._key, split, size) for split, size in zip(SPLITS, self.variant.sizes, strict=True)))

    @property
    def further_tests(self) -> dict[str, Samples]:
        """The test sets that `also_test` asks for, as large as the test split."""
        further = {
            "shifted": replace(self._key, test_shift=self.config.test_shift + FURTHER_SHIFT),
            "more bodies": replace(self._key, test_particles=self.variant.particles + FURTHER_BODIES),
        }
        return {name: _samples(further[name], "test", self.variant.sizes[2]) for name in self.config.also_test}

    @property
    def _key(self) -> NBodyConfig:
        """What the samples depend on, sizes apart."""
        config: NBodyConfig = self.config
        return replace(config, train_size=None, valid_size=None, test_size=None, also_test=())

    @cached_property
    def scale(self) -> float:
        """Root mean square of the training targets."""
        return float(self.splits.train["target"].double().square().mean().sqrt())

    def loss(self, output: Float[Tensor, "b n c"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean squared error in multiples of `scale`."""
        return (output - batch["target"] / self.scale).square().mean()

    def metrics(self, output: Float[Tensor, "b n c"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Mean squared error over particles and axes, for positions and (in `headline`) velocities."""
        error = (output * self.scale - batch["target"]).square().mean(1)
        return {name: error[:, 3 * channel : 3 * channel + 3].mean(1) for channel, name in enumerate(self.metric_names)}

    def baselines(self) -> dict[str, dict[str, float]]:
        """Nothing moves; every particle goes straight on; the best equivariant linear map of velocity and position.

        Where the simulator breaks the symmetry there is one more, "equivariance floor": an estimate of the least error that an exactly
        rotation-equivariant model can reach on the test systems, see `data.nbody.symmetry_floor`.
        """
        train = self.splits.train
        wanted = rearrange(train["target"].double(), "b n (c xyz) -> (b n xyz) c", xyz=3)
        coefficients = torch.linalg.lstsq(_linear_rows(train), wanted).solution
        figures = self._figures(self.splits.test, coefficients)
        for name, samples in self.further_tests.items():
            for baseline, values in self._figures(samples, coefficients).items():
                figures[baseline] |= {f"{metric} ({name})": value for metric, value in values.items()}
        return figures | ({} if self.symmetry.exactness == "exact" else {"equivariance floor": self._floor()})

    def _floor(self) -> dict[str, float]:
        test = self.splits.test.to(torch.float64)
        # forces depend on products of charges alone, so the charges are known up to a common sign
        systems = nbody.Systems(test["positions"], test["features"][..., -3:], test["edge_features"][:, 0, :, 0])
        generator = torch.Generator().manual_seed(self.config.seed)
        floors = nbody.symmetry_floor(systems, self.variant.horizon - 1, self.variant.box, self.variant.clip, generator)
        return {name: float(floor.mean()) for name, floor in zip(self.units, floors, strict=False)}

    def _figures(self, test: Samples, coefficients: Float[Tensor, "2 channels"]) -> dict[str, dict[str, float]]:
        """The baselines on a test set."""
        batch = test.to(torch.float64).take(slice(None))
        straight = torch.zeros_like(batch["target"])
        straight[..., :3] = self.variant.time * batch["features"][..., -3:]
        linear = rearrange(_linear_rows(test) @ coefficients, "(b n xyz) c -> b n (c xyz)", b=len(test), xyz=3)
        predictions = {"no change": torch.zeros_like(straight), "constant velocity": straight, "least-squares linear": linear}
        metrics = {name: self.metrics(prediction / self.scale, batch) for name, prediction in predictions.items()}
        return {name: {metric: float(values.mean()) for metric, values in found.items()} for name, found in metrics.items()}


def _linear_rows(samples: Samples) -> Float[Tensor, "rows 2"]:
    """What a linear map of particles may use without breaking the symmetry: velocity, and position from the centre."""
    positions = samples["positions"].double()
    return torch.stack([samples["features"][..., -3:].double(), positions - positions.mean(1, keepdim=True)], -1).flatten(0, 2)


@lru_cache(maxsize=24)
def _samples(config: NBodyConfig, split: str, size: int) -> Samples:
    """One split. Splits have generators of their own, so that the size of one leaves the others as they are."""
    variant = config.resolved()
    if split == "test" and config.test_particles is not None:
        variant = replace(variant, particles=config.test_particles)
    generator = torch.Generator().manual_seed(len(SPLITS) * config.seed + SPLITS.index(split))
    if config.source == "published":
        x, v, x_later, v_later, charges = _published(config, variant, split, size)
    else:
        x, v, x_later, v_later, charges = (_gravity if variant.gravity else _charged)(variant, size, generator)
    if split == "test":
        shift = torch.tensor([config.test_shift, 0.0, 0.0], dtype=x.dtype)
        x, x_later = x + shift, x_later + shift
    tensors = {
        "positions": x,
        "features": torch.cat([charges.unsqueeze(-1), v], -1) if variant.charges else v,
        "target": torch.cat([x_later - x, v_later - v], -1) if variant.velocity else x_later - x,
    }
    if not variant.gravity:
        tensors["edge_features"] = (charges.unsqueeze(1) * charges.unsqueeze(2)).unsqueeze(-1)
    return Samples(tensors).to(torch.float32)


def _or(own: int | None, published: int) -> int:
    return published if own is None else own


Motion = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Positions and velocities, the same later, and charges."""


def _charged(variant: Variant, size: int, generator: torch.Generator) -> Motion:
    systems = nbody.charged_systems(size, variant.particles, generator)
    return _motion(nbody.simulate_charged(systems, variant.frames, variant.box, variant.clip), systems.charges)


def _gravity(variant: Variant, size: int, generator: torch.Generator) -> Motion:
    first, last = nbody.planetary_systems(size, variant.particles, generator)
    return first.positions, first.velocities, last.positions, last.velocities, first.charges


def _published(config: NBodyConfig, variant: Variant, split: str, size: int) -> Motion:
    frames, charges = nbody.read_published(require_folder(config.folder, "the published n-body set"), split, variant.frames)
    held = Samples({"positions": frames.positions, "velocities": frames.velocities, "charges": charges}).prefix(size)
    return _motion(nbody.Frames(held["positions"], held["velocities"]), held["charges"])


def _motion(frames: nbody.Frames, charges: Tensor) -> Motion:
    x, v = frames
    return x[:, 0], v[:, 0], x[:, 1], v[:, 1], charges


def _notes(variant: Variant) -> Iterator[str]:
    if variant.clip == "component":
        yield "each component of a force is clipped, as published: these data are not rotation symmetric, see the equivariance floor"
    if not math.isinf(variant.box):
        yield f"walls at +-{variant.box:g} reflect: these data are not translation symmetric"


def _check(config: NBodyConfig, variant: Variant) -> None:
    """Refuse what makes no sense."""
    for split, size in zip(SPLITS, variant.sizes, strict=True):
        if size < 1:
            raise ConfigError(f"{split}_size is {size}: give 1 or more")
    for name, count in (("particles", variant.particles), ("test_particles", config.test_particles)):
        if count is not None and count < 2:
            raise ConfigError(f"{name} is {count}: give 2 or more")
    if not variant.box > 0:
        raise ConfigError(f"box is {variant.box}: give a positive half width, or inf for no walls")
    if variant.gravity and (config.clip is not None or config.box is not None):
        raise ConfigError("clip and box are for charged bodies: leave them out for the variant 'gravity'")
    if len(set(config.also_test)) != len(config.also_test):
        raise ConfigError(f"also_test is {list(config.also_test)}: give each test set once")
    if config.source == "published" and "more bodies" in config.also_test:
        raise ConfigError("source 'published' holds systems of five particles alone: leave 'more bodies' out of also_test")
    simulated = ("particles", "box", "clip", "test_particles")
    changed = [name for name in simulated if getattr(config, name) is not None]
    if config.source == "published" and (config.variant != "egnn" or changed):
        fault = f"{changed[0]} cannot be changed in it" if changed else f"variant is {config.variant!r}"
        raise ConfigError(f"source 'published' holds EGNN's set and {fault}: take variant 'egnn' as it is, or source 'simulate'")
