"""What every learning problem has: data, a signature, a contract, a loss, metrics and baselines.

Axes: b batch, n points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.data.samples import Samples, Splits
from torsor.symmetry import Actions, Symmetry

INPUTS = ("positions", "momenta", "adjacency", "x", "features", "scalars", "edge_features", "mask")
"""The keys of a batch that are arguments of a model's `forward`; all others are targets."""


class Task(ABC):
    """A learning problem. Lower is better for every metric.

    Subclasses set the attributes below and have `splits`, deterministic given the configuration and made on first use.

    Attributes:
        config: the frozen dataclass that built the task.
        name: what the registry calls it.
        headline: the metric that figures and verdicts quote.
        signature: what a model is fed and what it has to return, of one of the families of `signatures`.
        symmetry: how the group of the *problem* acts on a batch (inputs and targets) and on the output of the wrapped model. A study
            compares models on this group; `exactness` says whether the data have the symmetry exactly.
        units: unit of every metric.
        notes: sentences to print beside every figure of this task (deviations, partial data).
    """

    config: Any
    name: str
    headline: str
    signature: Any
    symmetry: Symmetry
    units: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def splits(self) -> Splits:
        """Train, validation and test samples."""

    @property
    def further_tests(self) -> Mapping[str, Samples]:
        """Test sets besides the test split, by name, for generalisation beyond the training data; none unless the task has some.

        Their figures stand beside those of the test split as "METRIC (NAME)", which `units` lists too.
        """
        return {}

    def wrap(self, model: nn.Module) -> nn.Module:
        """Turn a model of the signature into the module that is trained; the model itself unless the task derives its output."""
        return model

    def prepare(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:  # noqa: ARG002
        """What the setting itself does to every training batch, such as an augmentation that was published with it; nothing by default.

        Args:
            batch: the whole batch of a step.
            generator: where random numbers come from.
        """
        return dict(batch)

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arguments of `forward` in a batch."""
        return {name: batch[name] for name in INPUTS if name in batch}

    @abstractmethod
    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """What training lowers."""

    @abstractmethod
    def metrics(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Every metric for every sample, in the units of `units`; its mean over the test split is the figure (but see `over_split`)."""

    def over_split(self, kept: Mapping[str, Tensor]) -> Mapping[str, Float[Tensor, "s"]]:
        """Every metric for every sample, from what `metrics` gave for all samples of a split, in their order.

        What it gave, by default. A task with a metric that is no mean over samples, such as average precision, keeps in `metrics` what the
        metric is made of, one row a sample, and gives here each sample's share of the figure: the mean of the shares is the figure.

        Args:
            kept: what `metrics` gave, by name, for the whole split.
        """
        return kept

    @abstractmethod
    def baselines(self) -> dict[str, dict[str, float]]:
        """Figures of what needs no network, on the test split: baseline -> metric -> value. Printed beside every result."""


def with_targets(symmetry: Symmetry, targets: Mapping[str, Actions], output: Any = None) -> Symmetry:
    """A signature's contract made a task's: with the actions on a batch's targets, so that augmentation moves inputs and targets together.

    Args:
        symmetry: the contract of the signature.
        targets: how the group acts on each target of a batch.
        output: how it acts on the output of the wrapped model, where that is not the output of the signature.
    """
    return replace(symmetry, inputs={**symmetry.inputs, **targets}, output=symmetry.output if output is None else output)
