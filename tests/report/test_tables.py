import math

import pytest

from torsor.report.tables import Table, number, percent, quantity, seconds, with_interval
from torsor.study.statistics import Interval


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.00"),
        (1.0, "1.00"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (0.012345, "0.0123"),
        (0.00012345, "1.23e-4"),
        (1.5e7, "1.50e7"),
        (-2.5, "-2.50"),
        (math.nan, "n/a"),
        (math.inf, "beyond"),
        (0.99999, "1.00"),
    ],
)
def test_numbers_keep_three_digits(value, said):
    assert number(value) == said


def test_interval_says_when_it_is_unknown():
    assert with_interval(Interval(1.0, 0.5, 2.0)) == "1.00 [0.500, 2.00]"
    assert with_interval(Interval(1.0, math.nan, math.nan)) == "1.00 [unknown]"
    assert with_interval(Interval(math.nan, 1.0, 2.0)) == "n/a"


def test_quantities_have_units():
    assert quantity(1.25e9) == "1.25 G"
    assert seconds(600.0) == "10.0 min"
    assert percent(0.305) == "30%"
    assert percent(1e-9) == "< 0.001%"
    assert percent(-1e-9) == "< 0.001%"


def test_text_table_aligns_numbers_right_and_names_left():
    lines = Table(("arm", "loss"), (("strict", "1"), ("a", "100"))).text().splitlines()
    assert lines == ["arm     loss", "------------", "strict     1", "a        100"]


def test_prose_goes_left():
    assert Table(("field", "finding"), (("a", "b"),), prose=True).text().splitlines()[2] == "a      b"


def test_html_table_escapes_everything():
    html = Table(("<a>", "b&c"), (("<script>", '"x"'),), "<note>").html()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<note>" not in html
    assert "b&amp;c" in html
