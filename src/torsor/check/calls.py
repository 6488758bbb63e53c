"""Call a module without leaving a trace: no gradients, no draw from the global generators, no running statistics moved."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Module = nn.Module | Callable[..., Any]


class Caller:
    """Calls a module by the names of its arguments, each time from the same state.

    Args:
        module: a module or a function.
        device: where its inputs are.
    """

    def __init__(self, module: Module, device: torch.device) -> None:
        self.module = module
        self.device = device
        self.draws = "generator" in _arguments(module)

    def __call__(self, inputs: Mapping[str, Any], seed: int) -> Any:
        """The output; a module that takes a `generator` gets one with this seed."""
        extra = {"generator": torch.Generator(self.device).manual_seed(seed)} if self.draws else {}
        with torch.no_grad(), _buffers_kept(self.module):
            return self.module(**inputs, **extra)

    def noise(self, inputs: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The noise arguments that a module with a `draw` asks for with these inputs, but for those that are given."""
        draw = getattr(self.module, "draw", None)
        if draw is None:
            return {}
        with torch.no_grad():
            drawn = draw(inputs, torch.Generator(self.device).manual_seed(seed))
        return {name: x for name, x in drawn.items() if inputs.get(name) is None}


def module_name(module: Module) -> str:
    """Name of the class of a module, or of the function."""
    inner = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    return type(inner).__name__ if isinstance(inner, nn.Module) else getattr(inner, "__name__", type(inner).__name__)


@contextmanager
def global_generators_kept(device: torch.device) -> Iterator[None]:
    """Give back the global generators as they were, of the CPU and of the device."""
    with torch.random.fork_rng(
        devices=[] if device.type == "cpu" else [device], device_type="cuda" if device.type == "cpu" else device.type
    ):
        yield


@contextmanager
def _buffers_kept(module: Module) -> Iterator[None]:
    """Put back the buffers that a call changes; a module in train mode moves its running statistics."""
    owners = list(module.modules()) if isinstance(module, nn.Module) else []
    kept = [(owner, name, b, b._version, b.clone()) for owner in owners for name, b in owner._buffers.items() if b is not None]
    try:
        yield
    finally:
        for owner, name, buffer, version, value in kept:
            if buffer._version != version:
                buffer.copy_(value)
            if owner._buffers.get(name) is not buffer:
                owner._buffers[name] = buffer


def _arguments(module: Module) -> Mapping[str, inspect.Parameter]:
    """The parameters of a module's forward, or of a function."""
    inner = getattr(module, "_orig_mod", module)
    return inspect.signature(inner.forward if isinstance(inner, nn.Module) else inner).parameters


def in_double(inputs: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs, with the floating tensors among those named in double precision."""
    return {name: x.double() if name in names and isinstance(x, Tensor) and x.is_floating_point() else x for name, x in inputs.items()}


def rounded_like(given: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs in the types of those given."""
    return {name: x.to(given[name].dtype) if isinstance(x, Tensor) else x for name, x in inputs.items()}
