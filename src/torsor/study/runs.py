"""One run of a study: train an arm, test it, and measure what its lack of equivariance costs.

A run is named by everything that decides its numbers, so that a study that is interrupted, or grows by seeds, sizes or arms, repeats none.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from torsor.config import from_mapping, named_from_mapping, to_mapping
from torsor.data.samples import Samples
from torsor.dial import OrbitAverage
from torsor.errors import NonFiniteError
from torsor.io import read_json, write_json
from torsor.models import REGISTRY as MODELS
from torsor.study.statistics import equivariance_share
from torsor.tasks import REGISTRY as TASKS
from torsor.tasks.base import INPUTS, Task
from torsor.training import TrainConfig, load_run, train
from torsor.training.cost import count_flops
from torsor.training.evaluation import Numerics, evaluate, run_network
from torsor.training.order import batch_indices, derived_seed
from torsor.training.runs import provenance
from torsor.training.workers import Workers

ONE_AT_A_TIME = threading.Lock()
"""Torch's random numbers, from which weights and dropout are drawn, are one stream a process: threads of an executor take turns."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the numbers of a run.

    Args:
        arm: name of the arm that is trained.
        size: training-set size.
        seed: of initialisation, data order and augmentation.
        learning_rate: the highest learning rate.
        budget: the step count of the study that the run stands for; its own steps differ where arms have their operations in common.
        task: name and settings of the task.
        model: name and settings of the model.
        train: settings of the training.
        averaged_arm: arm that reuses the weights with an orbit average; empty for none.
        tta_samples: group elements of that average; 0 for none.
        share_samples: group elements for the equivariance share.
        augment: whether each training sample is moved by a random group element every time it is seen.
    """

    arm: str
    size: int
    seed: int
    learning_rate: float
    budget: int
    task: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    averaged_arm: str = ""
    tta_samples: int = 0
    share_samples: int = 4
    augment: bool = False

    @property
    def key(self) -> str:
        """Name of the run: arm, size, seed and a digest of all the rest."""
        text = json.dumps(to_mapping(self), sort_keys=True)
        return f"{self.arm}-n{self.size}-s{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Tested:
    """An arm on the test set.

    Args:
        errors: the task's headline metric of every test sample.
        spread: the part of its mean that orbit averaging would remove.
        share: the same as a share.
        flops: floating-point operations for one test sample.
    """

    errors: tuple[float, ...]
    spread: float
    share: float
    flops: float


@dataclass(frozen=True)
class RunRecord:
    """What the ledger holds of a run.

    Args:
        key: name of the run.
        arm: the arm that was trained.
        size: training-set size.
        seed: the seed.
        learning_rate: the highest learning rate.
        failed: why there are no numbers; empty where there are.
        order: digest of which sample was seen when.
        test_set: digest of the test set.
        parameters: trained numbers.
        flops: floating-point operations of the training.
        seconds: of the training.
        epochs: how often each training sample was seen.
        valid: headline metric on the validation split.
        tested: results by arm: the trained one, and the one that averages its weights.
        provenance: versions and machine.
    """

    key: str
    arm: str
    size: int
    seed: int
    learning_rate: float
    failed: str = ""
    order: str = ""
    test_set: str = ""
    parameters: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    epochs: float = 0.0
    valid: float = 0.0
    tested: dict[str, Tested] | None = None
    provenance: dict[str, Any] | None = None

    def write(self, path: Path) -> None:
        """Write the record, atomically."""
        write_json(path, to_mapping(self))

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Read a record.

        Raises:
            CheckpointError: the file is damaged.
            ConfigError: it is no record.
        """
        return from_mapping(cls, read_json(path), str(path))


def execute(spec: RunSpec, directory: Path) -> RunRecord:
    """Train and test one run, alone in its process; one that was interrupted goes on where it stopped.

    Args:
        spec: the run.
        directory: of its checkpoints.

    Returns:
        The record; of a run that met a number that is not finite, with the reason and no results.
    """
    settings = from_mapping(TrainConfig, spec.train, "train")
    task = named_from_mapping(TASKS, spec.task, "task").build()
    model = named_from_mapping(MODELS, spec.model, "model")
    identity: dict[str, Any] = {"key": spec.key, "arm": spec.arm, "size": spec.size, "seed": spec.seed, "learning_rate": spec.learning_rate}
    identity |= {
        "order": _order_digest(settings, len(task.splits.train)),
        "test_set": _digest(task.splits.test),
        "provenance": provenance(),
    }
    try:
        with ONE_AT_A_TIME:
            result = train(task, model, settings, directory, resume=True, augment=spec.augment, quiet=True)
            network = load_run(directory, settings.test_on).model
            tested = measure(spec, task, network, settings)
    except NonFiniteError as error:
        return RunRecord(**identity, failed=str(error))
    return RunRecord(
        **identity,
        parameters=result.parameters,
        flops=float(result.flops),
        seconds=result.seconds,
        epochs=result.samples / len(task.splits.train),
        valid=result.valid[task.headline],
        tested=tested,
    )


def measure(spec: RunSpec, task: Task, network: nn.Module, settings: TrainConfig) -> dict[str, Tested]:
    """Test a trained network as it is, and averaged over the orbit where an arm asks for it.

    Args:
        spec: the run.
        task: whose test split and group are used.
        network: the trained network.
        settings: of its training, for device and precision.
    """
    numerics = Numerics(Workers(settings).device, settings.precision)
    network = network.to(numerics.device)
    batch_size = settings.evaluation_batch_size
    errors = _errors(network, task, numerics, batch_size)
    spread, share = orbit_share(network, task, numerics, spec.share_samples, batch_size)
    flops = _flops_per_sample(network, task, numerics, batch_size)
    tested = {spec.arm: Tested(errors, spread, share, flops)}
    if spec.averaged_arm:
        count = spec.tta_samples
        average = OrbitAverage(network, task.symmetry, count, derived_seed(spec.seed, "test-time augmentation"), max_batch=batch_size * 4)
        # averaging over k fresh elements leaves V / k of the V that it removes in the limit
        left = spread / count
        total = float(np.mean(errors)) if share == 0 else spread / share - spread + left
        averaged = _errors(average, task, numerics, batch_size)
        tested[spec.averaged_arm] = Tested(averaged, left, left / total if total > 0 else 0.0, flops * count)
    return tested


def orbit_share(network: nn.Module, task: Task, numerics: Numerics, samples: int, batch_size: int = 128) -> tuple[float, float]:
    """The equivariance share of a network on the test split of a task, and the part of the loss that it stands for.

    Args:
        network: what `task.wrap` gave.
        task: whose group, test split and headline metric are used.
        numerics: where to compute.
        samples: group elements for each test sample, two or more.
        batch_size: test samples at once.
    """
    orbit = OrbitAverage(network.eval(), task.symmetry, samples, derived_seed(0, "equivariance share"), max_batch=batch_size * 4)
    each: list[np.ndarray] = []
    average: list[np.ndarray] = []
    for start in range(0, len(task.splits.test), batch_size):
        batch = numerics.place(task.splits.test.take(slice(start, start + batch_size)))
        with torch.no_grad(), numerics.autocast():
            outputs = numerics.restore(orbit.orbit(**task.inputs(batch)))
        each.append(np.stack([_headline(task, _pick(outputs, m), batch) for m in range(samples)]))
        average.append(_headline(task, _pick(outputs, None), batch))
    return equivariance_share(np.concatenate(each, axis=1), np.concatenate(average))


def _errors(network: nn.Module, task: Task, numerics: Numerics, batch_size: int) -> tuple[float, ...]:
    """The headline metric of every test sample."""
    values = evaluate(network, task, task.splits.test, numerics, batch_size).per_sample[task.headline]
    return tuple(values.tolist())


def _headline(task: Task, output: Any, batch: Mapping[str, torch.Tensor]) -> np.ndarray:
    """The headline metric of every sample of a batch, in float64."""
    return np.asarray(task.over_split(task.metrics(output, batch))[task.headline].detach().cpu().double().numpy())


def _pick(outputs: Any, index: int | None) -> Any:
    """One draw of the orbit, or the average of all."""
    if isinstance(outputs, Mapping):
        return {name: _pick(value, index) for name, value in outputs.items()}
    return outputs.mean(0) if index is None else outputs[index]


def _flops_per_sample(network: nn.Module, task: Task, numerics: Numerics, batch_size: int) -> float:
    """Floating-point operations of the matrix products for one test sample."""
    batch = numerics.place(task.splits.test.take(slice(batch_size)))
    with torch.no_grad():
        return count_flops(lambda: run_network(network, task, batch, numerics)) / len(next(iter(batch.values())))


def _order_digest(settings: TrainConfig, size: int) -> str:
    """Digest of the samples of every step."""
    digest = hashlib.sha256()
    for step in range(settings.steps):
        digest.update(batch_indices(settings.seed, step, settings.batch_size, size).numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest(samples: Samples) -> str:
    """Digest of what models are fed of a split; targets may be differences from what is fitted to the training samples."""
    digest = hashlib.sha256()
    for name in sorted(name for name in samples if name in INPUTS):
        digest.update(name.encode() + samples[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
