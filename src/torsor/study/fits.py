"""Power laws of learning curves, L(n) = E + B n^-beta, with the floor E free or zero, whichever the corrected Akaike criterion prefers.

Deterministic simulators have no label noise, so E = 0 is the first guess and a free floor has to earn its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from torsor.errors import DataError


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law L(n) = floor + scale * n^-exponent.

    Args:
        floor: the E, zero where it was held there.
        scale: the B.
        exponent: the beta.
        residual: standard deviation of log L around the law.
        points: number of runs it was fitted to.
        smallest: smallest n of the data.
        largest: largest n of the data; extrapolate by no more than a factor ten.
    """

    floor: float
    scale: float
    exponent: float
    residual: float
    points: int
    smallest: float
    largest: float

    def __call__(self, n: Real[ndarray, "..."]) -> Float64[ndarray, "..."]:
        """The law at n.

        Raises:
            DataError: n lies more than a factor ten outside the data.
        """
        n = np.asarray(n, dtype=np.float64)
        if n.min() < self.smallest / 10 or n.max() > self.largest * 10:
            raise DataError(f"the law was fitted from {self.smallest:g} to {self.largest:g}: ask within a factor ten of that")
        return np.asarray(self.floor + self.scale * n**-self.exponent)

    def __str__(self) -> str:
        floor = f"{self.floor:.3g} + " if self.floor else ""
        return f"{floor}{self.scale:.3g} n^-{self.exponent:.3g}"


def fit(n: Real[ndarray, "p"], loss: Real[ndarray, "p"]) -> PowerLaw | None:
    """Fit log loss by least squares, with and without a floor, and keep the better by AICc.

    Args:
        n: training-set sizes, one a run.
        loss: test losses, positive.

    Returns:
        The law, or None where fewer than three different sizes were run.

    Raises:
        DataError: a size or loss is not positive and finite.
    """
    n, loss = np.asarray(n, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    if not (np.isfinite(n).all() and np.isfinite(loss).all() and (n > 0).all() and (loss > 0).all()):
        raise DataError("a power law needs positive finite sizes and losses: leave failed runs out")
    if len(np.unique(n)) < 3:
        return None
    # centred units: the fit does not depend on what a sample or a unit of loss is called
    centre, unit = np.exp(np.log(n).mean()), np.exp(np.log(loss).mean())
    x, y = np.log(n / centre), np.log(loss / unit)
    floor, scale, exponent, square = min((_straight(x, y), _curved(x, y)), key=lambda law: _aicc(law, len(x)))
    return PowerLaw(
        floor * unit,
        scale * unit * centre**exponent,
        exponent,
        math.sqrt(square / len(x)),
        len(x),
        float(n.min()),
        float(n.max()),
    )


_Law = tuple[float, float, float, float]  # floor, scale, exponent, sum of squares


def _aicc(law: _Law, points: int) -> float:
    """Corrected Akaike criterion; the noise variance counts as a parameter."""
    parameters = 4 if law[0] else 3
    if points <= 5:
        return float(parameters)  # too few points for the criterion: the simpler law
    return points * math.log(max(law[3], 1e-24) / points) + 2 * parameters * points / (points - parameters - 1)


def _straight(x: Float64[ndarray, "p"], y: Float64[ndarray, "p"]) -> _Law:
    """The law without a floor: a straight line in log-log."""
    gradient = float(x @ y / (x @ x))
    return 0.0, 1.0, -gradient, float(((y - gradient * x) ** 2).sum())


def _curved(x: Float64[ndarray, "p"], y: Float64[ndarray, "p"]) -> _Law:
    """The law with a floor.

    For each exponent and ratio floor / scale the best scale is a mean, and for each exponent the best ratio is a search in one dimension:
    what is left is one dimension too (variable projection), and no narrow valley.
    """
    middle, width = 1.0, 1.0
    for _ in range(36):
        exponents = np.maximum(middle + width * _STEPS, 1e-3)
        ratios, squares = _best_ratios(x, y, exponents)
        best = int(squares.argmin())
        middle = exponents[best]
        # a best point on the rim means that the valley runs on
        width *= 0.5 if 0 < best < len(_STEPS) - 1 or middle == 1e-3 else 1.0
    shape = np.log(np.exp(ratios[best]) + np.exp(-middle * x))
    scale = float(np.exp((y - shape).mean()))
    return float(np.exp(ratios[best])) * scale, scale, float(middle), float(squares[best])


_STEPS = np.linspace(-1, 1, 13)


def _best_ratios(x: Float64[ndarray, "p"], y: Float64[ndarray, "p"], exponents: ndarray) -> tuple[ndarray, ndarray]:
    """Log of the best floor / scale for each exponent, and the sums of squares that are left."""
    middle, width = np.zeros(len(exponents)), 12.0
    rows = np.arange(len(exponents))
    for _ in range(40):
        ratio = middle[:, None] + width * _STEPS
        shape = np.log(np.exp(ratio)[..., None] + np.exp(-exponents[:, None, None] * x))
        residual = y - shape
        squares = ((residual - residual.mean(-1, keepdims=True)) ** 2).sum(-1)
        best = squares.argmin(-1)
        middle = ratio[rows, best]
        width *= 0.5
    return middle, squares[rows, best]
