import math

import numpy as np
import pytest

from torsor.study.curves import common_gap, crossing, meeting, multiplier, slope, trend
from torsor.study.statistics import Interval, draw, interval

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
    assert multiplier(SIZES, plain, SIZES, strict) == pytest.approx(factor, rel=1e-12)
    assert multiplier(SIZES, strict, SIZES, plain) == pytest.approx(1 / factor, rel=1e-12)


def test_data_multiplier_beyond_the_sizes_is_not_reached():
    strict, plain = -0.5 * np.log(SIZES), -0.5 * np.log(SIZES / 100)
    assert multiplier(SIZES, plain, SIZES, strict) == math.inf
    assert multiplier(SIZES, strict, SIZES, plain) == 0.0


@pytest.mark.parametrize(("dearer", "skill"), [(4.0, 2.0), (0.5, 1.5), (10.0, 1.2)])
def test_compute_multiplier_of_power_laws_in_their_own_compute_is_the_closed_form(dearer, skill):
    steps = np.array([10.0, 100.0, 1000.0, 10000.0])
    of_plain, of_strict = steps, dearer * steps
    plain, strict = math.log(skill) - 0.3 * np.log(of_plain), -0.3 * np.log(of_strict)
    exact = skill ** (1 / 0.3)
    assert multiplier(of_plain, plain, of_strict, strict) == pytest.approx(exact, rel=1e-12)
    assert multiplier(of_strict, strict, of_plain, plain) == pytest.approx(1 / exact, rel=1e-12)


@pytest.mark.parametrize(("of", "where"), [(50.0, "within"), (900.0, "above"), (0.2, "below")])
def test_power_laws_meet_where_the_closed_form_says_within_a_factor_ten_of_the_runs(of, where):
    of_plain, of_strict = np.array([1.0, 7.0, 100.0]), np.array([2.0, 30.0, 200.0])
    plain, strict = -0.2 * np.log(of_plain / of), -0.5 * np.log(of_strict / of)
    assert meeting(of_plain, plain, of_strict, strict) == pytest.approx(of, rel=1e-12)
    assert meeting(of_strict, strict, of_plain, plain) == pytest.approx(of, rel=1e-12)
    inside = 2.0 <= of <= 100.0
    assert inside == (where == "within")


def test_curves_that_meet_farther_away_or_never_do_not_meet():
    budgets = np.array([1.0, 10.0])

    def found(of):
        return meeting(budgets, -0.2 * np.log(budgets / of), budgets, -0.5 * np.log(budgets / of))

    assert [found(of) for of in (101, 0.099)] == [math.inf, 0.0]
    assert [found(of) for of in (99, 0.101)] == pytest.approx([99, 0.101], rel=1e-12)
    assert meeting(budgets, np.zeros(2), budgets, np.ones(2)) == math.inf


def test_curves_without_a_common_budget_or_with_a_missing_run_are_not_compared():
    low, high, logs = np.array([1.0, 10.0]), np.array([10.0, 100.0]), np.array([0.0, -1.0])
    assert math.isnan(meeting(low, logs, high, logs))
    assert math.isnan(meeting(low, np.array([0.0, math.nan]), low, logs))
    assert math.isnan(multiplier(np.array([math.nan, 10.0]), logs, low, logs))


def test_the_last_of_several_meetings_counts_and_corners_of_both_curves_do():
    of_top, of_bottom = np.exp([0.0, 1.0, 2.0, 3.0]), np.exp([0.5, 2.5, 3.5])
    top, bottom = np.array([1.0, -1.0, 1.0, -1.0]), np.array([0.0, 0.0, 0.0])
    assert meeting(of_top, top, of_bottom, bottom) == pytest.approx(math.exp(2.5), rel=1e-12)
    knots, gap = common_gap(of_top, top, of_bottom, bottom)
    np.testing.assert_allclose(knots, [0.5, 1, 2, 2.5, 3], atol=1e-12)
    np.testing.assert_allclose(gap, [0, -1, 1, 0, -1], atol=1e-12)


def test_intervals_of_the_compute_multiplier_cover_the_truth():
    steps, truth, covered = np.array([1.0, 3.0, 10.0, 30.0]), 2 ** (1 / 0.5), 0
    generator = np.random.default_rng(5)
    logs = np.stack([math.log(2.0) - 0.5 * np.log(steps), -0.5 * np.log(4 * steps)])
    for _ in range(100):
        noisy = np.exp(logs[..., None] + 0.05 * generator.standard_normal((2, 4, 4)))
        draws = draw(np.repeat(noisy[..., None], 2, -1), 200, seed=1)
        found = interval(0.0, np.array([multiplier(steps, sample[0], 4 * steps, sample[1]) for sample in draws.samples]))
        covered += found.low <= truth <= found.high
    assert 90 <= covered <= 100


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
