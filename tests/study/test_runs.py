"""What a run of a study measures on its trained network, against closed forms."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.study.toy import ToyConfig, ToyTask
from torsor.study.runs import RunSpec, _order_digest, measure
from torsor.training import TrainConfig

SETTINGS = TrainConfig(steps=6, batch_size=4, device="cpu", precision="float64")
SPEC = RunSpec("augmented", 8, 0, 1e-3, 10, {}, {}, {}, averaged_arm="augmented+tta", tta_samples=8, share_samples=16)


class Drifting(nn.Module):
    """The right answer, and the same mistake in space whichever way the cloud lies."""

    def __init__(self) -> None:
        super().__init__()
        self.mistake = nn.Parameter(torch.tensor([0.3, 0.0, 0.4], dtype=torch.float64))

    def forward(self, positions: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        answer = positions.mean(1, keepdim=True) - positions
        return answer + features @ torch.ones(1, 1, dtype=positions.dtype) * self.mistake


def test_a_constant_mistake_is_all_share_and_an_average_of_k_leaves_a_kth_of_it():
    tested = measure(SPEC, ToyTask(ToyConfig()), Drifting(), SETTINGS)
    own, averaged = tested["augmented"], tested["augmented+tta"]
    loss = 0.25 / 3
    assert own.errors == pytest.approx((loss,) * 24, rel=1e-6)
    assert own.spread == pytest.approx(loss, rel=0.1)
    assert own.share == pytest.approx(own.spread / loss, rel=1e-6)
    assert averaged.spread == pytest.approx(own.spread / 8, rel=1e-12)
    assert averaged.share == pytest.approx(averaged.spread / (loss - own.spread + averaged.spread), rel=1e-6)
    assert sum(averaged.errors) / 24 == pytest.approx(loss / 8, rel=0.4)
    assert averaged.flops == 8 * own.flops > 0


def test_an_arm_without_an_average_has_none():
    assert set(measure(replace(SPEC, averaged_arm="", tta_samples=0), ToyTask(ToyConfig()), Drifting(), SETTINGS)) == {"augmented"}


def test_the_order_of_the_samples_is_told_apart_by_any_step_and_by_the_seed():
    orders = {_order_digest(settings, 9) for settings in (SETTINGS, replace(SETTINGS, steps=5), replace(SETTINGS, seed=1))}
    assert len(orders) == 3
    assert _order_digest(replace(SETTINGS, learning_rate=1.0), 9) in orders


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"size": 9}, {"arm": "plain"}, {"train": {"steps": 7}}, {"tta_samples": 9}, {"share_samples": 3}]
)
def test_whatever_decides_the_numbers_of_a_run_is_in_its_name(change):
    assert replace(SPEC, **change).key != SPEC.key
