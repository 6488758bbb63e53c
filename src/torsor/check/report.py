"""What a measurement of equivariance found: rows, a table, and the plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from torsor.groups.base import Element

ROUNDINGS = 64
"""Roundings of the largest coordinate that a module is allowed.

A float keeps a fixed number of digits of the largest number: a cloud of size 1 that was moved 100 away is known to 100 roundings only. An
element that makes the inputs grow by a factor may therefore cost `ROUNDINGS * eps * growth`; at growth 1 this is below every tolerance. For
a linear map that is no rotation the growth is its condition number."""


@dataclass(frozen=True)
class Row:
    """The error of one output under one kind of element of one factor of the group.

    Errors are relative, ||f(g x) - g f(x)|| / ||f||, for each item of the batch (the whole output where there is no batch). ||f|| is the
    larger of the two norms of the item, and not less than the root mean square of these over all items and samples, so that an item whose
    output vanishes by cancellation does not report its rounding as an error of one. Integers and booleans count the share of entries that
    differ. What is not finite has error infinity. Places behind the mask are not compared.

    Args:
        output: name of the output, "output" where there is one.
        factor: factor of the group that moved while the others stood still, or the whole group; the mask's name for "padding".
        kind: kind of element: "identity", "generic", "half turn" ...; "padding" where what is behind the mask was replaced.
        samples: how many elements were tried.
        max_relative: the largest error.
        rms_relative: the root mean square error.
        noise_floor: what the same input twice, and its round trip through g and its inverse, change in the output.
        growth: how many times larger the largest coordinate of the inputs became, or the condition number of a linear map.
        exact: whether the elements act without interpolation; where they do not, the error is that of the grid too.
        element: the worst element; `symmetry.transform(row.element, inputs)` gives its inputs again.
        item: the worst item of the batch.
        seed: seed of the noise of a module that takes a `generator`; for "padding" the seed of what was put behind the mask.
    """

    output: str
    factor: str
    kind: str
    samples: int
    max_relative: float
    rms_relative: float
    noise_floor: float
    growth: float
    exact: bool
    element: Element
    item: int
    seed: int

    @property
    def name(self) -> str:
        """The row in words: "output under SE(3), half turn"."""
        return f"{self.output} under {self.factor}, {self.kind}"

    def allowed(self, tolerance: float, dtype: torch.dtype) -> float:
        """The tolerance of this row: larger where the element makes the inputs lose digits, see `ROUNDINGS`."""
        return max(tolerance, ROUNDINGS * torch.finfo(dtype).eps * self.growth)


@dataclass(frozen=True)
class MeanRow:
    """How far apart the means of a stochastic module's outputs are, over independent draws on both sides.

    Args:
        output: name of the output.
        draws: number of draws on each side.
        error: ||mean f(g x) - g mean f(x)|| relative to ||mean f||, all items together.
        standard_error: the root mean square of `error` that draws as many would have if the two means were equal.
    """

    output: str
    draws: int
    error: float
    standard_error: float

    def agrees(self, rounding: float) -> bool:
        """Whether the means are within five standard errors of each other, and rounding."""
        return self.error <= 5 * self.standard_error + rounding


@dataclass(frozen=True)
class EquivarianceReport:
    """What `equivariance_error` found.

    Args:
        module: name of the module's class.
        group: the group, as a string.
        exactness: what the contract promises.
        dtype: the coarsest floating type among inputs and outputs.
        device: where the inputs were.
        rows: one for each output, factor and kind of element.
        means: for a stochastic module, the errors of the mean against the number of draws.
        unchecked: outputs of which the contract says nothing.
        guarantee: what the module itself says of the size of its error, where a word alone does not.
    """

    module: str
    group: str
    exactness: str
    dtype: torch.dtype
    device: torch.device
    rows: tuple[Row, ...]
    means: tuple[MeanRow, ...] = ()
    unchecked: tuple[str, ...] = ()
    guarantee: str = ""

    @property
    def max_relative(self) -> float:
        """The largest error over the elements that act exactly."""
        return max((row.max_relative for row in self.rows if row.exact), default=0.0)

    @property
    def rms_relative(self) -> float:
        """The root mean square error over the elements that act exactly."""
        exact = [row for row in self.rows if row.exact]
        total = sum(row.samples for row in exact)
        return math.sqrt(sum(row.samples * row.rms_relative**2 for row in exact) / total) if total else 0.0

    @property
    def max_interpolated(self) -> float | None:
        """The largest error over the elements that act by interpolation, None where there are none."""
        return max((row.max_relative for row in self.rows if not row.exact), default=None)

    @property
    def noise_floor(self) -> float:
        """The largest noise floor of all rows."""
        return max((row.noise_floor for row in self.rows), default=0.0)

    def failures(self, tolerance: float) -> tuple[Row, ...]:
        """The rows beyond the tolerance whose elements act exactly, worst first."""
        beyond = [row for row in self.rows if row.exact and not row.max_relative <= row.allowed(tolerance, self.dtype)]
        return tuple(sorted(beyond, key=lambda row: -row.max_relative))

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts; an infinite error is the string "inf"."""
        numbers = {name: _plain(getattr(self, name)) for name in ("max_relative", "rms_relative", "max_interpolated", "noise_floor")}
        head = {name: str(getattr(self, name)) for name in ("module", "group", "exactness", "dtype", "device")}
        rows = [_plain(asdict(replace(row, element=None))) | {"element": _plain(row.element)} for row in self.rows]
        rest = {"means": [_plain(asdict(row)) for row in self.means], "unchecked": list(self.unchecked), "guarantee": self.guarantee}
        return head | numbers | {"rows": rows} | rest

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        title = f"{self.module} under {self.group}: {self.exactness} promised; {dtype} on {self.device}"
        head = ("output", "factor", "kind", "max", "rms", "floor", "")
        lines = [(r.output, r.factor, r.kind, *map(_short, (r.max_relative, r.rms_relative, r.noise_floor)), _note(r)) for r in self.rows]
        total = f"largest relative error {_short(self.max_relative)}, noise floor {_short(self.noise_floor)}"
        interpolated = [] if self.max_interpolated is None else [f"by interpolation {_short(self.max_interpolated)}"]
        text = [title, *_table([head, *lines]), ", ".join([total, *interpolated])]
        if self.means:
            means = [(m.output, str(m.draws), _short(m.error), _short(m.standard_error)) for m in self.means]
            text += ["", "means over independent draws", *_table([("output", "draws", "error", "standard error"), *means])]
        if self.unchecked:
            text.append(f"not in the contract, not checked: {', '.join(self.unchecked)}")
        if self.guarantee:
            text.append(f"it says of itself: {self.guarantee}")
        return "\n".join(text)


def _note(row: Row) -> str:
    """What a reader of the table should know of a row."""
    notes = [] if row.exact else ["interpolated"]
    if row.growth > 10:
        notes.append(f"inputs stretched {row.growth:.0f}x")
    if not math.isfinite(row.max_relative):
        notes.append("not finite")
    return ", ".join(notes)


def _short(number: float) -> str:
    return "0" if number == 0 else f"{number:.1e}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as aligned lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _plain(value: Any) -> Any:
    """Tensors as lists, tuples as lists, infinities as strings."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
