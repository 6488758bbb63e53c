import math
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.study.test_runner import study
from tests.study.toy import pretend
from torsor.config import from_mapping
from torsor.errors import CheckpointError
from torsor.report import text, write_report
from torsor.report.words import as_toml, cost, fields, more_data, more_runs
from torsor.study import StudyConfig, run_study
from torsor.study.statistics import Interval

FIELDS = (
    "verdict",
    "loss ratio plain / strict [95%]",
    "data multiplier",
    "compute multiplier",
    "trend",
    "cross-over compute",
    "equivariance share",
    "data-symmetry test",
    "recommended arm",
    "recommended size and steps",
    "runs",
    "learning rates",
    "hardware and versions",
)


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    return root, run_study(study(arms=("augmented+tta", "wrong-group")), root, run=pretend)


class Strict(HTMLParser):
    """Counts tags and refuses those that are closed in the wrong order."""

    VOID = ("meta", "link", "br", "path", "use")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.requests = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.requests += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data", "action") and not str(v).startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.requests += [v for k, v in attributes if k in ("src", "href", "xlink:href") and not str(v).startswith("#")]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parsed(path):
    parser = Strict()
    parser.feed(path.read_text())
    return parser


def test_page_is_whole_and_asks_nobody(findings):
    page = parsed(write_report(findings[0]))
    assert page.open == []
    assert page.requests == []
    assert page.seen.count("svg") == 4
    assert "script" not in page.seen


def test_page_draws_with_the_colours_of_the_reader(findings):
    source = write_report(findings[0]).read_text()
    assert "prefers-color-scheme: dark" in source
    assert "currentColor" in source
    assert "#010203" not in source


def test_page_is_the_same_each_time(findings):
    assert write_report(findings[0]).read_bytes() == write_report(findings[0]).read_bytes()


def test_every_field_of_a_verdict_is_printed(findings):
    said = dict(fields(findings[1]).rows)
    assert set(FIELDS) <= set(said)
    assert all(said.values())
    assert "not supported by these runs" in said["compute multiplier"]
    page = write_report(findings[0]).read_text()
    assert all(field in page for field in FIELDS)


def test_several_step_counts_are_on_the_page_with_their_multiplier_and_cross_over(tmp_path):
    findings = run_study(study(steps=(1, 3)), tmp_path, run=pretend)
    said = dict(fields(findings).rows)
    assert re.match(r"with 128 samples plain needs 1\.\d+ times the FLOP of strict for the same loss \(95% ", said["compute multiplier"])
    assert re.match(r"\d+ MFLOP for one training, with more of them strict is ahead \(95% interval from", said["cross-over compute"])
    page = write_report(tmp_path).read_text()
    assert "More steps instead" in page
    assert "Test loss against the compute of training" in page
    assert "1 steps" in page
    assert "compute / strict [95%]" in text(findings)


def test_one_step_count_has_no_curve_over_compute(findings):
    root, found = findings
    assert "compute / strict" not in text(found)
    assert "More steps instead" not in write_report(root).read_text()


def test_what_lies_beyond_the_sizes_is_said_with_its_bound(findings):
    _, found = findings
    assert more_data(replace(found, multiplier=Interval(math.inf, 2.0, math.inf))) == (
        "plain needs more than 16 times the data of strict for the same loss, not reached within the sizes that were run "
        "(95% interval 2.00 to more than 16)"
    )
    assert "plain needs less than 1/16 times the data" in more_data(replace(found, multiplier=Interval(0.0, 0.0, 0.5)))


def test_an_undecided_verdict_says_how_many_runs_would_settle_it(findings):
    _, found = findings
    said = more_runs(replace(found, verdict="INCONCLUSIVE", extra_seeds=3))
    assert said.startswith("about 3 more seeds at the largest size (6 runs of strict and plain)")


def test_cost_at_test_time_is_told_in_multiples_of_plain(findings):
    _, found = findings
    row = next(row for row in cost(found).rows if row[0] == "augmented+tta")
    assert "(16x plain)" in row[5]


def test_text_names_every_arm_baseline_and_caution(findings):
    shown = text(findings[1])
    assert shown.startswith("MATTERS. With 128 training samples and 10 steps")
    for name in ("strict", "augmented+tta", "plain", "wrong-group", "baseline: zero", "not the choice of training set"):
        assert name in shown


def test_text_from_the_task_is_escaped(tmp_path):
    hostile = study(task={"name": "tests.study.toy:ToyConfig", "note": "<script>alert(1)</script> & more"}, seeds=(0, 1), sizes=(8, 32))
    run_study(hostile, tmp_path, run=pretend)
    source = write_report(tmp_path).read_text()
    assert "<script" not in source
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in source


def test_settings_on_the_page_read_back_as_the_study(findings):
    config = findings[1].config
    assert from_mapping(StudyConfig, tomllib.loads(as_toml(findings[1]))) == config


@pytest.mark.parametrize("changes", [{"seeds": (0,)}, {"sizes": (8,)}, {"sizes": (8, 32)}, {"seeds": (0,), "sizes": (8,)}])
def test_small_designs_say_what_they_cannot_say(tmp_path, changes):
    found = run_study(study(**changes), tmp_path, run=pretend)
    assert parsed(write_report(tmp_path)).open == []
    said = dict(fields(found).rows)
    if len(found.config.sizes) < 3:
        assert said["trend"].startswith("UNRESOLVED")
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", write_report(tmp_path).read_text(), flags=re.DOTALL).replace("inan", "")


def test_failed_and_missing_runs_are_on_the_page(tmp_path):
    def failing(spec, directory):
        record = pretend(spec, directory)
        lost = (spec.arm, spec.size) == ("plain", 8)
        return type(record)(**{**vars(record), "tested": None, "failed": "step 3: the loss is not finite"}) if lost else record

    run_study(study(), tmp_path, run=failing)
    source = write_report(tmp_path).read_text()
    assert source.count("step 3: the loss is not finite") == 3
    assert parsed(tmp_path / "report.html").open == []


def test_several_studies_share_a_page(tmp_path):
    for name in ("one", "two"):
        run_study(study(seeds=(0, 1), sizes=(8, 32)), tmp_path / name, run=pretend)
    path = write_report([tmp_path / "one", tmp_path / "two"])
    assert path == tmp_path / "report.html"
    page = parsed(path)
    assert page.open == []
    assert page.seen.count("svg") == 8


def test_directory_without_study_or_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError):
        write_report(tmp_path)
    with pytest.raises(CheckpointError, match="no directory"):
        write_report([])
