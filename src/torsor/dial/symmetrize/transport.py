"""A network carried along by group elements, g f(g^-1 x): what every average over a group, a frame or an orbit is made of.

Axes: b batch, k elements for each item.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torsor.dial.symmetrize.base import repeated
from torsor.dial.symmetrize.straight_through import Relaxation, softened
from torsor.errors import GroupError
from torsor.groups.base import Element
from torsor.symmetry import Symmetry


@dataclass(frozen=True)
class Transport:
    """How a network is called on moved inputs.

    Args:
        symmetry: how the group acts on inputs and outputs; batched.
        max_batch: items that go through the network at once; all if None.
        relaxation: what soft permutation matrices are for, see `Softened`.

    Raises:
        GroupError: the contract is not batched, or `max_batch` is below 1.
    """

    symmetry: Symmetry
    max_batch: int | None = None
    relaxation: Relaxation = "straight-through"

    def __post_init__(self) -> None:
        if not self.symmetry.batched:
            raise GroupError("each item is moved by elements of its own, but this contract has batched=False: put a batch axis first")
        if self.max_batch is not None and self.max_batch < 1:
            raise GroupError(f"max_batch is {self.max_batch}: give at least 1, or None for no bound")

    def terms(self, base: Callable[..., Any], inputs: Mapping[str, Any], elements: Element, soft: Sequence[Tensor | None] = ()) -> Any:
        """The terms g f(g^-1 x): the network's output with k items in place of each, `[b * k, ...]`, those of one input in a row.

        Args:
            base: the network.
            inputs: its arguments by name, `[b, ...]`.
            elements: `[b, k, *element]`, a tuple for a product.
            soft: for each factor soft permutation matrices `[b, k, n, n]` or None; empty for none at all.
        """
        k = _first(elements).shape[1]
        flat = mapped(lambda e: e.flatten(0, 1), elements)
        matrices = tuple(None if s is None else s.flatten(0, 1) for s in soft)
        total = len(_first(flat))
        parts = []
        for rows in _slices(total, self.max_batch or total):
            g = tuple(e[rows] for e in flat) if isinstance(flat, tuple) else flat[rows]
            relaxed = tuple(None if s is None else s[rows] for s in matrices)
            parts.append(self._part(base, _items(inputs, k, rows, total), g, relaxed))
        return parts[0] if len(parts) == 1 else joined(parts)

    def _part(self, base: Callable[..., Any], inputs: dict[str, Any], g: Element, soft: tuple[Tensor | None, ...]) -> Any:
        """One element for each item."""
        there = back = self.symmetry
        if any(s is not None for s in soft):
            there = softened(self.symmetry, [None if s is None else s.mT for s in soft], self.relaxation)
            back = softened(self.symmetry, soft, self.relaxation)
        output = base(**there.transform(self.symmetry.group.inverse(g), inputs))
        return back.transform_output(g, output)


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """Names of the arguments of a module's forward, in order."""
    return tuple(inspect.signature(module.forward).parameters)


def mapped(function: Callable[[Tensor], Tensor], output: Any) -> Any:
    """Apply a function to every tensor of an output or element: a tensor, or a mapping or tuple of such; None stays."""
    if isinstance(output, Mapping):
        return {name: mapped(function, y) for name, y in output.items()}
    if isinstance(output, tuple | list):
        entries = [mapped(function, y) for y in output]
        return type(output)(*entries) if hasattr(output, "_fields") else type(output)(entries)
    return function(output) if isinstance(output, Tensor) else output


def joined(parts: Sequence[Any]) -> Any:
    """Outputs of one structure, one after another along axis 0."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple | list):
        entries = [joined(column) for column in zip(*parts, strict=True)]
        return type(first)(*entries) if hasattr(first, "_fields") else type(first)(entries)
    return torch.cat(list(parts)) if isinstance(first, Tensor) else first


def _first(elements: Element) -> Tensor:
    found: Tensor = elements[0] if isinstance(elements, tuple) else elements
    return found


def _slices(total: int, step: int) -> list[slice]:
    """The rows 0 to total in parts of `step`; one empty part where there are none."""
    return [slice(i, min(i + step, total)) for i in range(0, max(total, 1), max(step, 1))]


def _items(inputs: Mapping[str, Any], k: int, rows: slice, total: int) -> dict[str, Any]:
    """Some rows of the inputs with k copies of each item in a row; no copy is made of what is not used."""
    if rows.stop - rows.start == total:
        return repeated(inputs, k)
    return {
        name: x[torch.arange(rows.start, rows.stop, device=x.device) // k] if isinstance(x, Tensor) else x for name, x in inputs.items()
    }
