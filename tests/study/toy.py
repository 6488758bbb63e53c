"""A task small enough for a test, and a trainer that only pretends."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from torsor.data.samples import Samples, Splits
from torsor.groups import O, S
from torsor.signatures import PointClouds
from torsor.study.runs import RunRecord, Tested
from torsor.tasks.base import Task, with_targets

SKILL = {"strict": 1.0, "augmented": 1.4, "augmented+tta": 1.3, "plain": 2.0, "wrong-group": 3.0}
STEEPNESS = {"strict": 0.4}


@dataclass(frozen=True)
class ToyConfig:
    """Settings of `ToyTask`."""

    train_size: int = 8
    note: str = ""

    def build(self):
        return ToyTask(self)


class ToyTask(Task):
    """Each point is to say where the cloud's mean is, seen from it."""

    name = "toy"
    headline = "mse"

    def __init__(self, config):
        self.config = config
        self.signature = PointClouds("1x0e", "1x1o", points=3)
        contract = self.signature.symmetry(O(3) * S())
        self.symmetry = with_targets(contract, {"target": contract.output})
        self.units = {"mse": "m^2"}
        self.notes = (config.note,) if config.note else ()

    @property
    def splits(self):
        return Splits(*(self._samples(size, seed) for size, seed in ((self.config.train_size, 1), (16, 2), (24, 3))))

    @staticmethod
    def _samples(size, seed):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(size, 3, 3, generator=generator)
        return Samples({"positions": x, "features": torch.ones(size, 3, 1), "target": x.mean(1, keepdim=True) - x})

    def loss(self, output, batch):
        return (output - batch["target"]).square().mean()

    def metrics(self, output, batch):
        return {"mse": (output - batch["target"]).square().mean((1, 2))}

    def baselines(self):
        return {"zero": {"mse": float(self.splits.test["target"].square().mean())}}


def pretend(spec, directory):
    """A record whose losses follow n^-0.5 with the arm's skill and fall with the steps; counts how often it was asked."""
    directory.mkdir(parents=True, exist_ok=True)
    calls = directory / "calls"
    calls.write_text(f"{int(calls.read_text()) + 1 if calls.exists() else 1}")
    hard = np.random.default_rng(0).lognormal(sigma=0.3, size=24)
    noise = np.random.default_rng([spec.size, spec.seed, len(spec.arm)]).normal()
    tuned = 1 + abs(math.log10(spec.learning_rate / 1e-3))

    def tested(arm):
        trained = (spec.train["steps"] / 10) ** -STEEPNESS.get(arm, 0.2)
        loss = 0.1 * SKILL[arm] * tuned * trained * spec.size**-0.5 * math.exp(0.02 * noise)
        share = 0.0 if arm == "strict" else 0.3
        return Tested(tuple((loss * hard).tolist()), share * loss, share, 1000.0 * (16 if arm == "augmented+tta" else 1))

    arms = [spec.arm, *([spec.averaged_arm] if spec.averaged_arm else [])]
    return RunRecord(
        spec.key,
        spec.arm,
        spec.size,
        spec.seed,
        spec.learning_rate,
        order=f"{spec.size}-{spec.seed}-{spec.train['steps']}",
        test_set="same",
        parameters=100,
        flops=1e8 * spec.train["steps"] * (4 if spec.arm == "strict" else 1),
        seconds=2.0 if spec.arm == "strict" else 1.0,
        epochs=spec.train["steps"] / spec.size,
        valid=SKILL[spec.arm] * tuned,
        tested={arm: tested(arm) for arm in arms},
        provenance={},
    )
