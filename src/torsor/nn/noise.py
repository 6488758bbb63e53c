"""Noise is data: what a stochastic module draws is an argument of its `forward`.

A stochastic module has a method

    draw(inputs: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]

which gives its noise arguments for these inputs by name, each with the batch axis of the inputs. Its contract says how the group acts on
them. Whoever draws the noise can therefore repeat a call, move the noise along with the input, or hold it fixed from call to call.
Called without noise, a module is deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def draw_noise(module: nn.Module, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
    """The noise arguments of a module for these inputs; none where it has no `draw`, that is where it is deterministic.

    Args:
        module: any module.
        inputs: named arguments of `forward`.
        generator: where the numbers come from; they are drawn on its device and moved to that of the inputs.
    """
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    draw = getattr(inner, "draw", None)
    return {} if draw is None else draw(inputs, generator)


def with_noise(module: nn.Module, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
    """The inputs together with the noise of the module; noise that is among the inputs already is kept."""
    return {**draw_noise(module, inputs, generator), **inputs}
