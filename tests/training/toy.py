"""A task and a model small enough to train in a blink, with everything that can go wrong in a loop: dropout, buffers, vectors, scalars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from torsor.data.samples import Samples, Splits
from torsor.groups import SO
from torsor.representations import Irreps, Vectors
from torsor.signatures import PointClouds
from torsor.symmetry import Symmetry
from torsor.tasks.base import Task
from torsor.training import TrainConfig


@dataclass(frozen=True)
class ToyConfig:
    """Guess the weighted centre of a cloud.

    Args:
        train_size: training samples.
        points: points in a cloud.
        bad_sample: training sample whose target is not a number, none if negative.
        huge_validation: whether validation targets overflow.
    """

    train_size: int = 50
    points: int = 4
    bad_sample: int = -1
    huge_validation: bool = False

    def build(self) -> ToyTask:
        return ToyTask(self)


class ToyTask(Task):
    name = "toy"
    headline = "squared_error"
    units: Mapping[str, str] = {"squared_error": "m^2", "absolute_error": "m"}

    def __init__(self, config: ToyConfig) -> None:
        self.config = config
        self.signature = PointClouds(Irreps(""), Irreps("1x1o"), pool="mean", points=config.points)
        self.symmetry = Symmetry(SO(3), {"positions": Vectors(), "target": Vectors()}, output=Vectors())

    @cached_property
    def splits(self) -> Splits:
        generator = torch.Generator().manual_seed(7)
        positions = torch.randn(self.config.train_size + 60, self.config.points, 3, generator=generator, dtype=torch.float64)
        weights = torch.linspace(0, 1, self.config.points, dtype=torch.float64)
        target = (positions * weights[:, None]).sum(1)
        everything = Samples({"positions": positions, "target": target})
        train = everything.prefix(self.config.train_size).take(slice(None))
        if self.config.bad_sample >= 0:
            train["target"] = train["target"].clone()
            train["target"][self.config.bad_sample] = torch.nan
        size = self.config.train_size
        valid = everything.take(slice(size, size + 30))
        if self.config.huge_validation:
            valid["target"] = valid["target"] + 1e300
        return Splits(Samples(train), Samples(valid), Samples(everything.take(slice(size + 30, None))))

    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Tensor:
        return (output - batch["target"]).square().mean()

    def metrics(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        error = output - batch["target"]
        return {"squared_error": error.square().mean(-1), "absolute_error": error.abs().mean(-1)}

    def baselines(self) -> dict[str, dict[str, float]]:
        target = self.splits.test["target"]
        return {"zero": {"squared_error": float(target.square().mean()), "absolute_error": float(target.abs().mean())}}


@dataclass(frozen=True)
class ToyModelConfig:
    """A small network.

    Args:
        width: hidden channels.
        dropout: probability that a hidden channel is dropped.
        normalise: whether hidden channels are normalised over the batch.
        explode: whether the hidden layer divides by zero.
    """

    width: int = 8
    dropout: float = 0.1
    normalise: bool = True
    explode: bool = False

    def build(self, signature: PointClouds) -> ToyModel:
        return ToyModel(signature, self)


class Explosion(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / torch.zeros_like(x)


class ToyModel(nn.Module):
    def __init__(self, signature: PointClouds, config: ToyModelConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(signature.points * 3, config.width)
        # its running mean is a buffer, which a checkpoint must hold
        self.normalise = nn.BatchNorm1d(config.width) if config.normalise else nn.Identity()
        self.activation = Explosion() if config.explode else nn.Tanh()
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.width, 3)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.out(self.dropout(self.activation(self.normalise(self.hidden(positions.flatten(1))))))


SETTINGS = TrainConfig(steps=60, batch_size=8, evaluate_every=10, checkpoint_every=7, log_every=3, ema=0.9, weight_decay=0.1, device="cpu")
