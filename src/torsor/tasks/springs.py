"""How do particles on springs move? Their whole motion, from one state, with the energy learned or without.

Finzi, Stanton, Izmailov, Wilson: LieConv (2020), section 6.3; Hutchinson, Le Lan, Zaidi, Dupont, Teh, Kim: LieTransformer (2021), section
5.3. Six particles in the plane, each joined to each by a spring whose strength is a product of two couplings. The target is exact: springs
have a closed form. Besides, planets around a star (`gravity`).

The symmetry is exact: E(2) x S(n) turns and moves positions, turns momenta, and permutes particles. What follows from it, and from time
being the same everywhere, is measured on predictions: energy, momentum and angular momentum.

Axes: b batch, t times, n particles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.data import springs as data
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError
from torsor.groups import E, S
from torsor.nn.hamiltonian import DirectDynamics, HamiltonianDynamics
from torsor.nn.integrators import Method
from torsor.representations import Irreps, Permuted, Points, Trivial, Vectors
from torsor.signatures import PointClouds
from torsor.symmetry import Symmetry
from torsor.tasks.base import Task

SPLITS = ("train", "valid", "test")
SHOWN_STEPS = (1, 20, 40, 60, 80, 100)
"""Steps of a rollout whose error is published."""
ROLLOUT = "rollout"
States = Callable[[data.Systems, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Variant:
    """A published setting.

    Args:
        draw: draws initial states.
        states: states at given times.
        potential: the true potential.
        grid: times of a trajectory.
        features: of a particle; the first is its mass.
    """

    draw: Callable[[int, int, torch.Generator], data.Systems]
    states: States
    potential: Callable[[Tensor, Tensor], Tensor]
    grid: data.Grid
    features: int


VARIANTS = {
    "springs": Variant(data.draw_springs, data.spring_states, data.spring_potential, data.SPRING_GRID, 2),
    "gravity": Variant(data.draw_planets, data.planet_states, data.planet_potential, data.PLANET_GRID, 1),
}


@dataclass(frozen=True)
class SpringsConfig(Settings):
    """Which particles, how many, and how their motion is learned.

    Args:
        variant: "springs", or "gravity" for planets around a star.
        dynamics: "hamiltonian" learns the potential energy and derives the motion; "direct" learns the derivatives of the state.
        method: how a Hamiltonian motion is integrated: "rk4" (published), or the symplectic "leapfrog" (fast, order 2) or "yoshida".
        substeps: integration steps from one recorded time to the next, in training.
        evaluation_substeps: the same in evaluation, as many as in training if not given.
        train_size: training systems, one chunk of the trajectory of each; a smaller set is a prefix of a larger one.
        valid_size: validation systems; `train_size`, but at most 2000, if not given.
        test_size: test systems.
        particles: particles in each system.
        test_particles: particles in each test system, for generalisation to other numbers than were trained on.
        chunk: recorded times of a sample, the first of which is given.
        rollout: steps over which further test samples run, 0 for none; the published figure has 100.
        seed: of the systems.
    """

    variant: Literal["springs", "gravity"] = "springs"
    dynamics: Literal["hamiltonian", "direct"] = "hamiltonian"
    method: Method = "rk4"
    substeps: int = 1
    evaluation_substeps: int | None = None
    train_size: int = 3000
    valid_size: int | None = None
    test_size: int = 2000
    particles: int = 6
    test_particles: int | None = None
    chunk: int = 5
    rollout: int = 0
    seed: int = 0

    def build(self) -> SpringsTask:
        """Make the task.

        Raises:
            ConfigError: a value makes no sense.
        """
        _check(self)
        return SpringsTask(self)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Training, validation and test systems."""
        return self.train_size, min(self.train_size, 2000) if self.valid_size is None else self.valid_size, self.test_size


class SpringsTask(Task):
    """Predict the states of all particles at the times of a chunk.

    A Hamiltonian model is fed positions from their centroid and the features (mass, coupling), and returns one pooled number, the potential
    energy in multiples of `energy_scale`. A direct model is fed the momenta as two more scalars, and returns four scalars a particle. The
    wrapped module returns {"positions", "momenta"}, `[b, t, n, 2]` each, the given first state included. Loss: mean squared error of the
    whole state, in multiples of what it changes by.

    Args:
        config: what to draw and how to learn it.
    """

    name = "springs"
    headline = "mse"

    def __init__(self, config: SpringsConfig) -> None:
        self.config = config
        self.variant = VARIANTS[config.variant]
        points = max(config.particles, config.test_particles or 0)
        features = self.variant.features
        if config.dynamics == "hamiltonian":
            self.signature = PointClouds(Irreps(f"{features}x0e"), Irreps("1x0e"), 0, "mean", points, 2)
        else:
            self.signature = PointClouds(Irreps(f"{features + 2}x0e"), Irreps("4x0e"), 0, None, points, 2)
        inputs = {"positions": (Points(), Permuted(1)), "momenta": (Vectors(), Permuted(1)), "features": (Trivial(), Permuted(1))}
        states = {"positions": (Points(), Permuted(2)), "momenta": (Vectors(), Permuted(2))}
        targets = {f"target_{name}": actions for name, actions in states.items()}
        self.symmetry = Symmetry(E(2) * S(), inputs | targets, states)
        errors = {"mse": "", "energy_error": "relative", "momentum_error": "momentum", "angular_momentum_error": "length x momentum"}
        longer = errors | {f"mse_step_{k}": "" for k in SHOWN_STEPS if k <= config.rollout} if config.rollout else {}
        self.units = errors | {f"{name} ({ROLLOUT})": unit for name, unit in longer.items()}

    @property
    def splits(self) -> Splits:
        """Train, validation and test chunks in float32; made once a process."""
        return Splits(*(self._samples(split, size, self.config.chunk) for split, size in zip(SPLITS, self.config.sizes, strict=True)))

    @property
    def further_tests(self) -> Mapping[str, Samples]:
        """The test systems over longer times, where the configuration asks for a rollout."""
        steps = self.config.rollout
        return {ROLLOUT: self._samples("test", self.config.test_size, steps + 1)} if steps else {}

    def _samples(self, split: str, size: int, length: int) -> Samples:
        other = self.config.test_particles if split == "test" else None
        return _samples(self.config.variant, self.config.seed, split, size, self.config.particles if other is None else other, length)

    @cached_property
    def change(self) -> float:
        """Root mean square of how far the training states are from the first of their chunk."""
        train = self.splits.train.to(torch.float64)
        errors = _squared_error({name: train[name][:, None] for name in ("positions", "momenta")}, train.take(slice(None)))
        return math.sqrt(float(errors.mean()))

    @cached_property
    def derivative_scales(self) -> tuple[float, float]:
        """Root mean squares of velocities and forces, over the first step of the training chunks."""
        train = self.splits.train.to(torch.float64)
        duration = train["times"][:, 1, None, None]
        q, p = (((train[name][:, 1] - train[name][:, 0]) / duration) for name in ("target_positions", "target_momenta"))
        return _root_mean_square(q), _root_mean_square(p)

    @cached_property
    def energy_scale(self) -> float:
        """The work of a usual force along a usual distance from the centre, over all particles."""
        positions = self.splits.train["positions"].double()
        distance = _root_mean_square(positions - positions.mean(1, keepdim=True))
        work: float = self.config.particles * self.derivative_scales[1] * distance
        return work

    def wrap(self, model: nn.Module) -> nn.Module:
        """The motion that the model stands for."""
        config = self.config
        if config.dynamics == "direct":
            return DirectDynamics(model, self.derivative_scales, config.substeps, config.evaluation_substeps)
        return HamiltonianDynamics(model, self.energy_scale, config.method, config.substeps, config.evaluation_substeps)

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first states, the features and the times."""
        return {name: batch[name] for name in ("positions", "momenta", "features", "times")}

    def loss(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean squared error of the whole state in multiples of the mean squared change."""
        return _squared_error(output, batch).mean() / self.change**2

    def metrics(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Mean squared error of the whole state, the first (exact) one included as published, and errors of what is conserved.

        Samples longer than a chunk have the error at single steps too. Errors of conserved quantities are those at the last time: of the
        true energy, relative; of the total momentum; of the angular momentum.
        """
        error = _squared_error(output, batch)
        figures = {"mse": error.mean(1)} | self._conservation(output, batch)
        steps = SHOWN_STEPS if error.shape[1] > self.config.chunk else ()
        return figures | {f"mse_step_{k}": error[:, k] for k in steps if k < error.shape[1]}

    def _conservation(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """How much the true energy, the momentum and the angular momentum differ between the last time and the first."""
        features = batch["features"][:, None]
        q, p = (output[name][:, [0, -1]] for name in ("positions", "momenta"))
        energy = data.kinetic_energy(p, features) + self.variant.potential(q, features)
        momentum = p.sum(2)
        turning = (q[..., 0] * p[..., 1] - q[..., 1] * p[..., 0]).sum(2)
        return {
            "energy_error": (energy[:, 1] / energy[:, 0] - 1).abs(),
            "momentum_error": torch.linalg.vector_norm(momentum[:, 1] - momentum[:, 0], dim=-1),
            "angular_momentum_error": (turning[:, 1] - turning[:, 0]).abs(),
        }

    def baselines(self) -> dict[str, dict[str, float]]:
        """Nothing changes; straight lines; the best equivariant linear map; and the true energy, whose error is the integrator's."""
        figures: dict[str, dict[str, float]] = {}
        for suffix, test in [("", self.splits.test), *((f" ({name})", samples) for name, samples in self.further_tests.items())]:
            samples = test.to(torch.float64)
            for name, output in self._predictions(samples).items():
                found = self.metrics(output, samples.take(slice(None)))
                figures.setdefault(name, {}).update({f"{metric}{suffix}": float(values.mean()) for metric, values in found.items()})
        return figures

    def _predictions(self, test: Samples) -> dict[str, dict[str, Tensor]]:
        """What needs no network, on samples in float64."""
        batch = test.take(slice(None))
        times = batch["times"][..., None, None]
        first = {name: batch[name][:, None].expand_as(batch[f"target_{name}"]) for name in ("positions", "momenta")}
        straight = first["positions"] + times * first["momenta"] / batch["features"][:, None, :, :1]
        truth = HamiltonianDynamics(
            _Potential(self.variant), 1.0, self.config.method, self.config.substeps, self.config.evaluation_substeps
        )
        predictions = {"no change": first, "straight lines": {**first, "positions": straight}}
        if batch["times"].shape[1] == self.config.chunk:
            predictions["least-squares linear"] = self._linear(batch)
        with torch.no_grad():
            return predictions | {"true energy": truth.eval()(**self.inputs(batch))}

    def _linear(self, test: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For each time, the change as a linear map of position from the centre, momentum and velocity."""
        train = self.splits.train.to(torch.float64).take(slice(None))
        rows, wanted = _linear_rows(train), {name: _changes(train, name) for name in ("positions", "momenta")}
        found = {}
        for name, change in wanted.items():
            coefficients = torch.linalg.lstsq(rows, change).solution
            predicted = (_linear_rows(test) @ coefficients).unflatten(0, (*test["positions"].shape,)).movedim(-1, 1)
            found[name] = test[name][:, None] + predicted
        return found


class _Potential(nn.Module):
    """The true potential in the form of a model."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.symmetry = PointClouds(f"{variant.features}x0e", "1x0e", pool="sum", dimension=2).symmetry(E(2) * S())

    def forward(self, positions: Tensor, features: Tensor, *_: None) -> Float[Tensor, "b 1"]:
        """V, `[b, 1]`."""
        return self.variant.potential(positions, features)[:, None]


def _squared_error(output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Float[Tensor, "b t"]:
    """Mean squared error over particles, positions and momenta."""
    errors = [(output[name] - batch[f"target_{name}"]).square().mean((2, 3)) for name in ("positions", "momenta")]
    return (errors[0] + errors[1]) / 2


def _root_mean_square(x: Tensor) -> float:
    return math.sqrt(float(x.square().mean()))


def _linear_rows(batch: Mapping[str, Tensor]) -> Float[Tensor, "rows 3"]:
    """What a linear map of particles may use without breaking the symmetry."""
    q, p = batch["positions"], batch["momenta"]
    return torch.stack((q - q.mean(1, keepdim=True), p, p / batch["features"][..., :1]), -1).flatten(0, 2)


def _changes(batch: Mapping[str, Tensor], name: str) -> Float[Tensor, "rows t"]:
    """Change of each component since the first time."""
    return (batch[f"target_{name}"] - batch[name][:, None]).movedim(1, -1).flatten(0, 2)


@lru_cache(maxsize=24)
def _samples(variant: str, seed: int, split: str, size: int, particles: int, length: int) -> Samples:
    """One split. Each has generators of its own for states and for chunks, so that no size changes what is drawn elsewhere."""
    setting = VARIANTS[variant]
    generators = [torch.Generator().manual_seed(2 * (len(SPLITS) * seed + SPLITS.index(split)) + i) for i in (0, 1)]
    systems = setting.draw(size, particles, generators[0])
    times = data.chunk_times(size, length, setting.grid, generators[1])
    q, p = setting.states(systems, times)
    tensors = {
        "positions": q[:, 0],
        "momenta": p[:, 0],
        "features": systems.features,
        "times": times - times[:, :1],
        "target_positions": q,
        "target_momenta": p,
    }
    return Samples({name: tensor.contiguous() for name, tensor in tensors.items()}).to(torch.float32)


def _check(config: SpringsConfig) -> None:
    """Refuse what makes no sense."""
    for split, size in zip(SPLITS, config.sizes, strict=True):
        if size < 1:
            raise ConfigError(f"{split}_size is {size}: give 1 or more")
    for name in ("particles", "test_particles"):
        count = getattr(config, name)
        if count is not None and count < 2:
            raise ConfigError(f"{name} is {count}: give 2 or more")
    for name in ("substeps", "evaluation_substeps"):
        count = getattr(config, name)
        if count is not None and count < 1:
            raise ConfigError(f"{name} is {count}: give 1 or more")
    points = VARIANTS[config.variant].grid.points
    if not 2 <= config.chunk <= points:
        raise ConfigError(f"chunk is {config.chunk}: give 2 to {points} times")
    if config.rollout and not config.chunk <= config.rollout < points:
        raise ConfigError(f"rollout is {config.rollout}: give {config.chunk} to {points - 1} steps, or 0 for none")
    if config.dynamics == "direct" and config.method != "rk4":
        raise ConfigError(f"method {config.method!r} needs forces that depend on positions alone: take dynamics 'hamiltonian', or 'rk4'")
