"""Top tagging: is a jet the three-pronged decay of a top quark, or the shower of one parton?

The problem of the Top Tagging reference set (Kasieczka, Plehn, Thompson, Russell 2019; Butter et al.: The Machine Learning landscape of top
taggers, 2019), here on jets that `data.jets` generates, or on the published set from a local folder.

Axes: b batch, n constituents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from torsor.config import Settings
from torsor.data import jets
from torsor.data.archives import require_folder
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError
from torsor.groups import RestrictedLorentz, S
from torsor.groups.lorentz import boost, minkowski_square
from torsor.groups.numerics import normal, unit
from torsor.representations import Trivial
from torsor.signatures import Particles
from torsor.tasks.base import Task, with_targets

SPLITS = ("train", "valid", "test")
UNIT_GEV = 20.0
"""Momenta are fed in this unit."""
FURTHER_RAPIDITY = 2.0
"""Rapidity of the boosts of the test set "boosted"."""


@dataclass(frozen=True)
class TopTaggingConfig(Settings):
    """Which jets, and how many.

    Args:
        train_size: training jets; a smaller set is a prefix of a larger one.
        valid_size: validation jets.
        test_size: test jets.
        constituents: the most constituents of a jet. A generated jet stops to shower when it has as many, of a published one those of the
            largest transverse momentum are kept.
        also_test: further test sets, whose figures stand beside those of the test set: "boosted", the test jets, each boosted by rapidity 2
            in a direction of its own.
        source: "generate", or "published" to read the reference set from `folder`.
        folder: folder of data sets for "published"; the variable TORSOR_DATA if not given.
        seed: of the generated jets.
    """

    train_size: int = 5000
    valid_size: int = 500
    test_size: int = 1000
    constituents: int = 32
    also_test: tuple[Literal["boosted"], ...] = ()
    source: Literal["generate", "published"] = "generate"
    folder: str | None = None
    seed: int = 0

    def build(self) -> TopTaggingTask:
        """Make the task.

        Raises:
            ConfigError: a value makes no sense.
        """
        return TopTaggingTask(self)


class TopTaggingTask(Task):
    """Tell top quarks from partons.

    Fed: the momenta of the constituents in units of 20 GeV, and their mask. Returned: the logarithm of the odds that the jet is a top.
    Metrics: the share of jets on the wrong side of even odds, the share of pairs of a top and a parton that are ranked the wrong way round
    (1 - AUC; of the pairs within a batch of the evaluation, ties half), and the cross entropy.

    Args:
        config: which jets.
    """

    name = "toptagging"
    headline = "error"

    def __init__(self, config: TopTaggingConfig) -> None:
        _check(config)
        self.config = config
        self.signature = Particles(scalars_out=1, pool="mean")
        generated = config.source == "generate"
        symmetry = self.signature.symmetry(RestrictedLorentz() * S(), "exact" if generated else "approximate")
        self.symmetry = with_targets(symmetry, {"target": (Trivial(), Trivial())})
        units = {"error": "", "one_minus_auc": "", "cross_entropy": "nats"}
        self.units = units | {f"{metric} ({name})": unit_ for name in config.also_test for metric, unit_ in units.items()}
        stand_in = "generated jets, a stand-in for the Top Tagging reference set: not comparable with published tables"
        cuts = "detector and selection of the reference set have a frame: its odds are Lorentz invariant up to that"
        self.notes = (stand_in if generated else cuts,)

    @property
    def splits(self) -> Splits:
        """Train, validation and test jets in float32; generated or read once a process."""
        sizes = (self.config.train_size, self.config.valid_size, self.config.test_size)
        return Splits(*(_samples(self._key, split, size) for split, size in zip(SPLITS, sizes, strict=True)))

    @property
    def further_tests(self) -> dict[str, Samples]:
        """The test sets that `also_test` asks for, as large as the test split."""
        return {name: _boosted(self._key, self.config.test_size) for name in self.config.also_test}

    @property
    def _key(self) -> TopTaggingConfig:
        """What the samples depend on, sizes apart."""
        key: TopTaggingConfig = replace(self.config, train_size=1, valid_size=1, test_size=1, also_test=())
        return key

    def loss(self, output: Float[Tensor, "b 1"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Cross entropy."""
        return binary_cross_entropy_with_logits(output[:, 0], batch["target"])

    def metrics(self, output: Float[Tensor, "b 1"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Wrong side, wrong rank and cross entropy of every jet; even odds are half wrong."""
        odds, target = output[:, 0], batch["target"]
        side = (2 * target - 1) * odds.sign()
        entropy = binary_cross_entropy_with_logits(odds, target, reduction="none")
        return {"error": (1 - side) / 2, "one_minus_auc": misranked(odds, target), "cross_entropy": entropy}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The more frequent kind; logistic regression on the logarithm of the jet's mass and its square."""
        train = self.splits.train
        share = train["target"].double().mean()
        weights = logistic_regression(_mass_features(train), train["target"].double())
        tests = {"": self.splits.test} | {f" ({name})": samples for name, samples in self.further_tests.items()}
        figures: dict[str, dict[str, float]] = {"majority": {}, "jet mass": {}}
        for suffix, test in tests.items():
            odds = {"majority": share.logit(1e-6).expand(len(test)), "jet mass": _mass_features(test) @ weights}
            for baseline, values in odds.items():
                found = self.metrics(values.unsqueeze(-1), {"target": test["target"].double()})
                figures[baseline] |= {metric + suffix: float(value.mean()) for metric, value in found.items()}
        return figures


def misranked(odds: Float[Tensor, "b"], target: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
    """For each jet, the share of the jets of the other kind that are ranked the wrong way round, ties half; half where there are none.

    The mean over all jets is 1 - AUC.
    """
    other = (target.unsqueeze(-1) != target).to(odds.dtype)
    order = (odds.unsqueeze(-1) - odds).sign() * (2 * target - 1).unsqueeze(-1)
    count = other.sum(-1)
    wrong = (other * (1 - order) / 2).sum(-1) / count.clamp(min=1)
    return torch.where(count > 0, wrong, torch.full_like(wrong, 0.5))


def logistic_regression(
    features: Float[Tensor, "s f"], target: Float[Tensor, "s"], ridge: float = 1e-3, steps: int = 30
) -> Float[Tensor, "f"]:
    """The weights of least cross entropy plus `ridge` times their square, by Newton's method."""
    weights = features.new_zeros(features.shape[1])
    penalty = ridge * torch.eye(features.shape[1], dtype=features.dtype)
    for _ in range(steps):
        p = (features @ weights).sigmoid()
        gradient = features.T @ (p - target) + ridge * weights
        hessian = (features.T * (p * (1 - p))) @ features + penalty
        weights = weights - torch.linalg.solve(hessian, gradient)
    return weights


def _mass_features(samples: Samples) -> Float[Tensor, "s 3"]:
    """One, and the logarithm of the jet's mass in units of 100 GeV with its square."""
    mass = UNIT_GEV / 100 * minkowski_square(samples["momenta"].double().sum(1)).clamp(min=1e-6).sqrt()
    return torch.stack((torch.ones_like(mass), mass.log(), mass.log().square()), -1)


@lru_cache(maxsize=12)
def _samples(config: TopTaggingConfig, split: str, size: int) -> Samples:
    """One split. Splits have generators of their own, so that the size of one leaves the others as they are."""
    if config.source == "published":
        folder = require_folder(config.folder, "the Top Tagging reference set")
        drawn = jets.read_published(folder, split, config.constituents, size)
    else:
        generator = torch.Generator().manual_seed(len(SPLITS) * config.seed + SPLITS.index(split))
        drawn = jets.generate(size, config.constituents, generator)
    tensors = {"momenta": drawn.momenta / UNIT_GEV, "mask": drawn.mask, "target": drawn.labels.double()}
    return Samples(tensors).prefix(size).to(torch.float32)


@lru_cache(maxsize=4)
def _boosted(config: TopTaggingConfig, size: int) -> Samples:
    """The test jets, each boosted in a direction of its own."""
    samples = _samples(config, "test", size)
    directions = unit(normal((size, 3), torch.Generator().manual_seed(config.seed)))
    moved = samples["momenta"].double() @ boost(FURTHER_RAPIDITY * directions).mT
    return Samples({"momenta": moved.float(), "mask": samples["mask"], "target": samples["target"]})


def _check(config: TopTaggingConfig) -> None:
    """Refuse what makes no sense."""
    for name, least in (("train_size", 1), ("valid_size", 1), ("test_size", 1), ("constituents", 3)):
        if getattr(config, name) < least:
            raise ConfigError(f"{name} is {getattr(config, name)}: give {least} or more")
    if len(set(config.also_test)) != len(config.also_test):
        raise ConfigError(f"also_test is {list(config.also_test)}: give each test set once")
