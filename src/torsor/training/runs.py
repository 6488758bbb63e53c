"""The run directory: what was trained, how it went, and the weights.

    run.json                        resolved settings of task, model and training, versions, git revision
    metrics.jsonl                   one record a line: training loss, validation and test metrics by step
    checkpoints/step-*.safetensors  the whole state after a step: weights, average, optimiser; the last two are kept
    checkpoints/best.safetensors    the weights that were best on the validation split
    test_metrics.safetensors        every test metric of every test sample
    result.json                     the figures; there when the run has finished
    .lock                           names the process that trains; the lock itself is the system's and dies with that process

Each file is written atomically, and what a run does after a step depends on that step's checkpoint alone. So a run that was killed at any
moment, between two files too, goes on to the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torsor.config import Settings, checked, from_mapping, name_of, named_from_mapping, named_to_mapping, to_mapping
from torsor.errors import CheckpointError
from torsor.io import (
    CONVENTIONS_VERSION,
    FORMAT_VERSION,
    check_versions,
    load_tensors,
    read_json,
    remove_leftovers,
    save_tensors,
    write_json,
)
from torsor.models import REGISTRY as MODELS
from torsor.signatures import check_family
from torsor.tasks import REGISTRY as TASKS
from torsor.tasks.base import Task
from torsor.training.evaluation import DTYPES
from torsor.training.order import derived_seed
from torsor.training.provenance import provenance as provenance
from torsor.training.settings import TrainConfig


class Upgrade(NamedTuple):
    """How a `run.json` of one format version becomes one of the next.

    Args:
        name: what changed, for the error if it fails.
        apply: old content -> new content.
    """

    name: str
    apply: Callable[[dict[str, Any]], dict[str, Any]]


UPGRADES: dict[int, Upgrade] = {}
"""Format version -> the upgrade from it to the next."""


@dataclass(frozen=True)
class RunConfig(Settings):
    """The resolved settings of a run.

    Args:
        task: configuration of the task.
        model: configuration of the model.
        train: configuration of the training.
        augment: whether every sample was moved by a random element of the task's group.

    Raises:
        ConfigError: a setting has the wrong type; names it.
    """

    task: Any
    model: Any
    train: TrainConfig
    augment: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("task", "model"):
            object.__setattr__(self, name, checked(getattr(self, name)))

    def to_mapping(self) -> dict[str, Any]:
        """As in `run.json`."""
        return {
            "task": named_to_mapping(TASKS, self.task),
            "model": named_to_mapping(MODELS, self.model),
            "train": to_mapping(self.train),
            "augment": self.augment,
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str) -> RunConfig:
        """Read what `to_mapping` gave.

        Args:
            mapping: the settings.
            where: the file they come from, for errors.

        Raises:
            ConfigError: a setting is wrong; names it.
            UnknownNameError: the task or the model is not registered.
        """
        return cls(
            task=named_from_mapping(TASKS, mapping.get("task", {}), f"{where} [task]"),
            model=named_from_mapping(MODELS, mapping.get("model", {}), f"{where} [model]"),
            train=from_mapping(TrainConfig, mapping.get("train", {}), f"{where} [train]"),
            augment=bool(mapping.get("augment", False)),
        )


@dataclass(frozen=True)
class RunDirectory:
    """The files of a run.

    Args:
        path: the directory.
    """

    path: Path

    @property
    def settings(self) -> Path:
        """Resolved settings and versions."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """Records by step."""
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """Weights that were best on the validation split."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def test_metrics(self) -> Path:
        """Test metrics of every sample."""
        return self.path / "test_metrics.safetensors"

    @property
    def result(self) -> Path:
        """Figures of the finished run."""
        return self.path / "result.json"

    def checkpoints(self) -> list[Path]:
        """Checkpoints of the whole state, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def admit(self, config: RunConfig, resume: bool) -> None:
        """Make sure that the directory is free, or with `resume` that it holds this very run.

        Raises:
            CheckpointError: the directory holds a run and `resume` is false, or it holds another run.
        """
        if self.settings.exists():
            if not resume:
                raise CheckpointError(
                    f"{self.path} holds a run already: give resume=True (torsor train --resume {self.path}) or another directory"
                )
            self._require_same(config)

    def create(self, config: RunConfig) -> None:
        """Make the directory, or clear away what a killed process left there."""
        (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / "checkpoints"):
            remove_leftovers(folder)
        self._drop_old_checkpoints()  # a kill may have come between a new checkpoint and this
        if not self.settings.exists():
            versions = {"format": FORMAT_VERSION, "conventions": CONVENTIONS_VERSION}
            write_json(self.settings, {**versions, **config.to_mapping(), "provenance": provenance()})

    def read(self) -> RunConfig:
        """The settings of the run.

        Raises:
            CheckpointError: the directory holds no run, it is damaged, or a newer torsor wrote it.
        """
        if not self.settings.is_file():
            raise CheckpointError(f"{self.path} holds no run: give a directory with a run.json")
        return RunConfig.from_mapping(_upgraded(read_json(self.settings), self.settings), str(self.settings))

    def save_state(self, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write the whole state after a step, then drop all but the last two."""
        save_tensors(self.path / "checkpoints" / f"step-{step:09d}.safetensors", tensors, {"step": step, **metadata})
        self._drop_old_checkpoints()

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest state that can be read, None where there is none yet.

        Raises:
            CheckpointError: there are checkpoints and all are damaged.
        """
        paths = self.checkpoints()
        for path in reversed(paths):
            try:
                return load_tensors(path)
            except CheckpointError as error:
                if path == paths[0]:
                    raise
                warnings.warn(f"{error}; going on from the one before it", stacklevel=2)
        return None

    def _drop_old_checkpoints(self) -> None:
        for old in self.checkpoints()[:-2]:
            old.unlink()

    def _require_same(self, config: RunConfig) -> None:
        old, new = _flat(self.read().to_mapping()), _flat(config.to_mapping())
        for key in [*old, *new]:
            if old.get(key) != new.get(key):
                raise CheckpointError(
                    f"{self.path} was started with {key} = {old.get(key)!r}, not {new.get(key)!r}: give another directory"
                )


class LoadedRun(NamedTuple):
    """A run brought back to life.

    Args:
        task: the task, its data made anew from its settings.
        model: what was trained (`task.wrap` of the model), with its weights, in evaluation mode on the CPU.
        config: the settings.
    """

    task: Task
    model: nn.Module
    config: RunConfig


def load_run(directory: str | Path, weights: str = "best") -> LoadedRun:
    """Rebuild the task and the model of a run and load its weights.

    Args:
        directory: the run directory.
        weights: "best" on the validation split, or "last".

    Raises:
        CheckpointError: the directory holds no run or no checkpoint yet, or it is damaged.
    """
    run = RunDirectory(Path(directory))
    config = run.read()
    task = config.task.build()
    network = build_network(task, config)
    load_weights(network, run, weights)
    return LoadedRun(task, network.eval(), config)


def load_weights(network: nn.Module, run: RunDirectory, weights: str = "best") -> int:
    """Load the weights of a run into a network and return the step they are from.

    Args:
        network: as `build_network` gave it.
        run: the run.
        weights: "best" on the validation split, or "last".

    Raises:
        CheckpointError: there is no checkpoint yet, or it does not fit the network.
    """
    if weights == "best":
        tensors, metadata = load_tensors(run.best)
    else:
        state = run.load_state()
        if state is None:
            raise CheckpointError(f"{run.path} has no checkpoint yet: train on with torsor train --resume {run.path}")
        tensors, metadata = weights_of(state[0]), state[1]
    load_network(network, tensors, str(run.path))
    return int(metadata["step"])


def build_network(task: Task, config: RunConfig) -> nn.Module:
    """The module that is trained, initialised from the seed of the run, in the dtype of its precision, on the CPU.

    Raises:
        SignatureError: the model does not serve the task.
    """
    check_family(name_of(MODELS, config.model), config.model, task.signature, MODELS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.train.seed, "initialisation"))
        return task.wrap(config.model.build(task.signature)).to(DTYPES[config.train.precision])


def weights_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights to use of a whole state: the network's, with the average's in their place where there is one."""
    return part_of(state, "network") | part_of(state, "average")


def part_of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `part/`, without it."""
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in state.items() if name.startswith(f"{part}/")}


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load weights, or say in one line what does not fit.

    Raises:
        CheckpointError: a tensor is missing, too many, or has another shape.
    """
    expected = network.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        holder = "the checkpoint" if name in tensors else "the model"
        raise CheckpointError(f"{where}: only {holder} has a tensor {name!r}: give the model that wrote it")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(f"{where}: {name!r} is {list(tensor.shape)} and the model wants {list(expected[name].shape)}")
    network.load_state_dict(tensors)


def _upgraded(content: Any, path: Path) -> dict[str, Any]:
    """The content of a `run.json` in the current format."""
    try:
        format_version, conventions = int(content["format"]), int(content["conventions"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: it names no format and conventions version") from error
    check_versions(path, format_version, conventions)
    for version in range(format_version, FORMAT_VERSION):
        if version not in UPGRADES:
            raise CheckpointError(f"{path} has format {version}, which this torsor cannot upgrade: train again")
        try:
            content = UPGRADES[version].apply(content)
        except Exception as error:
            raise CheckpointError(f"{path}: the upgrade {UPGRADES[version].name!r} of format {version} failed: {error}") from error
    return dict(content)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as "train.steps" -> value."""
    return dict(_walk(mapping, prefix))


def _walk(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
