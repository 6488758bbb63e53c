"""What a study finds, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torsor.study.config import StudyConfig
from torsor.study.curves import Trend
from torsor.study.fits import PowerLaw
from torsor.study.statistics import Interval, Verdict


@dataclass(frozen=True)
class ArmFindings:
    """One arm of a study; where an entry is a tuple it has one value for each training-set size.

    Args:
        name: the arm.
        summary: what it is.
        model: name of its model.
        loss: mean test loss with its interval over seeds and test samples.
        runs: test loss of every seed; nan where a run failed or is missing.
        median: median over the test samples of the loss, mean over seeds: what a typical sample costs.
        tail: share of the loss that comes from the worst hundredth of the test samples.
        ratio: loss over that of the strict arm, paired.
        p_value: of the ratio being 1 at the largest size, adjusted for the number of arms (Holm).
        share: equivariance share, mean over seeds, with the smallest and largest seed.
        law: power law of the losses; None where there are too few sizes.
        learning_rate: that its runs used.
        parameters: trained numbers.
        flops: of one training.
        seconds: of one training, median over its runs.
        test_flops: of one test sample.
        epochs: how often each training sample was seen.
    """

    name: str
    summary: str
    model: str
    loss: tuple[Interval, ...]
    runs: tuple[tuple[float, ...], ...]
    median: tuple[float, ...]
    tail: tuple[float, ...]
    ratio: tuple[Interval, ...]
    p_value: float
    share: tuple[Interval, ...]
    law: PowerLaw | None
    learning_rate: float
    parameters: int
    flops: float
    seconds: float
    test_flops: float
    epochs: tuple[float, ...]


@dataclass(frozen=True)
class ArmCompute:
    """One arm at the largest training-set size; where an entry is a tuple it has one value for each step count.

    Args:
        name: the arm.
        flops: of one training; nan where no run finished.
        loss: mean test loss with its interval over seeds and test samples.
        runs: test loss of every seed; nan where a run failed or is missing.
        multiplier: how many times more compute than strict it needs for the same loss.
        cross_over: compute of one training at which it and strict change places; inf (0) where they do so only more than a factor ten
            above (below) what both ran, nan where what they ran has nothing in common.
        ahead: the better of it and strict beyond the cross-over, everywhere where there is none; empty where that is not known.
        law: power law of the loss in the compute; None where there are too few step counts.
    """

    name: str
    flops: tuple[float, ...]
    loss: tuple[Interval, ...]
    runs: tuple[tuple[float, ...], ...]
    multiplier: Interval
    cross_over: Interval
    ahead: str
    law: PowerLaw | None


@dataclass(frozen=True)
class ComputeFindings:
    """What the step counts of a study say.

    Args:
        steps: the step counts, ascending.
        arms: the arms.
    """

    steps: tuple[int, ...]
    arms: tuple[ArmCompute, ...]

    def arm(self, name: str) -> ArmCompute:
        """The findings of one arm."""
        return next(arm for arm in self.arms if arm.name == name)


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Args:
        config: its settings.
        task: facts about the task: name, headline, unit, notes, group, exactness, test_samples, baselines.
        provenance: versions and machine.
        arms: the arms.
        verdict: whether the symmetry matters at the largest training-set size.
        reason: why this verdict, in one sentence.
        ratio: loss of plain over strict at the largest size.
        multiplier: how many times more data plain needs for the same loss.
        change: factor by which the ratio plain / strict changes for ten times the data.
        trend: whether the gap grows.
        extra_seeds: seeds that would settle an inconclusive verdict; None where no number would or none is needed.
        recommended: the arm to use.
        recommendation: why.
        cautions: what a reader must know besides.
        finished: number of runs with results.
        missing: number of runs that are still to be done.
        failed: runs that met a number that is not finite, and where.
        compute: what several step counts say; None where all runs have the same.
    """

    config: StudyConfig
    task: dict[str, Any]
    provenance: dict[str, Any]
    arms: tuple[ArmFindings, ...]
    verdict: Verdict
    reason: str
    ratio: Interval
    multiplier: Interval
    change: Interval
    trend: Trend
    extra_seeds: int | None
    recommended: str
    recommendation: str
    cautions: tuple[str, ...]
    finished: int
    missing: int
    failed: tuple[str, ...]
    compute: ComputeFindings | None

    def arm(self, name: str) -> ArmFindings:
        """The findings of one arm."""
        return next(arm for arm in self.arms if arm.name == name)

    def to_mapping(self) -> dict[str, Any]:
        """For JSON, without the versions of `study.json`: numbers that are not finite become the strings "inf", "-inf" and "nan"."""
        return dict(_plain({field: getattr(self, field) for field in self.__dataclass_fields__ if field != "provenance"}))


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
