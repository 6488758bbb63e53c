"""Are the data spread evenly over the group's orbits? A randomisation test of what a task states about its symmetry.

A symmetric *law* (forces turn with the molecule) says nothing about a symmetric *sample*: molecules of one simulation may all lie alike.
Then a plain network is never asked about other orientations, and a study on these data is about less than the whole group.

Axes: b samples, n points, s scalar features, v vector features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.dial import Augment
from torsor.representations import Irreps
from torsor.tasks.base import Task
from torsor.training.order import derived_seed


@dataclass(frozen=True)
class SymmetryTest:
    """Outcome of the test.

    Args:
        p_value: chance of at least this much order if the data were spread evenly over the orbits.
        effect: 0 for samples spread evenly, 1 for samples that all lie alike.
    """

    p_value: float
    effect: float


def symmetry_test(task: Task, samples: int = 1000, draws: int = 199) -> SymmetryTest | None:
    """Compare the test split with itself after each sample was moved by a random group element of its own.

    The statistic is the length of the mean over samples of their dipoles and quadrupole, which no translation or permutation changes: under
    the hypothesis it is as long before the moves as after.

    Args:
        task: whose test split and group are used.
        samples: how many of the split at most.
        draws: how often all samples are moved.

    Returns:
        The outcome; None where the samples are no points in space.
    """
    if "positions" not in task.splits.test:
        return None
    batch = task.splits.test.to(torch.float64).take(slice(samples))
    generator = torch.Generator().manual_seed(derived_seed(0, "symmetry test"))
    move = Augment(task.symmetry)
    own, size = _order(batch, task.signature.rep_in)
    moved = [_order(move(batch, generator), task.signature.rep_in)[0] for _ in range(draws)]
    return SymmetryTest(float(1 + sum(other >= own for other in moved)) / (draws + 1), own / size if size > 0 else 0.0)


def _order(batch: Mapping[str, Tensor], rep_in: Irreps) -> tuple[float, float]:
    """Length of the mean of all moments, and their root mean square length, each kind of moment in units of its own."""
    moments = _moments(batch, rep_in)
    sizes = [moment.square().sum(-1).mean().sqrt().clamp_min(1e-12) for moment in moments]
    means = torch.stack([(moment / size).mean(0).norm() for moment, size in zip(moments, sizes, strict=True)])
    present = sum(float(size) > 1e-9 for size in sizes)
    return float(means.norm()), present**0.5


def _moments(batch: Mapping[str, Tensor], rep_in: Irreps) -> list[Float[Tensor, "b m"]]:
    """The quadrupole of a cloud, its dipole for each scalar feature, and the sum of each vector feature."""
    positions = batch["positions"]
    axes = positions.shape[-1]
    seen = batch["mask"].unsqueeze(-1).to(positions) if "mask" in batch else torch.ones_like(positions[..., :1])
    centred = (positions - (positions * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp_min(1)) * seen
    trace = centred.square().sum(-1)[..., None, None] * torch.eye(axes, dtype=positions.dtype) / axes
    moments = [(centred.unsqueeze(-1) * centred.unsqueeze(-2) - trace).sum(1).flatten(1)]
    offset = 0
    for count, irrep in rep_in:
        width = count * irrep.dim
        part = (batch["features"][..., offset : offset + width] * seen).reshape(*seen.shape[:2], count, irrep.dim)
        if irrep.l == 0:
            moments += list((part * centred.unsqueeze(-2)).sum(1).unbind(1))
        elif irrep.l == 1:
            moments += list(part.sum(1).unbind(1))
        offset += width
    return moments
