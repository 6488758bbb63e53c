"""Finding the first tensor that is not finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torsor.tasks.base import Task
from torsor.training.evaluation import Numerics, objective, run_network


def first_non_finite(network: nn.Module, task: Task, batch: Mapping[str, Tensor], numerics: Numerics, noise_seed: int = 0) -> str:
    """Name the first tensor of a training step that is not finite, in the order in which they are computed.

    The batch, the weights, the output of every submodule, the loss and the gradients, last layer first: the pass is run once more with
    hooks, from the random state that the step began with.

    Args:
        network: the network before the optimiser's step.
        task: whose loss it is.
        batch: what it was fed.
        numerics: where it ran.
        noise_seed: of what a stochastic network drew.
    """
    found: list[str] = []
    handles = [module.register_forward_hook(_recorder(name, found)) for name, module in network.named_modules()]
    try:
        output = run_network(network, task, batch, numerics, noise_seed)
        loss = objective(network, task, output, batch)
    finally:
        for handle in handles:
            handle.remove()
    before = [f"{name!r} of the batch" for name, tensor in batch.items() if not _finite(tensor)]
    before += [f"parameter {name!r}" for name, parameter in network.named_parameters() if not _finite(parameter)]
    after = [] if _finite(loss) else ["the loss"]
    if not (before or found or after):
        network.zero_grad()
        torch.autograd.backward(loss)
        gradients = [(name, p.grad) for name, p in network.named_parameters() if p.grad is not None]
        after = [f"the gradient of {name!r}" for name, gradient in reversed(gradients) if not _finite(gradient)]
    return next(iter(before + found + after), "the norm of the gradient")


def _recorder(name: str, found: list[str]) -> Any:
    def record(_module: nn.Module, _arguments: Any, output: Any) -> None:
        if not all(_finite(tensor) for tensor in _tensors(output)):
            found.append(f"the output of {name!r}" if name else "the output of the model")

    return record


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())
