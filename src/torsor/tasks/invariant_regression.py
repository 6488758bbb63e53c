"""A number that depends on two vectors of R^5 through their lengths and their angle, and as strongly as one likes on where they point.

Finzi, Welling, Wilson: A Practical Method for Constructing Equivariant Multilayer Perceptrons for Arbitrary Matrix Groups (2021), the task
with symmetry O(5); the breaking term after Huang, Cheng, Chen, Aspuru-Guzik: Symmetry From Scratch (2024).

Axes: b batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.groups import O
from torsor.representations import Trivial, Vectors
from torsor.signatures import FeatureVectors
from torsor.tasks.base import with_targets
from torsor.tasks.breaking import BreakingConfig, BreakingRegression, fixed_direction, linear_fit, with_one

DIMENSION = 5


@dataclass(frozen=True)
class InvariantRegressionConfig(BreakingConfig):
    """Sizes, and how strongly the symmetry is broken.

    Args:
        train_size: training samples; a smaller set is a prefix of a larger one.
        valid_size: validation samples.
        test_size: test samples.
        strength: the e of the term e u.x that breaks the symmetry; 0 for none.
        seed: of all samples.
    """

    def build(self) -> InvariantRegressionTask:
        """Make the task."""
        return InvariantRegressionTask(self)


class InvariantRegressionTask(BreakingRegression):
    """y = sin|a| - |b|^3 / 2 + a.b / (|a| |b|) + e u.x for x = (a, b), standard normal vectors of R^5, and a fixed unit vector u of R^10.

    Fed: x. Returned: y in multiples of `scale`.

    Args:
        config: sizes and strength.
    """

    name = "invariant-regression"

    def __init__(self, config: InvariantRegressionConfig) -> None:
        super().__init__(config)
        self.signature = FeatureVectors(O(DIMENSION), 2 * Vectors(), Trivial())
        symmetry = with_targets(self.signature.symmetry(), {"target": self.signature.rep_out})
        self.symmetry = replace(symmetry, exactness="approximate" if self.broken else "exact")
        self.units = self.with_moved({"mse": "1"})

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Vectors and answers."""
        x = torch.randn(count, 2 * DIMENSION, generator=generator, dtype=torch.float64)
        tilt = self.config.strength * x @ fixed_direction(2 * DIMENSION)
        return {"x": x, "target": (invariant(x) + tilt).unsqueeze(-1)}

    def baselines(self) -> dict[str, dict[str, float]]:
        """What can be had without a network.

        The mean of the training answers; the best affine function of x; the invariant part, which is all that an O(5)-invariant model can
        know: its figure is `strength` squared.
        """
        train = self.splits.train
        mean, affine = train["target"].double().mean(), linear_fit(with_one(train["x"]), train["target"])

        def constant(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 1"]:
            return mean.expand(len(batch["x"]), 1)

        def linear(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 1"]:
            return with_one(batch["x"]) @ affine

        def symmetric(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 1"]:
            return invariant(batch["x"].double()).unsqueeze(-1)

        predictors = {"mean": constant, "least-squares affine": linear, "invariant part": symmetric}
        return self.figures({name: self.rescaled(predict) for name, predict in predictors.items()})


def invariant(x: Float[Tensor, "b 10"]) -> Float[Tensor, " b"]:
    """sin|a| - |b|^3 / 2 + a.b / (|a| |b|)."""
    a, b = x[:, :DIMENSION], x[:, DIMENSION:]
    length_a, length_b = a.norm(dim=-1), b.norm(dim=-1)
    cosine: Tensor = (a * b).sum(-1) / (length_a * length_b)
    answer: Tensor = length_a.sin() - length_b**3 / 2 + cosine
    return answer
