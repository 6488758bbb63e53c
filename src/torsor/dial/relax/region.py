"""Inside and outside of the training region: how far from equivariant a model is where it was trained, and where it was not.

Fixed inputs are functions on a box. Outside of it they vanish, and with them what breaks the symmetry: the error there must be rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torsor.check import EquivarianceReport, equivariance_error
from torsor.dial.relax.base import strict
from torsor.dial.relax.fixed_inputs import Box
from torsor.errors import GroupError, ShapeError
from torsor.symmetry import Symmetry

FAR = 1000.0
"""How far outside samples are moved, in units of the largest coordinate of box and samples: beyond where the check's motions bring back."""


@dataclass(frozen=True)
class RegionReport:
    """Equivariance errors of a relaxed model.

    Args:
        inside: on the samples as they are.
        outside: on the samples moved away, None where there are no positions to move.
        strict: of the strict branch, on the samples as they are; None where there is none (a penalty, and a group that cannot be listed).
        deviation: mean |f(x) - strict f(x)| / mean |strict f(x)| on the samples as they are: how much the model uses its freedom.
    """

    inside: EquivarianceReport
    outside: EquivarianceReport | None
    strict: EquivarianceReport | None
    deviation: float | None

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts."""
        reports = {name: getattr(self, name) for name in ("inside", "outside", "strict")}
        return {name: report and report.to_dict() for name, report in reports.items()} | {"deviation": self.deviation}

    def __str__(self) -> str:
        rows = [("in the training region", self.inside), ("outside of it", self.outside), ("strict branch", self.strict)]
        lines = [f"  {name:<22}  {report.max_relative:.1e}" for name, report in rows if report is not None]
        title = f"{self.inside.module} under {self.inside.group}: largest relative equivariance error"
        if self.deviation is not None:
            lines.append(f"  the output moves by {self.deviation:.1%} when the symmetry is enforced")
        return "\n".join([title, *lines])


def region_report(
    module: nn.Module,
    inputs: Mapping[str, Any],
    symmetry: Symmetry | None = None,
    *,
    positions: str = "positions",
    displacement: float | None = None,
    samples: int = 8,
    seed: int = 0,
) -> RegionReport:
    """Measure a relaxed model in and out of its training region.

    Args:
        module: a relaxed model, or what holds one.
        inputs: samples of the training region: arguments of `forward` by name.
        symmetry: what is measured; the module's contract if not given.
        positions: name of the input that says where the samples are. Masked places move too.
        displacement: how far along the diagonal the samples are moved; out of reach of the boxes in the module if not given.
        samples: elements of each kind.
        seed: of the elements; the same for every row.

    Raises:
        ShapeError: the displacement is not finite, or there are no positions to apply it to.
    """

    def measured(given: Mapping[str, Any]) -> EquivarianceReport:
        return equivariance_error(module, given, symmetry, samples, torch.Generator().manual_seed(seed))

    outside = None
    with _evaluating(module):
        if isinstance(inputs.get(positions), Tensor):
            shift = _reach(module, inputs[positions]) if displacement is None else displacement
            outside = measured({**inputs, positions: inputs[positions] + shift})
        elif displacement is not None:
            raise ShapeError(f"inputs has no {positions!r} to displace: it has {', '.join(inputs)}")
        inside = measured(inputs)
        try:
            moved = deviation(module, inputs)
            with strict(module):
                return RegionReport(inside, outside, measured(inputs), moved)
        except GroupError:
            return RegionReport(inside, outside, None, None)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while: in training mode a box would grow with what is measured."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def deviation(module: nn.Module, inputs: Mapping[str, Any]) -> float:
    """How much a relaxed model uses its freedom on these inputs: mean |f(x) - strict f(x)| / mean |strict f(x)|.

    Args:
        module: a relaxed model, or what holds one.
        inputs: arguments of `forward` by name.
    """
    with torch.no_grad():
        free = module(**inputs)
        with strict(module):
            enforced = module(**inputs)
    pairs = [(free[name], enforced[name]) for name in enforced] if isinstance(enforced, Mapping) else [(free, enforced)]
    change = sum(float((a - b).double().abs().sum()) for a, b in pairs)
    return change / max(sum(float(b.double().abs().sum()) for _, b in pairs), torch.finfo(torch.float64).tiny)


def _reach(module: nn.Module, positions: Tensor) -> float:
    """A distance outside of every box, with the samples' own extent to spare."""
    corners = [side for box in module.modules() if isinstance(box, Box) for side in (box.low, box.high)]
    finite = [float(side[side.isfinite()].abs().max()) for side in corners if side.isfinite().any()]
    return FAR * max(1.0, *finite, float(positions.abs().max()))
