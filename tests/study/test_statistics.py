import math

import numpy as np
import pytest
from scipy import stats

from torsor.study.statistics import (
    Draws,
    Interval,
    decide,
    draw,
    equivariance_share,
    exponentiated,
    extra_seeds,
    holm,
    interval,
    log_ratio,
    p_value,
    student_quantile,
)

STUDIES = 200


def simulated(rng, ratio, sizes, seeds, sigma, samples=300, correlation=0.0, skew=0.5):
    """Errors [plain/strict, sizes, seeds, samples] of learning curves n^-0.4 whose plain / strict is `ratio` in truth."""
    curve = -0.4 * np.log(4.0 ** np.arange(sizes))
    shared = rng.normal(size=(sizes, seeds)) * math.sqrt(correlation)
    own = rng.normal(size=(2, sizes, seeds)) * math.sqrt(1 - correlation)
    logs = np.array([math.log(ratio), 0.0])[:, None, None] + curve[None, :, None] + sigma * (shared + own)
    # how hard a test sample is, is common to all runs; what is left differs by arm
    hard = rng.normal(size=samples) * skew + 0.3 * rng.normal(size=(2, 1, 1, samples))
    return np.exp(logs[..., None] + hard - skew**2 / 2 - 0.3**2 / 2)


@pytest.mark.parametrize(("sizes", "seeds", "correlation"), [(3, 3, 0.0), (4, 2, 0.5), (1, 5, 0.0), (5, 1, 0.0)])
def test_interval_of_the_loss_ratio_covers_the_truth_in_95_percent_of_studies(sizes, seeds, correlation):
    rng = np.random.default_rng(1)
    covered, studies = 0, 500
    for i in range(studies):
        draws = draw(simulated(rng, 1 / 0.75, sizes, seeds, 0.05, correlation=correlation), 400, seed=i)
        ratio = exponentiated(interval(*log_ratio(draws, 0, 1)))
        covered += ratio.low <= 1 / 0.75 <= ratio.high
    assert 0.92 <= covered / studies <= 0.98


@pytest.mark.parametrize(("sizes", "seeds"), [(3, 3), (5, 1)])
def test_identical_arms_are_never_said_to_matter(sizes, seeds):
    rng = np.random.default_rng(2)
    verdicts = [decide(log_ratio(draw(simulated(rng, 1.0, sizes, seeds, 0.05), 500, seed=i), 0, 1)[1]) for i in range(STUDIES)]
    assert sum(verdict in ("EQUIVALENT", "INCONCLUSIVE") for verdict in verdicts) >= 0.95 * STUDIES


def test_identical_arms_with_little_noise_are_equivalent():
    rng = np.random.default_rng(3)
    errors = [simulated(rng, 1.0, 3, 5, 0.01, correlation=0.9, samples=1000, skew=0.2) for _ in range(40)]
    verdicts = [decide(log_ratio(draw(e, 300), 0, 1)[1]) for e in errors]
    assert verdicts.count("EQUIVALENT") >= 38


@pytest.mark.parametrize(("ratio", "verdict"), [(1 / 0.75, "MATTERS"), (0.75, "HURTS")])
def test_gap_of_25_percent_is_found_with_five_sizes_and_one_seed(ratio, verdict):
    rng = np.random.default_rng(4)
    verdicts = [decide(log_ratio(draw(simulated(rng, ratio, 5, 1, 0.02), 500, seed=i), 0, 1)[1]) for i in range(STUDIES)]
    assert verdicts.count(verdict) >= 0.95 * STUDIES


CONTRAST = np.array([1, -1])


@pytest.mark.parametrize("seeds", [2, 4])
def test_seed_variance_of_a_difference_is_the_sample_variance_pooled_for_two_seeds(seeds):
    errors = np.random.default_rng(5).lognormal(size=(2, 3, seeds, 50))
    draws = draw(errors, 100)
    difference = np.log(errors.mean(-1))[0] - np.log(errors.mean(-1))[1]
    variances = difference.var(axis=-1, ddof=1)
    wanted = variances if seeds > 2 else np.full(3, variances.mean())
    assert draws.freedom == (3, 3, 3)
    np.testing.assert_allclose(np.einsum("a,abk,b->k", CONTRAST, draws.seed_variance, CONTRAST), wanted, rtol=1e-12)


def test_noise_of_small_training_sets_does_not_widen_the_interval_of_large_ones():
    rng = np.random.default_rng(16)
    sigma = np.array([0.8, 0.02])[:, None, None]
    draws = draw(np.exp(sigma * rng.normal(size=(2, 2, 5, 1)) + 0.1 * rng.normal(size=500)), 1000)
    ends = [interval(*log_ratio(draws, 0, 1, k)) for k in (0, 1)]
    assert ends[0].high - ends[0].low > 10 * (ends[1].high - ends[1].low)


@pytest.mark.parametrize("seeds", [2, 4])
def test_draws_of_a_difference_follow_student_when_test_samples_agree(seeds):
    rng = np.random.default_rng(6)
    draws = draw(np.exp(0.1 * rng.normal(size=(2, 3, seeds, 1))) * np.ones(20), 20000)
    estimate, drawn = log_ratio(draws, 0, 1)
    scale = math.sqrt(CONTRAST @ draws.seed_variance[..., -1] @ CONTRAST / seeds)
    assert stats.kstest((drawn - estimate) / scale, stats.t(3).cdf).pvalue > 0.01


def test_test_sample_noise_is_shared_by_arms():
    hard = np.random.default_rng(7).lognormal(sigma=2, size=200)
    draws = draw(np.stack([np.broadcast_to(c * hard, (1, 3, 200)) for c in (2.0, 1.0)]), 500)
    ratio = exponentiated(interval(*log_ratio(draws, 0, 1)))
    assert ratio.low == pytest.approx(2, rel=1e-6)
    assert ratio.high == pytest.approx(2, rel=1e-6)


def test_a_failed_run_leaves_the_pair_and_nothing_else():
    rng = np.random.default_rng(8)
    errors = rng.lognormal(size=(2, 2, 3, 40))
    holed = errors.copy()
    holed[0, 1, 2] = np.nan
    draws = draw(holed, 100)
    assert draws.complete == (3, 2)
    np.testing.assert_allclose(draws.estimate[:, 1], np.log(errors[:, 1, :2].mean(-1)).mean(-1), rtol=1e-12)
    assert np.isfinite(draws.samples).all()


def test_a_size_without_any_complete_seed_has_no_estimate():
    errors = np.random.default_rng(9).lognormal(size=(2, 2, 2, 40))
    errors[0, 1] = np.nan
    draws = draw(errors, 100)
    assert np.isnan(draws.estimate[:, 1]).all()
    assert math.isnan(interval(*log_ratio(draws, 0, 1)).low)


def test_one_seed_and_few_sizes_leave_the_noise_unknown():
    draws = draw(np.random.default_rng(10).lognormal(size=(2, 3, 1, 40)), 100)
    assert draws.freedom == (0, 0, 0)
    assert np.isnan(draws.seed_variance).all()


def test_holm_agrees_with_a_hand_computed_example():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": math.nan})
    assert adjusted["a"] == pytest.approx(0.03)
    assert adjusted["c"] == pytest.approx(0.06)
    assert adjusted["b"] == pytest.approx(0.06)
    assert math.isnan(adjusted["d"])


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 30, 1000])
@pytest.mark.parametrize("probability", [0.95, 0.975])
def test_student_quantile_is_scipys(freedom, probability):
    assert student_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=0.01)


def test_p_value_of_symmetric_draws_is_one_and_of_clear_draws_is_small():
    assert p_value(np.array([-1.0, 1.0] * 500)) == 1.0
    assert p_value(np.full(999, 0.3)) == pytest.approx(2 / 1000)


def test_planned_seeds_settle_the_verdict():
    rng = np.random.default_rng(11)
    settled = 0
    for i in range(50):
        draws = draw(simulated(rng, 1.3, 2, 2, 0.1, samples=1000, skew=0.2), 300, seed=i)
        more = extra_seeds(draws, 0, 1)
        if more is None:
            continue
        again = draw(simulated(rng, math.exp(log_ratio(draws, 0, 1)[0]), 2, 2 + more, 0.1, samples=1000, skew=0.2), 300, seed=i)
        settled += decide(log_ratio(again, 0, 1)[1]) != "INCONCLUSIVE"
    assert settled >= 25


def test_no_number_of_seeds_settles_what_the_test_set_leaves_open():
    errors = np.random.default_rng(12).lognormal(sigma=3, size=(2, 2, 3, 8))
    assert extra_seeds(draw(errors, 500), 0, 1) is None


def test_interval_keeps_infinite_ends():
    drawn = np.array([1.0] * 50 + [np.inf] * 50)
    assert interval(2.0, drawn) == Interval(2.0, 1.0, math.inf)


def test_equivariance_share_decomposes_the_squared_error():
    rng = np.random.default_rng(13)
    outputs, target = rng.normal(size=(5, 30, 4)), rng.normal(size=(30, 4))
    average = outputs.mean(0)
    each = ((outputs - target) ** 2).sum(-1)
    spread, share = equivariance_share(each, ((average - target) ** 2).sum(-1))
    wanted = ((outputs - average) ** 2).sum(-1).sum(0).mean() / 4
    assert spread == pytest.approx(wanted, rel=1e-12)
    assert each.mean() == pytest.approx(((average - target) ** 2).sum(-1).mean() + spread * 4 / 5, rel=1e-12)
    assert share == pytest.approx(spread / each.mean(), rel=1e-12)


def test_equivariance_share_is_unbiased_in_the_number_of_draws():
    rng = np.random.default_rng(14)
    outputs, target = rng.normal(size=(2, 40000, 1)), np.zeros((40000, 1))
    spread, _ = equivariance_share(((outputs - target) ** 2).sum(-1), ((outputs.mean(0) - target) ** 2).sum(-1))
    assert spread == pytest.approx(1.0, abs=0.03)


def test_arms_whose_errors_are_proportional_need_no_more_seeds_than_their_seed_noise_says():
    generator = np.random.default_rng(0)
    hard = generator.lognormal(sigma=0.3, size=24)
    for gap in generator.uniform(0.02, 0.7, size=20):  # the noise of the test samples cancels, up to rounding to either side
        logs = np.stack([np.full((1, 3), gap), np.zeros((1, 3))]) + 0.003 * generator.standard_normal((2, 1, 3))
        draws = draw(np.exp(logs)[..., None] * hard, 100)
        assert extra_seeds(draws, 0, 1) in (None, *range(1, 20))


def test_an_interval_leaves_out_as_much_on_either_side():
    assert interval(500.0, np.arange(1001.0)) == Interval(500.0, 25.0, 975.0)
    assert interval(500.0, np.arange(1001.0), 0.90) == Interval(500.0, 50.0, 950.0)


@pytest.mark.parametrize(("low", "high", "said"), [(0.02, 0.04, "EQUIVALENT"), (0.02, 0.2, "INCONCLUSIVE"), (0.06, 0.2, "MATTERS")])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_verdict_needs_the_whole_interval_beyond_the_margin(low, high, said, sign):
    draws = sign * 1.1 * np.linspace(low, high, 1000)
    assert decide(draws) == ("HURTS" if said == "MATTERS" and sign < 0 else said)


def test_noise_of_single_runs_is_what_a_line_leaves_over_per_degree_of_freedom():
    logs = np.array([0.0, -1.2, -1.9, -3.3, -3.8])
    draws = draw(np.exp(logs)[None, :, None, None] * np.ones(2), 100)
    left = logs - np.polyval(np.polyfit(np.arange(5), logs, 1), np.arange(5))
    np.testing.assert_allclose(draws.seed_variance[0, 0], left @ left / 3, rtol=1e-10)


def test_seeds_that_settle_a_ratio_are_those_of_students_interval():
    variance = np.diag([0.02**2, 0.0])[..., None]
    planned = Draws(np.array([[0.06], [0.0]]), np.zeros((1, 2, 1)), variance, (1,), (2,), 0 * variance)
    needed = next(n for n in range(3, 99) if 0.06 - stats.t.ppf(0.975, n - 1) * 0.02 / n**0.5 > math.log1p(0.05))
    assert extra_seeds(planned, 0, 1) == needed - 2
