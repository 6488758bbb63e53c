"""What a training step costs: parameters and floating-point operations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from torsor.tasks.base import Task
from torsor.training.evaluation import Numerics, objective, run_network


@dataclass(frozen=True)
class Cost:
    """Cost of one training step.

    Args:
        parameters: trained numbers.
        flops_per_step: floating-point operations of matrix products and convolutions, forward and backward, over the batch; element-wise
            operations are not counted.
        unused: parameters that the loss does not depend on.
    """

    parameters: int
    flops_per_step: int
    unused: tuple[str, ...]


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of the matrix products and convolutions that run under it, by torch's own formulas.

    `FlopCounterMode` attributes them to modules besides, by hooks that `torch.func.grad` inside a module does not survive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        # a product written into place costs what it costs elsewhere
        formula = flop_registry.get(packet) or flop_registry.get(getattr(torch.ops.aten, packet.__name__.removesuffix("_"), packet))
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def count_flops(function: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions that a call runs, those of its backward pass included."""
    # fused attention hides its matrix products from the counter
    counter = _Counter()
    with counter, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.total


def measure_cost(network: nn.Module, task: Task, batch: Mapping[str, Tensor], numerics: Numerics) -> Cost:
    """Run one forward and backward pass on a copy of the network and count.

    Args:
        network: what is trained; it is not altered.
        task: whose loss it is.
        batch: one global batch, placed.
        numerics: where to compute.
    """
    twin = copy.deepcopy(network)
    flops = count_flops(lambda: torch.autograd.backward(objective(twin, task, run_network(twin, task, batch, numerics), batch)))
    trained = {name: parameter for name, parameter in twin.named_parameters() if parameter.requires_grad}
    return Cost(
        parameters=sum(parameter.numel() for parameter in trained.values()),
        flops_per_step=flops,
        unused=tuple(name for name, parameter in trained.items() if parameter.grad is None),
    )
