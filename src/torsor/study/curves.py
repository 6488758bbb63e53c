"""What learning curves say beyond one training-set size: how much data an arm saves, and whether the gap grows.

Axes: k sizes (training-set sizes, ascending), r draws.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Real
from numpy import ndarray

from torsor.study.statistics import Interval

Trend = Literal["WIDENING", "PARALLEL", "NARROWING", "UNRESOLVED"]


def crossing(sizes: Real[ndarray, "k"], logs: Float[ndarray, "k"], level: float) -> float:
    """The smallest training-set size at which a learning curve, straight between its points in log-log, is at or below a log loss.

    Returns:
        The size; -inf where the curve is below from its first point on, inf where it never is.
    """
    below = np.flatnonzero(logs <= level)
    if len(below) == 0:
        return math.inf
    i = int(below[0])
    if i == 0:
        return -math.inf if logs[0] < level else float(sizes[0])
    share = (logs[i - 1] - level) / (logs[i - 1] - logs[i])
    return float(np.exp(np.log(sizes[i - 1]) + share * (np.log(sizes[i]) - np.log(sizes[i - 1]))))


def data_multiplier(sizes: Real[ndarray, "k"], top: Float[ndarray, "k"], bottom: Float[ndarray, "k"]) -> float:
    """m_D: how many times more data arm `top` needs, at the loss that the worse of the two reaches with all its data.

    That is n_max over what the better one needed for that loss, or the inverse where `top` is the better one.

    Returns:
        The ratio; inf where `bottom`, 0 where `top` is at that loss with the smallest training set already; nan where curves are, and for
        a single size.
    """
    if len(sizes) < 2 or np.isnan(top).any() or np.isnan(bottom).any():
        return math.nan
    worse, better = max(top[-1], bottom[-1]), bottom if top[-1] >= bottom[-1] else top
    need = crossing(sizes, better, worse)
    factor = math.inf if need == -math.inf else float(sizes[-1]) / need
    return factor if better is bottom else 1 / factor


def slope(sizes: Real[ndarray, "k"], logs: Float[ndarray, "*r k"]) -> Float64[ndarray, "*r"]:
    """Least-squares slope of logs against log10 of the size: the change for ten times the data."""
    x = np.log10(np.asarray(sizes, dtype=np.float64))
    x = x - x.mean()
    return np.asarray(logs @ x / (x @ x), dtype=np.float64)


def trend(change: Interval, sizes: int, margin: float = 0.05) -> Trend:
    """Whether the gap grows with data, from the slope of log(plain / strict): the ratio's change for ten times the data.

    UNRESOLVED where there are fewer than three sizes or the interval holds both 0 and changes of more than the margin.
    """
    if sizes < 3 or math.isnan(change.low):
        return "UNRESOLVED"
    if change.low > 0:
        return "WIDENING"
    if change.high < 0:
        return "NARROWING"
    inside = change.low > math.log1p(-margin) and change.high < math.log1p(margin)
    return "PARALLEL" if inside else "UNRESOLVED"
