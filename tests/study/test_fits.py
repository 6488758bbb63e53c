import numpy as np
import pytest

from torsor.errors import DataError
from torsor.study.fits import fit

SIZES = np.array([50.0, 100, 200, 400, 800, 1600, 3200])


@pytest.mark.parametrize("exponent", [0.1, 0.35, 0.9])
@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_noise_free_laws_are_recovered(exponent, floor):
    law = fit(SIZES, floor + 7.0 * SIZES**-exponent)
    assert law is not None
    assert law.exponent == pytest.approx(exponent, rel=1e-4)
    assert law.scale == pytest.approx(7.0, rel=1e-4)
    assert law.floor == pytest.approx(floor, rel=1e-4, abs=1e-12)


def test_fit_does_not_depend_on_units():
    rng = np.random.default_rng(0)
    loss = (0.2 + 5 * SIZES**-0.5) * np.exp(0.02 * rng.normal(size=len(SIZES)))
    one, other = fit(SIZES, loss), fit(1000 * SIZES, 3 * loss)
    assert one is not None
    assert other is not None
    assert other.exponent == pytest.approx(one.exponent, rel=1e-8)
    assert other.floor == pytest.approx(3 * one.floor, rel=1e-8)
    assert other.scale == pytest.approx(3 * one.scale * 1000**one.exponent, rel=1e-7)


def test_a_floor_has_to_earn_its_place():
    rng = np.random.default_rng(1)
    laws = [fit(SIZES, 5 * SIZES**-0.5 * np.exp(0.05 * rng.normal(size=len(SIZES)))) for _ in range(20)]
    assert sum(law is not None and law.floor == 0 for law in laws) >= 18


def test_two_sizes_make_no_law():
    assert fit(np.array([10.0, 10, 20]), np.array([1.0, 1.1, 0.8])) is None


def test_failed_runs_are_refused():
    with pytest.raises(DataError, match="leave failed runs out"):
        fit(SIZES, np.where(SIZES == 100, np.nan, 1.0))


def test_law_is_not_extrapolated_by_more_than_a_factor_ten():
    law = fit(SIZES, SIZES**-0.5)
    assert law is not None
    assert law(np.array([32000.0])) == pytest.approx(32000**-0.5, rel=1e-6)
    with pytest.raises(DataError, match="factor ten"):
        law(np.array([1e6]))
