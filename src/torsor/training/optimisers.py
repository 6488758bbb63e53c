"""Optimiser, learning-rate schedule and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from torsor.errors import CheckpointError
from torsor.nn.rates import rate_factors
from torsor.training.settings import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of a step, counted from 0: a function of the step, so that a schedule has no state to save."""
    warmup = math.ceil(config.warmup_fraction * config.steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    span = config.steps - warmup if config.schedule == "cosine" else math.ceil(config.decay_fraction * config.steps)
    progress = min(1.0, max(0.0, 1 - (config.steps - 1 - step) / max(1, span - 1)))
    fall = (1 + math.cos(math.pi * progress)) / 2 if config.schedule == "cosine" else 1 - progress
    return config.learning_rate * (config.final_fraction + (1 - config.final_fraction) * fall)


def make_optimizer(network: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimiser of a run.

    Only tensors with two axes or more decay, since a decayed bias or norm scale only loses accuracy. Each group has a `rate_factor`, by
    which its learning rate is multiplied.
    """
    factors = {parameter: factor for parameter, factor in rate_factors(network).items() if parameter.requires_grad}
    groups = [
        {"params": [p for p in factors if factors[p] == factor and (p.ndim >= 2) == decays], "weight_decay": decay, "rate_factor": factor}
        for factor in sorted({1.0, *factors.values()}, reverse=True)
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=0.9)
    return AdamW(groups, lr=config.learning_rate)


def optimizer_tensors(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state by the name of the parameter: "layers.0.weight/exp_avg"."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        CheckpointError: a tensor belongs to no parameter of the network.
    """
    positions = {parameter: i for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    parameters = dict(network.named_parameters())
    state: dict[int, dict[str, Any]] = {}
    for entry, tensor in tensors.items():
        name, _, key = entry.rpartition("/")
        if name not in parameters:
            raise CheckpointError(f"the checkpoint's optimiser has {name!r}, which the model lacks: give the model it was written by")
        state.setdefault(positions[parameters[name]], {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class Average:
    """Exponential moving average of the weights: average <- decay average + (1 - decay) weights.

    The first steps use the decay (1 + step) / (10 + step) where that is smaller, so that the average soon forgets the initial weights.

    Args:
        network: whose parameters are averaged.
        decay: the decay.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = network
        self.decay = decay
        self.tensors = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.network.named_parameters():
            self.tensors[name].lerp_(parameter, 1 - decay)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a saved average."""
        self._copy_into(self.tensors, tensors)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the averaged weights, until the block ends."""
        parameters = dict(self.network.named_parameters())
        current = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        try:
            self._copy_into(parameters, self.tensors)
            yield
        finally:
            self._copy_into(parameters, current)

    @torch.no_grad()
    def _copy_into(self, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
