"""Measure how equivariant a module is, on the contract that it carries or on one that is given.

Nothing is believed: a contract is a claim, `equivariance_error` measures it, `assert_equivariant` holds a module to it.
"""

from torsor.check.assertion import assert_equivariant
from torsor.check.measure import contract_of, equivariance_error
from torsor.check.relaxed import RelaxedReport, relaxed_error
from torsor.check.report import EquivarianceReport, MeanRow, Row

__all__ = [
    "EquivarianceReport",
    "MeanRow",
    "RelaxedReport",
    "Row",
    "assert_equivariant",
    "contract_of",
    "equivariance_error",
    "relaxed_error",
]
