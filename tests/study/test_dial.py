"""The arms of the dial: made from the study's models, trained like the others, and measured."""

import pytest

from tests.study.toy import ToyConfig
from torsor.errors import ConfigError
from torsor.models import MLPConfig, TransformerConfig
from torsor.study import StudyConfig
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
