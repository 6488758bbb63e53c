import math

import numpy as np
import pytest

from torsor.study.curves import crossing, data_multiplier, slope, trend
from torsor.study.statistics import Interval

SIZES = np.array([100.0, 400.0, 1600.0])


def test_crossing_of_a_power_law_is_exact():
    logs = -0.5 * np.log(SIZES)
    assert crossing(SIZES, logs, -0.5 * math.log(250.0)) == pytest.approx(250.0, rel=1e-12)


def test_crossing_beyond_the_curve_is_infinite():
    logs = -0.5 * np.log(SIZES)
    assert crossing(SIZES, logs, logs[-1] - 0.1) == math.inf
    assert crossing(SIZES, logs, logs[0] + 0.1) == -math.inf


@pytest.mark.parametrize("factor", [1.0, 2.0, 5.0])
def test_data_multiplier_of_shifted_power_laws_is_the_shift(factor):
    strict, plain = -0.5 * np.log(SIZES), -0.5 * np.log(SIZES / factor)
    assert data_multiplier(SIZES, plain, strict) == pytest.approx(factor, rel=1e-12)
    assert data_multiplier(SIZES, strict, plain) == pytest.approx(1 / factor, rel=1e-12)


def test_data_multiplier_beyond_the_sizes_is_not_reached():
    strict, plain = -0.5 * np.log(SIZES), -0.5 * np.log(SIZES / 100)
    assert data_multiplier(SIZES, plain, strict) == math.inf
    assert data_multiplier(SIZES, strict, plain) == 0.0


def test_slope_is_the_change_for_ten_times_the_data():
    curves = np.stack([0.3 * np.log10(SIZES) + 5, -0.1 * np.log10(SIZES)])
    np.testing.assert_allclose(slope(SIZES, curves), [0.3, -0.1], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "sizes", "said"),
    [
        (Interval(0.2, 0.1, 0.3), 3, "WIDENING"),
        (Interval(-0.2, -0.3, -0.1), 3, "NARROWING"),
        (Interval(0.0, -0.02, 0.02), 3, "PARALLEL"),
        (Interval(0.1, -0.1, 0.3), 3, "UNRESOLVED"),
        (Interval(0.2, 0.1, 0.3), 2, "UNRESOLVED"),
        (Interval(0.2, math.nan, math.nan), 3, "UNRESOLVED"),
    ],
)
def test_trend_is_claimed_only_where_the_interval_allows(change, sizes, said):
    assert trend(change, sizes) == said
