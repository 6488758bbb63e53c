"""Which arm is ahead beyond the compute at which two meet."""

import math

import numpy as np
import pytest

from torsor.study.compute import _ahead
from torsor.study.curves import meeting

PLAIN, STRICT = np.array([1.0, 7.0, 100.0]), np.array([2.0, 30.0, 200.0])


@pytest.mark.parametrize("of", [0.5, 50.0, 700.0], ids=["below the runs", "within", "above the runs"])
@pytest.mark.parametrize(("steeper", "ahead"), [("strict", "strict"), ("plain", "plain")])
def test_beyond_the_meeting_the_steeper_law_is_ahead(of, steeper, ahead):
    slopes = {"plain": 0.2, "strict": 0.2, steeper: 0.5}
    plain, strict = -slopes["plain"] * np.log(PLAIN / of), -slopes["strict"] * np.log(STRICT / of)
    place = meeting(PLAIN, plain, STRICT, strict)
    assert place == pytest.approx(of, rel=1e-12)
    assert _ahead("plain", place, PLAIN, plain, STRICT, strict) == ahead


def test_of_arms_that_do_not_meet_the_better_is_ahead_and_of_those_not_compared_none():
    worse, better = -0.2 * np.log(PLAIN) + 1, -0.2 * np.log(STRICT)
    assert _ahead("plain", math.inf, PLAIN, worse, STRICT, better) == "strict"
    assert _ahead("plain", 0.0, PLAIN, better - 2, STRICT, worse) == "plain"
    assert _ahead("plain", math.nan, PLAIN, worse, STRICT, better) == ""
