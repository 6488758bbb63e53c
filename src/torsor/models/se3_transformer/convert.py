"""Kernel weights between their two forms: phi for spherical harmonics in space, h for frames along the edge.

Models store phi, whichever path they compute on. Programs built on SO(2) convolutions store h = T phi.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from torsor.errors import CheckpointError
from torsor.nn.depthwise import DepthwiseKernel
from torsor.nn.tensor_field import TensorFieldKernel, terms
from torsor.representations.clebsch_gordan import radial_tables, so2_tables
from torsor.representations.tables import Array


def kernel_tables(l: int, k: int, parity: bool) -> tuple[Array, Array]:
    """T and its inverse, for slots -min(l, k)..min(l, k), or 0..min(l, k) with parity."""
    first = abs(l - k)
    chosen = [j - first for j in terms(l, k, parity)]
    slots = list(range(min(l, k) if parity else 0, 2 * min(l, k) + 1))
    return so2_tables(l, k)[np.ix_(slots, chosen)], radial_tables(l, k)[np.ix_(chosen, slots)]


def so2_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module, with the weights of every kernel as entries h in the frame of an edge, slots -m..m."""
    return _converted(module, module.state_dict(), 0)


def load_so2_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `so2_state` returns.

    Raises:
        CheckpointError: names differ from those of the module.
    """
    expected = module.state_dict()
    if set(state) != set(expected):
        odd = sorted(set(state) ^ set(expected))[0]
        raise CheckpointError(
            f"{odd!r} is in the state or in the module but not in both: give the state of a module with the same settings"
        )
    module.load_state_dict(_converted(module, state, 1))


def _converted(module: nn.Module, state: Mapping[str, Tensor], direction: int) -> dict[str, Tensor]:
    converted = {name: value.detach().clone() for name, value in state.items()}
    for name, kernel in module.named_modules():
        for key, rows, l, k in _kernel_rows(name, kernel):
            weight = converted[key][rows]
            table = torch.tensor(kernel_tables(l, k, bool(kernel.parity))[direction], device=weight.device)
            converted[key][rows] = torch.tensordot(table, weight.to(table.dtype), 1).to(weight.dtype)
    return converted


def _kernel_rows(name: str, kernel: nn.Module) -> Iterator[tuple[str, slice, int, int]]:
    """Key, rows and degrees of the weights of each pair of degrees."""
    prefix = f"{name}." if name else ""
    if isinstance(kernel, TensorFieldKernel):
        for p, l, k in kernel.pairs:
            yield f"{prefix}weights.{p}_{l}_{k}", slice(None), l, k
    if isinstance(kernel, DepthwiseKernel):
        for l, k in dict.fromkeys(slot[:2] for slot in kernel.slots):
            start = next(i for i, slot in enumerate(kernel.slots) if slot[:2] == (l, k))
            yield f"{prefix}weight", slice(start, start + len(terms(l, k, kernel.parity))), l, k
