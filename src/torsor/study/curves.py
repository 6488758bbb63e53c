"""What learning curves say beyond one point: how much data or compute an arm saves, where two meet, and whether the gap grows.

Axes: k and j points (training-set sizes or training compute, ascending), r draws.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Real
from numpy import ndarray

from torsor.study.statistics import Interval

Trend = Literal["WIDENING", "PARALLEL", "NARROWING", "UNRESOLVED"]


def crossing(budgets: Real[ndarray, "k"], logs: Float[ndarray, "k"], level: float) -> float:
    """The smallest budget at which a learning curve, straight between its points in log-log, is at or below a log loss.

    Returns:
        The budget; -inf where the curve is below from its first point on, inf where it never is.
    """
    below = np.flatnonzero(logs <= level)
    if len(below) == 0:
        return math.inf
    i = int(below[0])
    if i == 0:
        return -math.inf if logs[0] < level else float(budgets[0])
    share = (logs[i - 1] - level) / (logs[i - 1] - logs[i])
    return float(np.exp(np.log(budgets[i - 1]) + share * (np.log(budgets[i]) - np.log(budgets[i - 1]))))


def multiplier(of_top: Real[ndarray, "k"], top: Float[ndarray, "k"], of_bottom: Real[ndarray, "j"], bottom: Float[ndarray, "j"]) -> float:
    """How many times more data (m_D) or compute (m_C) arm `top` needs, at the loss that the worse of the two reaches with all of its own.

    That is what the worse one spent over what the better one needed for that loss, or the inverse where `top` is the better one.

    Args:
        of_top: the budgets of `top`, training-set sizes or operations.
        top: its log losses.
        of_bottom: the budgets of `bottom`.
        bottom: its log losses.

    Returns:
        The ratio; inf where `bottom`, 0 where `top` is at that loss with its smallest budget already; nan where curves are, and for a
        single point.
    """
    if len(of_top) < 2 or any(np.isnan(values).any() for values in (of_top, top, of_bottom, bottom)):
        return math.nan
    if top[-1] >= bottom[-1]:
        need = crossing(of_bottom, bottom, float(top[-1]))
        return math.inf if need == -math.inf else float(of_top[-1]) / need
    need = crossing(of_top, top, float(bottom[-1]))
    return 0.0 if need == -math.inf else need / float(of_bottom[-1])


def common_gap(
    of_top: Real[ndarray, "k"], top: Float[ndarray, "k"], of_bottom: Real[ndarray, "j"], bottom: Float[ndarray, "j"]
) -> tuple[Float64[ndarray, "m"], Float64[ndarray, "m"]]:
    """Log loss of `top` less that of `bottom`, at every corner of the two curves within the range of budgets that both have.

    Returns:
        Log budgets, ascending, and the gap at each; both empty where the ranges have no stretch in common.
    """
    xs = np.log(of_top), np.log(of_bottom)
    low, high = max(x[0] for x in xs), min(x[-1] for x in xs)
    if not low < high:
        return np.zeros(0), np.zeros(0)
    every = np.unique(np.concatenate((*xs, (low, high))))
    knots = every[(every >= low) & (every <= high)]
    return knots, np.asarray(np.interp(knots, xs[0], top) - np.interp(knots, xs[1], bottom))


def meeting(of_top: Real[ndarray, "k"], top: Float[ndarray, "k"], of_bottom: Real[ndarray, "j"], bottom: Float[ndarray, "j"]) -> float:
    """The budget at which two curves, straight between their points in log-log, change places; the largest of several.

    Where they do not within the range that both have, the straight line through the ends of their gap is followed a factor ten further.

    Returns:
        The budget; inf (0) where they would meet only above (below) that, nan where curves are or have no range in common.
    """
    if any(np.isnan(values).any() for values in (of_top, top, of_bottom, bottom)):
        return math.nan
    knots, gap = common_gap(of_top, top, of_bottom, bottom)
    if len(knots) == 0:
        return math.nan
    changes = np.flatnonzero((gap[:-1] * gap[1:] <= 0) & (gap[:-1] != gap[1:]))
    i, j = (int(changes[-1]), int(changes[-1]) + 1) if len(changes) else (0, -1)
    if gap[i] == gap[j]:
        return math.inf
    place = knots[i] + gap[i] / (gap[i] - gap[j]) * (knots[j] - knots[i])
    beyond = place - knots[-1], knots[0] - place
    return math.inf if beyond[0] > math.log(10) else 0.0 if beyond[1] > math.log(10) else float(np.exp(place))


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
