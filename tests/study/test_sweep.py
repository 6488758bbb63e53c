"""A sweep: one study for each value, read from one file, resumed, and reported on one page."""

import pytest

from tests.study.test_runner import calls, study
from tests.study.toy import pretend
from torsor.config import named_to_mapping
from torsor.dial.clone.config import ClonedConfig
from torsor.dial.clone.network import PLANS
from torsor.errors import CheckpointError, ConfigError, UnknownNameError
from torsor.models import REGISTRY as MODELS
from torsor.report import write_report
from torsor.report.sweeps import text
from torsor.study import SweepConfig, analyse_sweep, read_study, read_sweep, run_sweep, shipped_studies
from torsor.study.plan import grid_specs

VALUES = ("calm", "windy")


def sweep(**changes):
    return SweepConfig(study(sizes=(8, 32), seeds=(0, 1), **changes), "note", VALUES)


def test_every_value_has_a_study_of_its_own(tmp_path):
    found = run_sweep(sweep(), tmp_path, run=pretend)
    assert tuple(found) == VALUES
    for value in VALUES:
        assert found[value].config.task["note"] == value
        assert found[value].finished == 12
        assert value in found[value].cautions


def test_a_sweep_that_goes_on_repeats_no_run(tmp_path):
    run_sweep(sweep(), tmp_path, run=pretend)
    again = analyse_sweep(tmp_path)[1]
    found = run_sweep(sweep(), tmp_path, run=pretend)
    assert found == again
    assert {count for value in VALUES for count in calls(tmp_path / f"note={value}").values()} == {1}


def test_the_page_and_the_text_give_an_answer_for_each_value(tmp_path):
    config = sweep()
    found = run_sweep(config, tmp_path, run=pretend)
    page = write_report(tmp_path).read_text()
    said = text(config, found)
    for value in VALUES:
        assert f"note {value}" in page
        assert f"note {value}" in said
    assert page.count("<svg") >= 2 + 4 * len(VALUES)
    assert "MATTERS" in said


def test_studies_that_have_not_begun_are_left_out(tmp_path):
    run_sweep(sweep(), tmp_path, run=pretend)
    (tmp_path / "note=windy" / "study.json").unlink()
    assert tuple(analyse_sweep(tmp_path)[1]) == ("calm",)


def test_a_sweep_is_read_from_a_file(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('task = {name = "nbody"}\nsizes = [10, 20]\nvary = {setting = "particles", values = [3, 5]}\n')
    config = read_sweep(file)
    assert config.values == (3, 5)
    assert config.at(3).task == {"name": "nbody", "particles": 3}
    file.write_text('task = {name = "nbody"}\n')
    assert read_sweep(file) is None


@pytest.mark.parametrize("vary", ['{setting = "particles"}', '"particles"', '{setting = "particles", values = [3], more = 1}'])
def test_a_damaged_table_is_refused(tmp_path, vary):
    file = tmp_path / "my.toml"
    file.write_text(f'task = {{name = "nbody"}}\nvary = {vary}\n')
    with pytest.raises(ConfigError, match="give vary ="):
        read_sweep(file)


def test_one_value_is_no_sweep():
    with pytest.raises(ConfigError, match="two or more"):
        SweepConfig(study(), "note", ("calm",))


def test_an_unknown_setting_is_refused_before_the_first_run(tmp_path):
    config = SweepConfig(study(), "wind", (1, 2))
    with pytest.raises((ConfigError, UnknownNameError), match="wind"):
        run_sweep(config, tmp_path, run=pretend)
    assert not list(tmp_path.iterdir())


def test_a_directory_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no sweep"):
        analyse_sweep(tmp_path)


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_can_be_read(name):
    file = shipped_studies()[name]
    config = read_sweep(file)
    for each in [read_study(file)] if config is None else [config.at(value) for value in config.values]:
        each.validate()
        assert each.summary


def test_the_study_of_cloning_has_an_arm_for_every_regime_and_one_budget():
    config = read_sweep(shipped_studies()["cloning"]).study
    settings = {arm.name: config.model_settings(arm) for arm in config.trained}
    regimes = {name: each.regime for name, each in settings.items() if isinstance(each, ClonedConfig)}
    assert regimes == {name: name for name in PLANS if name != "exact"}  # which is what strict is
    assert {str(each.model) for each in settings.values() if isinstance(each, ClonedConfig)} == {
        str(named_to_mapping(MODELS, settings["strict"]))
    }
    specs = grid_specs(config, dict.fromkeys(settings, 1e-2), {})
    assert len({spec.train["steps"] for spec in specs}) == 1
    assert not any(spec.augment for spec in specs)  # the regime moves inputs itself
