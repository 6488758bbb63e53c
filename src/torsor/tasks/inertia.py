"""The moment of inertia of five bodies: a tensor that turns with them.

Finzi, Welling, Wilson: A Practical Method for Constructing Equivariant Multilayer Perceptrons for Arbitrary Matrix Groups (2021), the task
with symmetry O(3); the breaking term after Huang, Cheng, Chen, Aspuru-Guzik: Symmetry From Scratch (2024).

Axes: b batch, n bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from torsor.groups import O
from torsor.representations import Trivial, Vectors
from torsor.signatures import FeatureVectors
from torsor.tasks.base import with_targets
from torsor.tasks.breaking import BreakingConfig, BreakingRegression, fixed_direction, linear_fit, with_one

BODIES = 5


@dataclass(frozen=True)
class InertiaConfig(BreakingConfig):
    """Sizes, and how strongly the symmetry is broken.

    Args:
        train_size: training samples; a smaller set is a prefix of a larger one.
        valid_size: validation samples.
        test_size: test samples.
        strength: the e of the term e (u.x) T that breaks the symmetry; 0 for none.
        seed: of all samples.
    """

    def build(self) -> InertiaTask:
        """Make the task."""
        return InertiaTask(self)


class InertiaTask(BreakingRegression):
    """I = sum_i m_i (|x_i|^2 1 - x_i x_i^T) + e (u.x) T for five masses m and standard normal positions x.

    Fed: five masses (softplus of a standard normal number, five scalars), then five vectors. Returned: the nine entries of the tensor, in
    multiples of `scale`. The unit vector u of R^15 and the symmetric tensor T, whose entries have mean square one, are fixed, so that the
    breaking term adds e^2 to the mean square of an entry.

    Args:
        config: sizes and strength.
    """

    name = "inertia"

    def __init__(self, config: InertiaConfig) -> None:
        super().__init__(config)
        self.signature = FeatureVectors(O(3), Trivial(BODIES) + BODIES * Vectors(), Vectors() @ Vectors())
        symmetry = with_targets(self.signature.symmetry(), {"target": self.signature.rep_out})
        self.symmetry = replace(symmetry, exactness="approximate" if self.broken else "exact")
        self.units = self.with_moved({"mse": "mass^2 length^4"})

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Bodies and their tensors."""
        drawn = torch.randn(count, 4 * BODIES, generator=generator, dtype=torch.float64)
        x = torch.cat((softplus(drawn[:, :BODIES]), drawn[:, BODIES:]), 1)
        along = drawn[:, BODIES:] @ fixed_direction(3 * BODIES)
        return {"x": x, "target": moment_of_inertia(x) + self.config.strength * along.unsqueeze(-1) * fixed_tensor()}

    def baselines(self) -> dict[str, dict[str, float]]:
        """What can be had without a network.

        The mean of the training tensors, made isotropic as an equivariant model has to; the best affine function of x; the moment of
        inertia itself, which is all that an O(3)-equivariant model can know: its figure is `strength` squared.
        """
        train = self.splits.train
        trace = train["target"].double().mean(0)[::4].mean()
        affine = linear_fit(with_one(train["x"]), train["target"])

        def isotropic(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 9"]:
            return (trace * torch.eye(3, dtype=torch.float64)).flatten().expand(len(batch["x"]), -1)

        def linear(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 9"]:
            return with_one(batch["x"]) @ affine

        def symmetric(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 9"]:
            return moment_of_inertia(batch["x"].double())

        predictors = {"isotropic mean": isotropic, "least-squares affine": linear, "equivariant part": symmetric}
        return self.figures({name: self.rescaled(predict) for name, predict in predictors.items()})


def moment_of_inertia(x: Float[Tensor, "b 20"]) -> Float[Tensor, "b 9"]:
    """sum_i m_i (|x_i|^2 1 - x_i x_i^T), row by row."""
    masses, positions = x[:, :BODIES], torch.unflatten(x[:, BODIES:], -1, (BODIES, 3))
    second = torch.einsum("bn,bni,bnj->bij", masses, positions, positions)
    trace = second.diagonal(dim1=1, dim2=2).sum(-1)
    return (trace[:, None, None] * torch.eye(3, dtype=x.dtype, device=x.device) - second).flatten(1)


def fixed_tensor() -> Float[Tensor, "9"]:
    """A symmetric tensor that is always the same, with mean square one."""
    square = fixed_direction(9).view(3, 3)
    symmetric = square + square.T
    return (symmetric / symmetric.square().mean().sqrt()).flatten()
