"""Constant tables: computed once in float64, handed out in any dtype and on any device."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Key = int | str


class _Store:
    """Holds the tensors of all tables as attributes, because compilers follow an attribute to its tensor and take it as an input."""


_STORE = _Store()


class Table:
    """A function of numbers and strings that returns a constant float64 array, made a cached table of tensors.

    Tables are computed with numpy: whatever mode torch is in (tracing, fake tensors, inference), the numbers are real.

    Args:
        build: computes the table; called once for each set of arguments.
    """

    def __init__(self, build: Callable[..., Array]) -> None:
        self.__doc__ = build.__doc__
        self.name = f"{build.__module__}_{build.__qualname__}"
        self._array = lru_cache(maxsize=None)(build)
        self._tensors: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, *key: Key) -> Array:
        """The table in float64, read only."""
        array = self._array(*key)
        array.flags.writeable = False
        return array

    def like(self, x: Tensor, *key: Key) -> Tensor:
        """The table in the dtype and on the device of x. Do not write into it."""
        if torch.compiler.is_compiling():
            return cast(Tensor, getattr(_STORE, _store(self, key, x.dtype, x.device)))
        found = self._tensors.get((x.dtype, x.device, *key))
        if found is None:
            found = cast(Tensor, getattr(_STORE, _store(self, key, x.dtype, x.device)))
            if type(found) is Tensor:
                self._tensors[x.dtype, x.device, *key] = found
        return found


def _store(table: Table, key: tuple[Key, ...], dtype: torch.dtype, device: torch.device) -> str:
    """Name of the attribute of the store that holds the table, which is made where it is missing."""
    name = "_".join(map(str, (table.name, *key, dtype, device))).replace(".", "_").replace(":", "_")
    # a trace without real numbers (torch.export) leaves a stand-in, which is replaced on the next use
    if type(getattr(_STORE, name, None)) is not Tensor:
        with torch.inference_mode(False):
            setattr(_STORE, name, torch.tensor(table(*key), dtype=dtype, device=device))
    return name


# What torch.compiler.assume_constant_result does, without importing the compiler: the name is a constant of the trace.
_store._dynamo_marked_constant = True  # type: ignore[attr-defined]
