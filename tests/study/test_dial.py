"""The arms of the dial: made from the study's models, trained like the others, and measured."""

import tomllib
from dataclasses import replace

import pytest

from tests.study.toy import ToyConfig
from torsor.config import from_mapping
from torsor.errors import ConfigError, UnknownNameError
from torsor.models import MLPConfig, TransformerConfig
from torsor.report import write_report
from torsor.report.plots import styles
from torsor.report.words import as_toml
from torsor.study import StudyConfig, run_study
from torsor.study.arms import ARMS
from torsor.study.plan import grid_specs
from torsor.study.runs import execute
from torsor.training import TrainConfig

SMALL = {"name": "transformer", "width": 8, "heads": 2, "layers": 1}
CONFIG = StudyConfig(
    task={"name": "tests.study.toy:ToyConfig"},
    strict={"name": "egnn", "hidden": 8, "layers": 1},
    plain=SMALL,
    symmetrized={"samples": 2, "evaluation_samples": 3},
    relaxed={"method": "fixed-inputs", "inputs": 2},
    cloned={"student": SMALL, "cloning": {"steps": 4, "batch_size": 8, "probe_size": 16}},
    train=TrainConfig(steps=2, batch_size=4, device="cpu"),
    arms=("relaxed", "symmetrized", "cloned"),
    sizes=(8,),
    seeds=(0,),
)


@pytest.mark.parametrize("arm", ["relaxed", "symmetrized", "cloned"])
def test_an_arm_of_the_dial_is_trained_and_measured(tmp_path, arm):
    spec = next(spec for spec in grid_specs(CONFIG, dict.fromkeys(ARMS, 1e-3), {}) if spec.arm == arm)
    record = execute(spec, tmp_path)
    assert not record.failed
    assert len(record.tested[arm].errors) == 24
    assert record.tested[arm].share > 0  # two steps: a clone and a relaxed network are off, two samples are not the whole group
    assert record.flops > 0


def test_arms_are_made_of_the_models_of_the_study():
    symmetrized, relaxed, cloned = (CONFIG.model_settings(ARMS[name]) for name in ("symmetrized", "relaxed", "cloned"))
    assert symmetrized.model["name"] == "transformer"
    assert relaxed.model["name"] == cloned.model["name"] == "egnn"
    assert isinstance(CONFIG.model_settings(ARMS["plain"]), TransformerConfig)
    signature = ToyConfig().build().signature
    assert type(symmetrized.build(signature).base).__name__ == "Transformer"


def test_a_wrong_setting_of_an_arm_is_named_before_the_first_run():
    with pytest.raises(ConfigError, match="strenght"):
        StudyConfig(task={"name": "tests.study.toy:ToyConfig"}, relaxed={"strenght": 1.0}, arms=("relaxed",)).validate()


def test_an_arm_that_is_not_compared_needs_no_settings():
    config = StudyConfig(task={"name": "tests.study.toy:ToyConfig"}, plain={"name": "mlp"}, relaxed={"strenght": 1.0})
    config.validate()
    assert isinstance(config.model_settings(ARMS["plain"]), MLPConfig)


# -- variants of arms ---------------------------------------------------------------------------------------------------------------------

VARIANTS = {
    "short": {"of": "cloned", "cloning": {"steps": 2}},
    "broad": {"of": "plain", "width": 16},
    "turned": {"of": "augmented", "layers": 2},
}


def with_variants(**changes):
    return replace(CONFIG, variants=VARIANTS, arms=("cloned", *VARIANTS), **changes)


def test_a_variant_is_its_arm_but_for_what_it_sets():
    known = with_variants().known
    arms = with_variants().compared
    assert [arm.name for arm in arms] == ["strict", "cloned", "short", "turned", "plain", "broad"]
    cloned, short = (with_variants().model_settings(known[name]) for name in ("cloned", "short"))
    assert short == replace(cloned, cloning=replace(cloned.cloning, steps=2))
    assert with_variants().model_settings(known["broad"]) == TransformerConfig(width=16, heads=2, layers=1)
    assert with_variants().model_settings(known["plain"]) == TransformerConfig(**{k: v for k, v in SMALL.items() if k != "name"})
    assert known["short"].summary == "cloned with cloning {'steps': 2}"


def test_a_variant_that_names_another_model_takes_nothing_of_the_first(tmp_path):
    config = replace(CONFIG, variants={"other": {"of": "strict", "name": "transformer", "layers": 2}}, arms=("other",))
    assert config.model_settings(config.known["other"]) == TransformerConfig(layers=2)
    assert config.network(config.known["other"])["name"] == "transformer"
    findings = run_study(replace(config, sizes=(4,), seeds=(0,), workers=0, bootstrap=100), tmp_path)
    assert (findings.arm("strict").model, findings.arm("other").model) == ("egnn", "transformer")


def test_variants_have_the_budget_of_all_others_and_move_samples_where_their_arm_does():
    config = with_variants()
    specs = {spec.arm: spec for spec in grid_specs(config, {arm.name: 1e-3 for arm in config.trained}, {})}
    assert len({str(spec.train) for spec in specs.values()}) == 1
    assert {arm for arm, spec in specs.items() if spec.augment} == {"turned"}
    assert specs["short"].key != specs["cloned"].key


def test_a_variant_is_trained_measured_and_drawn(tmp_path):
    config = replace(with_variants(), arms=("broad",), sizes=(4, 8), seeds=(0, 1), workers=0, bootstrap=100)
    findings = run_study(config, tmp_path)
    assert findings.failed == ()
    assert findings.arm("broad").model == "transformer"
    assert findings.arm("broad").parameters > findings.arm("plain").parameters
    assert "broad" in write_report(tmp_path).read_text()
    again = from_mapping(StudyConfig, tomllib.loads(as_toml(findings)))
    assert again == config


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"plain": {"of": "cloned"}}, "give a name of its own"),
        ({"mine": {"regime": "break"}}, "the arm that it is a variant of"),
        ({"mine": {"of": "clond"}}, r"unknown arm 'clond': did you mean 'cloned'\?"),
        ({"mine": {"of": "augmented+tta"}}, "unknown arm 'augmented\\+tta'"),
    ],
)
def test_a_variant_of_nothing_is_refused(variants, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        replace(CONFIG, variants=variants, arms=("strict", *variants))


def test_a_wrong_setting_of_a_variant_is_named_with_it():
    with pytest.raises(ConfigError, match=r"study mine.*has no 'regme': did you mean 'regime'"):
        replace(CONFIG, variants={"mine": {"of": "cloned", "regme": "break"}}, arms=("mine",)).validate()


def test_variants_are_drawn_unlike_each_other_and_unlike_the_arms():
    look = styles((*ARMS, "one", "two", "three"))
    assert len(set(look.values())) == len(look)
    assert styles(("one", "strict"))["strict"] == look["strict"]
