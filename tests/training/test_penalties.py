"""What a module adds to the loss by itself is part of what training lowers."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tests.training.toy import SETTINGS, ToyConfig, ToyModel, ToyModelConfig
from torsor.signatures import PointClouds
from torsor.training import load_run, train


@dataclass(frozen=True)
class AnchoredConfig(ToyModelConfig):
    """A model whose weights that nothing else uses want to be three."""

    def build(self, signature: PointClouds) -> ToyModel:
        return Anchored(signature, self)


class Anchored(ToyModel):
    def penalty(self) -> Tensor:
        return (self.unused - 3).square().sum()


def test_training_lowers_the_penalties_of_a_network(tmp_path: Path) -> None:
    settings = replace(SETTINGS, weight_decay=0.0, ema=None, learning_rate=0.2)
    weights = {}
    for name, model in (("free", ToyModelConfig()), ("anchored", AnchoredConfig())):
        train(ToyConfig().build(), model, settings, tmp_path / name, quiet=True)
        weights[name] = load_run(tmp_path / name, "last").model.unused
    assert torch.equal(weights["free"], torch.ones(2))
    assert (weights["anchored"] - 3).abs().max() < 0.5
