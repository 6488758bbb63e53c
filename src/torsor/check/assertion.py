"""Hold a module to its contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from torsor.check.calls import Module
from torsor.check.measure import contract_of, equivariance_error
from torsor.check.report import ROUNDINGS, EquivarianceReport
from torsor.errors import EquivarianceError, GroupError
from torsor.symmetry import Symmetry

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.01}
"""Relative errors that a correct module stays below: rounding through some tens of layers, by the type it computes in."""


def assert_equivariant(
    module: Module,
    inputs: Mapping[str, Any],
    tolerance: float | None = None,
    symmetry: Symmetry | None = None,
    samples: int = 8,
    generator: torch.Generator | None = None,
) -> EquivarianceReport:
    """Hold a module to its contract.

    Where the contract promises equality only in distribution or expectation and the module draws noise, the means over independent draws
    have to agree within five standard errors instead.

    Args:
        module: a module, or a function of named tensors.
        inputs: its arguments by name.
        tolerance: largest relative error; by type if not given, 1e-10 for float64 and 1e-5 for float32. Elements that make the inputs
            larger are allowed more, see `Row.allowed`.
        symmetry: the contract; the module's own if not given.
        samples: elements of each kind.
        generator: where the elements come from; seed 0 if not given.

    Returns:
        The report.

    Raises:
        EquivarianceError: names the output, the factor and the kind of element that fail; holds the report.
        GroupError: the contract promises no size of error and no tolerance is given.
    """
    contract = contract_of(module, symmetry)
    report = equivariance_error(module, inputs, contract, samples, generator)
    if report.means and contract.exactness in ("in distribution", "in expectation"):
        _require_equal_means(report)
        return report
    if tolerance is None and contract.exactness not in ("exact", "coupled", "relaxed"):
        raise GroupError(f"{report.module} promises {contract.exactness!r}, which has no default tolerance: give tolerance=")
    _require_small_errors(report, default_tolerance(report.dtype) if tolerance is None else tolerance)
    return report


def default_tolerance(dtype: torch.dtype) -> float:
    """The relative error that a correct module stays below when it computes in this type."""
    return TOLERANCES.get(dtype, ROUNDINGS * torch.finfo(dtype).eps)


def _require_small_errors(report: EquivarianceReport, limit: float) -> None:
    """Refuse rows beyond the limit, the worst first."""
    failures = report.failures(limit)
    if not failures:
        return
    worst = failures[0]
    said = f"{worst.name}: relative error {worst.max_relative:.1e}, allowed {worst.allowed(limit, report.dtype):.1e}"
    rest = "".join(f"\n  also {row.name}: {row.max_relative:.1e}" for row in failures[1:])
    raise EquivarianceError(f"{report.module} is not equivariant: {said}{rest}\n\n{report}")


def _require_equal_means(report: EquivarianceReport) -> None:
    """Refuse means that differ by more than five standard errors."""
    worst = max(report.means, key=lambda mean: mean.error - 5 * mean.standard_error)
    if not worst.agrees(default_tolerance(report.dtype)):
        off = f"off by {worst.error:.1e}, standard error {worst.standard_error:.1e}"
        said = f"the mean of {worst.output} over {worst.draws} draws is {off}"
        raise EquivarianceError(f"{report.module} is not equivariant in expectation: {said}\n\n{report}")
