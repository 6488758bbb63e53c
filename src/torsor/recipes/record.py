"""What a run of a recipe found, in one small JSON file that is committed: figures of the documentation are made of these files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torsor.check import EquivarianceReport
from torsor.config import from_mapping, to_mapping
from torsor.errors import CheckpointError, ConfigError
from torsor.io import read_json, write_json
from torsor.recipes.recipe import Published, Recipe
from torsor.tasks.base import Task
from torsor.tasks.protocol import Measurement, Protocol
from torsor.training import RunResult
from torsor.training.provenance import provenance


@dataclass(frozen=True)
class MeasuredError:
    """The equivariance error of the trained network on test samples.

    Args:
        group: what moved the samples.
        whose: whether that is the group of the model or of the task.
        largest: the largest relative error.
        rounding: relative error that rounding of the moved samples makes by itself.
    """

    group: str
    whose: str
    largest: float
    rounding: float


@dataclass(frozen=True)
class Record:
    """One run of a recipe.

    Args:
        recipe: its name.
        size: how much of it was run.
        seed: of the run.
        date: day on which the run ended, UTC, as 2026-11-21.
        hardware: processor or GPU, and threads.
        torsor: version.
        torch: version.
        git_revision: of the source, None where there was none.
        steps: steps that were trained.
        samples: samples that were seen, each as often as it was.
        seconds_per_step: median over the steps.
        parameters: trained numbers.
        flops_per_step: floating-point operations of a step (matrix products, forward and backward).
        ours: metric -> mean over the test split.
        units: metric -> unit, where it has one.
        method: the published method that the recipe runs, empty where none of the published figures is its own.
        published: the published figures for this size, those of other methods among them.
        baselines: trivial baseline -> metric -> figure.
        equivariance: of the trained network.
    """

    recipe: str
    size: str
    seed: int
    date: str
    hardware: str
    torsor: str
    torch: str
    git_revision: str | None
    steps: int
    samples: int
    seconds_per_step: float
    parameters: int
    flops_per_step: int
    ours: dict[str, float]
    units: dict[str, str] = field(default_factory=dict)
    method: str = ""
    published: tuple[Published, ...] = ()
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    equivariance: tuple[MeasuredError, ...] = ()

    def write(self, folder: str | Path) -> Path:
        """Write `FOLDER/RECIPE-SIZE-SEED.json` and return where; what an earlier run of the same left there is replaced."""
        path = Path(folder) / f"{self.recipe}-{self.size}-{self.seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, to_mapping(self))
        return path

    @classmethod
    def read(cls, path: str | Path) -> Record:
        """The record in a file.

        Raises:
            CheckpointError: there is no such file, or it is damaged.
        """
        try:
            return from_mapping(cls, read_json(path), str(path))
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error


def read_records(folder: str | Path) -> tuple[Record, ...]:
    """All records below a folder, by recipe, size and seed.

    Raises:
        CheckpointError: a file is damaged.
    """
    found = (Record.read(path) for path in Path(folder).rglob("*.json"))
    return tuple(sorted(found, key=lambda record: (record.recipe, record.size, record.seed)))


def record_of(name: str, recipe: Recipe, size: str, task: Task, result: RunResult, measured: Mapping[str, EquivarianceReport]) -> Record:
    """What a finished run of a recipe found.

    Args:
        name: of the recipe.
        recipe: what was run.
        size: how much of it.
        task: its task.
        result: of the run.
        measured: equivariance of the trained network, by whose group it is.

    Raises:
        CheckpointError: `run.json` of the run is missing or damaged.
    """
    settings = read_json(result.directory / "run.json")
    ended = (result.directory / "result.json").stat().st_mtime
    return Record(
        recipe=name,
        size=size,
        seed=settings["train"]["seed"],
        date=datetime.fromtimestamp(ended, UTC).date().isoformat(),
        **_made_with(settings["provenance"], settings["train"]["device"]),
        steps=result.steps,
        samples=result.samples,
        seconds_per_step=result.seconds_per_step,
        parameters=result.parameters,
        flops_per_step=result.flops_per_step,
        ours=dict(result.test),
        units={metric: unit for metric, unit in task.units.items() if unit and metric in result.test},
        method=recipe.method,
        published=recipe.figures(size),
        baselines={baseline: dict(values) for baseline, values in task.baselines().items()},
        equivariance=tuple(
            MeasuredError(report.group, whose, report.max_relative, report.noise_floor) for whose, report in measured.items()
        ),
    )


def record_of_protocol(name: str, recipe: Recipe, size: str, seed: int, protocol: Protocol, found: Measurement) -> Record:
    """What a protocol found: nothing was trained, so it has no steps, and what it calls samples and seconds is of one network.

    Args:
        name: of the recipe.
        recipe: what was run.
        size: how much of it.
        seed: of the first network.
        protocol: what measured.
        found: what it found.
    """
    return Record(
        recipe=name,
        size=size,
        seed=seed,
        date=datetime.now(UTC).date().isoformat(),
        **_made_with(provenance(), "cpu"),
        steps=0,
        samples=found.samples,
        seconds_per_step=found.seconds / found.networks,
        parameters=found.parameters,
        flops_per_step=0,
        ours=dict(found.figures),
        units={metric: unit for metric, unit in protocol.units.items() if unit},
        method=recipe.method,
        published=recipe.figures(size),
    )


def _made_with(made_with: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Machine, versions and revision."""
    return {"hardware": _hardware(made_with, device), **{name: made_with[name] for name in ("torsor", "torch", "git_revision")}}


def _hardware(made_with: Mapping[str, Any], device: str) -> str:
    """The GPU where there was one and it was used, else the processor and its threads."""
    if made_with.get("gpu") and device != "cpu":
        return str(made_with["gpu"])
    threads = made_with["threads"]
    return f"{made_with.get('processor') or made_with['platform']}, {threads} {'thread' if threads == 1 else 'threads'}"
