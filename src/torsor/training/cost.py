"""What a training step costs: parameters and floating-point operations."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from torsor.tasks.base import Task
from torsor.training.evaluation import Numerics, run_network


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


def measure_cost(network: nn.Module, task: Task, batch: Mapping[str, Tensor], numerics: Numerics) -> Cost:
    """Run one forward and backward pass on a copy of the network and count.

    Args:
        network: what is trained; it is not altered.
        task: whose loss it is.
        batch: one global batch, placed.
        numerics: where to compute.
    """
    twin = copy.deepcopy(network)
    # fused attention hides its matrix products from the counter
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        torch.autograd.backward(task.loss(run_network(twin, task, batch, numerics), batch))
    trained = {name: parameter for name, parameter in twin.named_parameters() if parameter.requires_grad}
    return Cost(
        parameters=sum(parameter.numel() for parameter in trained.values()),
        flops_per_step=counter.get_total_flops(),
        unused=tuple(name for name, parameter in trained.items() if parameter.grad is None),
    )
