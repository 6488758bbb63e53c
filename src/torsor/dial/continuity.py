"""Does the output of a module jump? Move an input along a path, find the step at which the output changes most, and look closer and closer.

Dym, Lawrence, Siegel: Equivariant Frames and the Impossibility of Continuous Canonicalization (2024): canonical positions and small frames
with equal weights make continuous networks jump, where two items change places or two eigenvalues cross. Weighted frames do not.

    found = probe(symmetrized, eigenvalue_crossing(inputs, "positions"))
    found.jump                  # what is left of the largest change when the step is tiny
    report.plots.jumps({"frame": found})

Axes: b batch, n points, d dimension of space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from torsor.check.calls import Caller, Module
from torsor.errors import NonFiniteError, ShapeError

Inputs = Mapping[str, Any]
Path = Callable[[float], Inputs]


@dataclass(frozen=True)
class Jumps:
    """How much the output of a module changes over steps that get shorter and shorter.

    Args:
        position: where on the path, from 0 to 1, the output changes fastest.
        steps: lengths of the steps about that position, each half as long as the one before.
        changes: the norm of the difference of the outputs at the two ends of each step, relative to the root mean square norm of the output
            on the path.
    """

    position: float
    steps: tuple[float, ...]
    changes: tuple[float, ...]

    @property
    def jump(self) -> float:
        """The change over the shortest step: 0, but for rounding and the slope, where the output is continuous."""
        return self.changes[-1]

    @property
    def order(self) -> float:
        """The power of the step with which the change falls from the first to the last: 1 where it is smooth, 0 where it jumps."""
        first, last = (torch.tensor(pair, dtype=torch.float64).clamp(min=1e-300).log() for pair in zip(*self._ends(), strict=True))
        return ((last[1] - first[1]) / (last[0] - first[0])).item()

    def _ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (self.steps[0], self.steps[-1]), (self.changes[0], self.changes[-1])


def straight(start: Inputs, end: Inputs) -> Path:
    """The straight line between two inputs; tensors that are not floating stay those of the start.

    Raises:
        ShapeError: the two do not have the same tensors.
    """
    if start.keys() != end.keys():
        raise ShapeError(f"the start has {', '.join(start)} but the end has {', '.join(end)}: give the same inputs")
    for name, x in start.items():
        if isinstance(x, Tensor) and x.shape != end[name].shape:
            raise ShapeError(f"{name} is {list(x.shape)} at the start but {list(end[name].shape)} at the end: give one shape")

    def path(t: float) -> Inputs:
        floating = {name for name, x in start.items() if isinstance(x, Tensor) and x.is_floating_point()}
        return {name: torch.lerp(x, end[name], t) if name in floating else x for name, x in start.items()}

    return path


def exchange(inputs: Inputs, name: str, first: int, second: int) -> Path:
    """Two items of an input `[b, n, ...]` pass from where they are to the place of the other, all else standing still.

    They cross at the same point, half-way: an order of the items has to change there at the latest.

    Args:
        inputs: named arguments of a module.
        name: the input.
        first: place of the one item.
        second: place of the other.
    """
    x = inputs[name]
    swapped = x.clone()
    swapped[:, [first, second]] = x[:, [second, first]]
    return straight(inputs, {**inputs, name: swapped})


def eigenvalue_crossing(inputs: Inputs, name: str, spread: float = 1.5) -> Path:
    """A cloud of points `[b, n, d]` that is stretched along its first principal axis less and less and along its second more and more.

    Both stretches are the same half-way up to the extents of the cloud, so that the two eigenvalues of its second moments cross.

    Args:
        inputs: named arguments of a module.
        name: the input.
        spread: ratio of the two extents at the start, and its inverse at the end; more than 1.
    """
    x = inputs[name]
    centred = x - x.mean(1, keepdim=True)
    values, axes = torch.linalg.eigh(centred.mT @ centred)
    round_ = (centred @ axes) / values.clamp(min=torch.finfo(x.dtype).tiny).sqrt().unsqueeze(1) * values.mean(-1).sqrt()[:, None, None]

    def path(t: float) -> Inputs:
        stretch = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
        stretch[-1], stretch[-2] = spread ** (0.5 - t), spread ** (t - 0.5)
        stretch[:-2] = torch.linspace(0.25, 0.5, x.shape[-1] - 2, dtype=x.dtype, device=x.device)
        return {**inputs, name: (round_ * stretch) @ axes.mT + x.mean(1, keepdim=True)}

    return path


def probe(module: Module, path: Path, scan: int = 32, halvings: int = 24) -> Jumps:
    """Look for a jump of the output on a path.

    The path is cut into `scan` steps. The one with the largest change is halved again and again, keeping the half with the larger change.
    A change that is continuous goes to zero with the step; the size of a jump stays.

    Args:
        module: a module, or a function of named tensors, that returns one tensor; it is called without gradients, and left as it was.
        path: gives the inputs at each t of [0, 1].
        scan: how many steps to begin with.
        halvings: how often the step is halved; in float64 more than about 40 only show rounding.

    Raises:
        NonFiniteError: the output is not finite somewhere on the path.
    """
    start = path(0.0)
    device = next(x.device for x in start.values() if isinstance(x, Tensor))
    caller = Caller(module, device)

    def output(t: float) -> Tensor:
        y: Tensor = caller(path(t), 0)
        if not torch.isfinite(y).all():
            raise NonFiniteError(f"the output at t = {t:.6g} of the path is not finite: there is no jump to measure")
        return y.double()

    outputs = [output(i / scan) for i in range(scan + 1)]
    size = torch.stack(outputs).square().flatten(1).sum(-1).mean().sqrt().item() or 1.0
    changes = [_distance(a, b) for a, b in pairwise(outputs)]
    worst = max(range(scan), key=changes.__getitem__)
    return _closer(output, worst / scan, (worst + 1) / scan, outputs[worst : worst + 2], size, halvings)


def _closer(output: Callable[[float], Tensor], low: float, high: float, ends: Sequence[Tensor], size: float, halvings: int) -> Jumps:
    """Halve a step again and again, keeping the half in which the output changes more."""
    left, right = ends
    steps, changes = [high - low], [_distance(left, right) / size]
    for _ in range(halvings):
        middle = (low + high) / 2
        between = output(middle)
        if _distance(left, between) >= _distance(between, right):
            high, right = middle, between
        else:
            low, left = middle, between
        steps.append(high - low)
        changes.append(_distance(left, right) / size)
    return Jumps((low + high) / 2, tuple(steps), tuple(changes))


def _distance(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b))
