"""The ledger of a study as arrays, along one of its axes: training-set sizes at all steps, or step counts at the largest size.

Axes: a arms, p points (sizes or step counts, ascending), s seeds, t test samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from torsor.study.config import StudyConfig
from torsor.study.runs import RunRecord, RunSpec
from torsor.study.statistics import Draws, Interval, draw, exponentiated, interval


@dataclass(frozen=True)
class Grid:
    """Finished runs along one axis.

    Args:
        config: settings of the study.
        points: training-set sizes or step counts, ascending.
        records: the runs by trained arm, point and seed.
        test_samples: size of the test set.
    """

    config: StudyConfig
    points: tuple[int, ...]
    records: Mapping[tuple[str, int, int], RunRecord]
    test_samples: int

    def of(self, arm: str) -> list[RunRecord]:
        """Finished runs with results for the arm."""
        return [record for record in self.records.values() if record.tested and arm in record.tested]

    def errors(self, arm: str) -> ndarray:
        """The test losses of an arm, `[p, s, t]`, nan where there is no result."""
        empty = (math.nan,) * self.test_samples
        found = {key: record.tested[arm].errors for key, record in self._runs(arm).items() if record.tested and arm in record.tested}
        return np.array([[found.get((point, seed), empty) for seed in self.config.seeds] for point in self.points], dtype=np.float64)

    def draws(self, *arms: str) -> Draws:
        """Bootstrap draws of the log losses of arms, paired."""
        return draw(np.stack([self.errors(arm) for arm in arms]), self.config.bootstrap)

    def losses(self, arm: str) -> tuple[Interval, ...]:
        """Mean test loss of an arm at each point, with its interval."""
        draws = self.draws(arm)
        logs = (interval(float(draws.estimate[0, k]), draws.samples[:, 0, k]) for k in range(len(self.points)))
        return tuple(exponentiated(log) for log in logs)

    def means(self, arm: str, quantity: str) -> tuple[float, ...]:
        """Mean over the finished seeds of an entry of an arm's records, at each point; nan where there is none."""
        runs = self._runs(arm)
        values = [[getattr(run, quantity) for (at, _), run in runs.items() if at == point and run.tested] for point in self.points]
        return tuple(float(np.mean(each)) if each else math.nan for each in values)

    def _runs(self, arm: str) -> dict[tuple[int, int], RunRecord]:
        """The runs whose weights an arm uses, by point and seed."""
        trained = next(each.averages or each.name for each in self.config.compared if each.name == arm)
        return {(point, seed): record for (name, point, seed), record in self.records.items() if name == trained}


def grids(config: StudyConfig, runs: Sequence[tuple[RunSpec, RunRecord]], test_samples: int) -> tuple[Grid, Grid]:
    """The finished runs along the training-set sizes, and along the step counts.

    Args:
        config: settings of the study.
        runs: finished runs, each with what it was to be.
        test_samples: size of the test set.
    """
    steps, size = config.train.steps, config.sizes[-1]
    data = {(spec.arm, spec.size, spec.seed): run for spec, run in runs if spec.budget == steps}
    compute = {(spec.arm, spec.budget, spec.seed): run for spec, run in runs if spec.size == size}
    return Grid(config, config.sizes, data, test_samples), Grid(config, config.budgets, compute, test_samples)
