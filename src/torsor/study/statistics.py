"""How sure a comparison of arms can be: paired two-level bootstrap draws, intervals, tests and verdicts, as plain numpy functions.

Everything works on log losses, so that differences are ratios. Two kinds of noise are drawn together:

- *test samples*, resampled with replacement, the same ones for every arm, size and seed (all runs share one test set);
- *seeds*. Resampling two or three with replacement understates their noise by a factor sqrt((S - 1) / S) and forgets that it is itself
  estimated, so the seed level is a multivariate Student t draw with the covariance of the seeds' residuals: arms that share a seed's data
  order keep their correlation, and intervals keep their coverage with few seeds. Small training sets make noisier runs, so each size has a
  noise of its own from three seeds on; two seeds are too few for that and share one noise over all sizes.

Axes: a arms, k sizes (training-set sizes, ascending), s seeds, t test samples, r draws. A run that is missing or failed is nan for all t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

Verdict = Literal["MATTERS", "EQUIVALENT", "HURTS", "INCONCLUSIVE"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile interval; infinite ends mean "beyond what was measured", nan means "not measured".

    Args:
        estimate: the value of the data.
        low: lower end.
        high: upper end.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """Log losses of some arms and what they might have been.

    Args:
        estimate: `[a, k]`, nan where no seed finished in all of these arms.
        samples: `[r, a, k]` bootstrap draws.
        seed_variance: `[a, a, k]` covariance of one run's log loss between arms, nan where it could not be estimated.
        freedom: `[k]` degrees of freedom of that estimate; 0 where the noise of a run is unknown.
        complete: `[k]` number of seeds that finished in all of these arms.
        test_variance: `[a, a, k]` covariance of the mean's log loss that comes from the choice of test samples.
    """

    estimate: Float64[ndarray, "a k"]
    samples: Float64[ndarray, "r a k"]
    seed_variance: Float64[ndarray, "a a k"]
    freedom: tuple[int, ...]
    complete: tuple[int, ...]
    test_variance: Float64[ndarray, "a a k"]


def draw(errors: Float[ndarray, "a k s t"], samples: int = 2000, seed: int = 0) -> Draws:
    """Draw the log losses of arms, paired: same test samples and same seeds for all.

    Only seeds that finished in every one of the arms count, size by size. With one seed everywhere the spread of the runs around a straight
    learning curve in log-log stands in for the seed noise, from four sizes on; below that the noise of a run is unknown (`freedom` 0).

    Args:
        errors: non-negative error of every test sample; nan for a run that is missing.
        samples: number of draws.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    errors = np.asarray(errors, dtype=np.float64)
    done = np.isfinite(errors).all(axis=(0, 3))
    weights = generator.multinomial(errors.shape[3], np.full(errors.shape[3], 1 / errors.shape[3]), size=samples) / errors.shape[3]
    with np.errstate(divide="ignore"):
        logs = np.where(done, np.log(np.where(done[None, :, :, None], errors, 1.0).mean(-1)), np.nan)
        resampled = np.log(
            (weights @ np.where(done[None, :, :, None], errors, 1.0).reshape(-1, errors.shape[3]).T).reshape(-1, *logs.shape)
        )
    estimate = _seed_mean(logs, done)
    sampled = _seed_mean(resampled, done)
    variance, freedom = _seed_noise(logs, estimate, done)
    count = done.sum(-1)
    noise = np.stack([_student(generator, variance[..., k], freedom[k], samples) for k in range(len(count))], axis=-1)
    noise /= np.sqrt(np.maximum(count, 1))
    spread = np.stack([np.cov(sampled[:, :, k], rowvar=False).reshape(2 * (len(errors),)) for k in range(len(count))], axis=-1)
    return Draws(estimate, sampled + noise, variance, freedom, tuple(count.tolist()), spread)


def _seed_mean(logs: Float64[ndarray, "*r a k s"], done: ndarray) -> Float64[ndarray, "*r a k"]:
    """Mean over the complete seeds, nan where there is none."""
    count = done.sum(-1)
    total = np.where(done, logs, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _seed_noise(logs: ndarray, estimate: ndarray, done: ndarray) -> tuple[Float64[ndarray, "a a k"], tuple[int, ...]]:
    """Covariance between arms of one run's log loss at each size, and its degrees of freedom."""
    residual = np.where(done, logs - estimate[..., None], 0.0)
    own = np.maximum(done.sum(-1) - 1, 0)
    if own.sum() == 0:
        variance, freedom = _line_noise(estimate, np.asarray(done.any(-1)))
        return np.repeat(variance[..., None], len(own), -1), (freedom,) * len(own)
    squares = np.einsum("aks,bks->abk", residual, residual)
    shared = squares.sum(-1) / own.sum()
    variances = [squares[..., k] / n if n >= 2 else shared for k, n in enumerate(own)]
    return np.stack(variances, axis=-1), tuple(int(n) if n >= 2 else int(own.sum()) for n in own)


def _line_noise(estimate: ndarray, present: ndarray) -> tuple[Float64[ndarray, "a a"], int]:
    """The same from one run a size: what a straight line leaves over. It counts curvature as noise and so errs on the wide side."""
    sizes = np.flatnonzero(present)
    if len(sizes) < 4:
        return np.full((len(estimate), len(estimate)), np.nan), 0
    line = np.vander(np.linspace(-1, 1, len(sizes)), 2)
    residual = (np.eye(len(sizes)) - line @ np.linalg.pinv(line)) @ estimate[:, sizes].T
    return residual.T @ residual / (len(sizes) - 2), len(sizes) - 2


def _student(generator: np.random.Generator, variance: ndarray, freedom: int, samples: int) -> Float64[ndarray, "r a"]:
    """Multivariate Student t draws of one seed's noise; zero where the variance is unknown."""
    if freedom == 0:
        return np.zeros((samples, len(variance)))
    values, vectors = np.linalg.eigh(variance)
    # few seeds leave the covariance without full rank, which a Cholesky factor would refuse
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    scale = np.sqrt(freedom / generator.chisquare(freedom, size=(samples, 1)))
    return np.asarray(generator.standard_normal((samples, len(variance))) @ root.T * scale)


def interval(estimate: float, draws: Float[ndarray, "r"], confidence: float = 0.95) -> Interval:
    """Percentile interval; draws may be infinite (censored), and any nan makes the interval nan."""
    if np.isnan(draws).any() or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    tail = (1 - confidence) / 2
    # the nearest draw, not an interpolation: infinity minus infinity is no number
    low, high = np.quantile(draws, (tail, 1 - tail), method="nearest")
    return Interval(float(estimate), float(low), float(high))


def log_ratio(draws: Draws, top: int, bottom: int, size: int = -1) -> tuple[float, Float64[ndarray, "r"]]:
    """Log of the loss of arm `top` over that of arm `bottom` at one size: estimate and draws."""
    return (
        float(draws.estimate[top, size] - draws.estimate[bottom, size]),
        draws.samples[:, top, size] - draws.samples[:, bottom, size],
    )


def exponentiated(value: Interval) -> Interval:
    """The interval of a ratio from that of its log."""
    return Interval(*(float(np.exp(x)) for x in (value.estimate, value.low, value.high)))


def p_value(draws: Float[ndarray, "r"]) -> float:
    """Two-sided bootstrap p-value of a log ratio being zero; at least 1 / (r + 1)."""
    if np.isnan(draws).any():
        return math.nan
    below, above = (draws <= 0).sum(), (draws >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1)))


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment (1979); nan stays nan and is not counted."""
    ordered = sorted((p, name) for name, p in p_values.items() if not math.isnan(p))
    adjusted = dict.fromkeys(p_values, math.nan)
    highest = 0.0
    for rank, (p, name) in enumerate(ordered):
        highest = max(highest, min(1.0, p * (len(ordered) - rank)))
        adjusted[name] = highest
    return adjusted


def decide(draws: Float[ndarray, "r"], margin: float = 0.05) -> Verdict:
    """The verdict on draws of log(plain / strict).

    MATTERS: the 95% interval of the ratio lies above 1 + margin. HURTS: below 1 - margin. EQUIVALENT: two one-sided tests at 5%, that is
    the 90% interval lies within 1 +- margin. INCONCLUSIVE: none of these.
    """
    wide, narrow = interval(0.0, draws), interval(0.0, draws, 0.90)
    if wide.low > math.log1p(margin):
        return "MATTERS"
    if wide.high < math.log1p(-margin):
        return "HURTS"
    if narrow.low > math.log1p(-margin) and narrow.high < math.log1p(margin):
        return "EQUIVALENT"
    return "INCONCLUSIVE"


def extra_seeds(draws: Draws, top: int, bottom: int, size: int = -1, margin: float = 0.05, limit: int = 1000) -> int | None:
    """How many more seeds at one size would settle an inconclusive ratio, if the estimate stayed where it is; None if `limit` would not.

    The half-width is planned as sqrt(t^2 var_seed / S + z^2 var_test): more seeds shrink the first term only, more test samples the second.
    """
    contrast = np.zeros(len(draws.estimate))
    contrast[top], contrast[bottom] = 1, -1
    gap = float(contrast @ draws.estimate[:, size])
    # the variance of a difference of equal numbers may come out a rounding error below zero
    run, test = (float(np.maximum(contrast @ kind[..., size] @ contrast, 0.0)) for kind in (draws.seed_variance, draws.test_variance))
    if math.isnan(gap + run + test):
        return None
    now = draws.complete[size]
    for count in range(now + 1, now + limit + 1):
        freedom = draws.freedom[size] + count - now
        if _settled(gap, run / count, test, freedom, margin):
            return count - now
    return None


def _settled(gap: float, run: float, test: float, freedom: int, margin: float) -> bool:
    """Whether an estimate with these variances would get a verdict other than INCONCLUSIVE."""
    wide = math.hypot(student_quantile(0.975, freedom) * math.sqrt(run), 1.96 * math.sqrt(test))
    narrow = math.hypot(student_quantile(0.95, freedom) * math.sqrt(run), 1.645 * math.sqrt(test))
    inside = gap - narrow > math.log1p(-margin) and gap + narrow < math.log1p(margin)
    return inside or gap - wide > math.log1p(margin) or gap + wide < math.log1p(-margin)


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t for probability >= 0.5: exact for 1 and 2 degrees of freedom, else Hill's expansion (1970), good to 1%."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / float(freedom) ** (i + 1) for i, term in enumerate(terms)))


def equivariance_share(each: Float[ndarray, "m t"], average: Float[ndarray, "t"]) -> tuple[float, float]:
    """What lack of equivariance costs: the part of the test loss that averaging over the orbit would remove, and its share.

    With f_g(x) = g^-1 f(g x) and fbar its mean over M >= 2 draws, squared errors obey E_g |f_g - y|^2 = |fbar - y|^2 + V, and
    V = M / (M - 1) (mean_m loss(f_m) - loss(fbar)) is the unbiased estimate; for other convex losses it is that of the Jensen gap.

    Args:
        each: loss of every draw for every test sample.
        average: loss of the average of the draws.

    Returns:
        V and V / mean loss; 0 for an equivariant model up to rounding, and possibly a little below.
    """
    each, average = np.asarray(each, dtype=np.float64), np.asarray(average, dtype=np.float64)
    spread = float((each.mean(0) - average).mean()) * len(each) / (len(each) - 1)
    total = float(each.mean())
    return spread, spread / total if total > 0 else 0.0
