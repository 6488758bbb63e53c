"""What a study with several step counts says about training compute: how much an arm saves, and where two arms change places.

Every run has a schedule of its own that ends with its last step, so that a point of a curve is what one gets for that compute. Compute is
counted in floating-point operations of matrix products, forward and backward.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

from torsor.study.curves import common_gap, meeting, multiplier
from torsor.study.findings import ArmCompute, ComputeFindings
from torsor.study.fits import PowerLaw, fit
from torsor.study.grid import Grid
from torsor.study.statistics import Interval, interval


def compute_findings(grid: Grid) -> ComputeFindings | None:
    """The findings along the step counts; None where there is one.

    Args:
        grid: the runs at the largest training-set size.
    """
    if len(grid.points) < 2:
        return None
    return ComputeFindings(grid.points, tuple(_arm(grid, arm.name) for arm in grid.config.compared))


def _arm(grid: Grid, name: str) -> ArmCompute:
    flops = {arm: np.array(grid.means(arm, "flops")) for arm in (name, "strict")}
    ratio, meets, ahead = _against_strict(grid, name, flops)
    return ArmCompute(
        name=name,
        flops=tuple(flops[name].tolist()),
        loss=grid.losses(name),
        runs=tuple(tuple(row) for row in grid.errors(name).mean(-1).tolist()),
        multiplier=ratio,
        cross_over=meets,
        ahead=ahead,
        law=_law(grid, name),
    )


def _against_strict(grid: Grid, name: str, flops: dict[str, ndarray]) -> tuple[Interval, Interval, str]:
    """The compute multiplier of an arm over strict, where the two meet, and which is ahead with more compute than that."""
    if name == "strict":
        unknown = Interval(math.nan, math.nan, math.nan)
        return Interval(1.0, 1.0, 1.0), unknown, ""
    pair = grid.draws(name, "strict")
    top, bottom = pair.estimate
    of_arm, of_strict = flops[name], flops["strict"]
    factors = np.array([multiplier(of_arm, sample[0], of_strict, sample[1]) for sample in pair.samples])
    places = np.array([meeting(of_arm, sample[0], of_strict, sample[1]) for sample in pair.samples])
    factor, place = multiplier(of_arm, top, of_strict, bottom), meeting(of_arm, top, of_strict, bottom)
    ahead = _ahead(name, place, of_arm, top, of_strict, bottom)
    return interval(factor, factors), interval(place, places), ahead


def _ahead(name: str, place: float, of_arm: ndarray, top: ndarray, of_strict: ndarray, bottom: ndarray) -> str:
    """The arm of lower loss beyond the place where the two meet; at all compute that was run, where they do not meet."""
    if math.isnan(place):
        return ""
    knots, gap = common_gap(of_arm, top, of_strict, bottom)
    meets_later = math.isfinite(place) and place > math.exp(knots[-1])
    return "strict" if (gap[-1] > 0) != meets_later else name


def _law(grid: Grid, name: str) -> PowerLaw | None:
    """The power law of the losses in the compute of training."""
    points = [(run.flops, float(np.mean(run.tested[name].errors))) for run in grid.of(name) if run.tested]
    positive = [(flops, loss) for flops, loss in points if flops > 0 and loss > 0]
    return fit(*map(np.array, zip(*positive, strict=True))) if positive else None
