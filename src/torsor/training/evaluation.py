"""Metrics of a network on a split, for every sample."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.data.samples import Samples
from torsor.errors import NonFiniteError
from torsor.nn.noise import with_noise
from torsor.nn.penalties import total_penalty
from torsor.tasks.base import Task

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}
"""Dtype of the weights and the data for each precision."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics on a split.

    Args:
        per_sample: metric -> values `[len]`, in float64 on the CPU.
    """

    per_sample: Mapping[str, Tensor]

    @property
    def means(self) -> dict[str, float]:
        """Metric -> mean over the samples: the figure."""
        return {name: float(values.mean()) for name, values in self.per_sample.items()}


@dataclass(frozen=True)
class Numerics:
    """Where and in which precision a network runs.

    Args:
        device: of the network and of its inputs.
        precision: one of the keys of `DTYPES`.
    """

    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights and of the data."""
        return DTYPES[self.precision]

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def place(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch on the device, real numbers in the dtype of the weights; integers and masks keep theirs."""
        return {
            name: tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype, non_blocking=True)
            for name, tensor in batch.items()
        }

    def restore(self, output: Any) -> Any:
        """A tensor, or a mapping of tensors, that autocast left in bfloat16, in the dtype of the weights: losses need its digits."""
        if isinstance(output, Mapping):
            return {name: self.restore(value) for name, value in output.items()}
        return output.to(self.dtype) if isinstance(output, Tensor) and output.is_floating_point() else output


def run_network(network: nn.Module, task: Task, batch: Mapping[str, Tensor], numerics: Numerics, noise_seed: int = 0) -> Any:
    """The network's output on a batch that has been placed.

    Args:
        network: what `task.wrap` gave.
        task: whose batch it is.
        batch: the samples.
        numerics: where to compute.
        noise_seed: of what a stochastic network draws.
    """
    inputs = with_noise(network, task.inputs(batch), torch.Generator().manual_seed(noise_seed))
    with numerics.autocast():
        output = network(**inputs)
    return numerics.restore(output)


def objective(network: nn.Module, task: Task, output: Any, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """What training lowers: the task's loss, and the penalties of the network and its parts.

    Args:
        network: what gave the output, in its last call.
        task: whose loss it is.
        output: of the network.
        batch: what it was fed.
    """
    loss, penalty = task.loss(output, batch), total_penalty(network)
    return loss if penalty is None else loss + penalty


def evaluate(network: nn.Module, task: Task, samples: Samples, numerics: Numerics, batch_size: int = 128) -> Evaluation:
    """Metrics of every sample, with the network in evaluation mode.

    Args:
        network: what `task.wrap` gave, on the device and in the dtype of `numerics`.
        task: whose metrics they are.
        samples: a split of it.
        numerics: where to compute.
        batch_size: samples at once.

    Raises:
        NonFiniteError: a metric is not finite; names it and the sample.
    """
    training = network.training
    network.eval()
    parts: dict[str, list[Tensor]] = {}
    try:
        with torch.no_grad():
            for start in range(0, len(samples), batch_size):
                batch = numerics.place(samples.take(slice(start, start + batch_size)))
                output = run_network(network, task, batch, numerics, noise_seed=start)
                for name, values in task.metrics(output, batch).items():
                    parts.setdefault(name, []).append(values.detach().to("cpu", torch.float64))
    finally:
        network.train(training)
    per_sample = task.over_split({name: torch.cat(values) for name, values in parts.items()})
    for name, values in per_sample.items():
        bad = torch.nonzero(~values.isfinite())
        if len(bad):
            raise NonFiniteError(f"metric {name!r} of sample {int(bad[0])} is {float(values[int(bad[0])])}: lower learning_rate or clip")
    return Evaluation(per_sample)


def further_figures(network: nn.Module, task: Task, numerics: Numerics, batch_size: int = 128) -> dict[str, float]:
    """The figures on the task's further test sets, as "METRIC (NAME)"; the arguments are those of `evaluate`.

    Raises:
        NonFiniteError: a metric is not finite; names it, the sample and the test set.
    """
    figures: dict[str, float] = {}
    for name, samples in task.further_tests.items():
        try:
            found = evaluate(network, task, samples, numerics, batch_size)
        except NonFiniteError as error:
            raise NonFiniteError(f"test set {name!r}: {error}") from None
        figures |= {f"{metric} ({name})": value for metric, value in found.means.items()}
    return figures
