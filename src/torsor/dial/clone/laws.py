"""Where the inputs of a clone come from: the law on which it is trained, and on which alone its guarantee holds.

Axes: b batch, n numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.dial.clone.teachers import Teacher
from torsor.groups.numerics import normal
from torsor.representations import Representation, Trivial
from torsor.representations.basis import common_group, part_basis


class Law(ABC):
    """Random inputs of a teacher and its student, by name."""

    @abstractmethod
    def draw(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """Independent inputs."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What the law is, as JSON can hold it."""


class Gaussian(Law):
    """Normal numbers x = mean + factor z; standard ones if nothing is given.

    Args:
        dim: the n.
        mean: `[n]`; zero if not given.
        factor: `[n, n]`, a square root of the covariance; the identity if not given.
        source: where the moments come from, in words.
    """

    def __init__(
        self,
        dim: int,
        mean: Float[Tensor, " n"] | None = None,
        factor: Float[Tensor, "n n"] | None = None,
        source: str = "standard normal",
    ) -> None:
        self.dim, self.mean, self.factor, self.source = dim, mean, factor, source

    def draw(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """`{"x": [b, n]}`."""
        z = normal((batch, self.dim), generator)
        z = z if self.factor is None else z @ self.factor.T
        return {"x": (z if self.mean is None else z + self.mean).to(dtype)}

    @property
    def description(self) -> dict[str, Any]:
        """Its source and its moments: the mean square of a number, and all of them as a checksum would see them."""
        moments: dict[str, Any] = {"x": self.source, "numbers": self.dim}
        if self.mean is not None:
            moments["mean"] = [round(value, 6) for value in self.mean.tolist()]
        if self.factor is not None:
            moments["variances"] = [round(value, 6) for value in self.factor.square().sum(1).tolist()]
        return moments


class WithParameters(Law):
    """Inputs of a law, and parameters of a teacher: a tau for each item.

    Args:
        inputs: the law of x.
        teacher: whose parameters they are.
    """

    def __init__(self, inputs: Gaussian, teacher: Teacher) -> None:
        self.inputs, self.teacher = inputs, teacher

    def draw(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """`{"x": [b, n], "tau": [b, k]}`."""
        x = self.inputs.draw(batch, generator, dtype)
        return {**x, "tau": self.teacher.sample_tau(batch, generator=generator, dtype=dtype)}

    @property
    def description(self) -> dict[str, Any]:
        """The law of x, and the standard deviation of the parameters."""
        return {**self.inputs.description, "tau": f"normal, standard deviation {self.teacher.scale:.6g}"}


class Examples(Law):
    """The standard normal examples of a signature.

    Args:
        signature: whose `example` is drawn.
        **settings: further arguments of `example`, such as `points=5`.
    """

    def __init__(self, signature: Any, **settings: Any) -> None:
        self.signature, self.settings = signature, settings

    def draw(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """The inputs of the signature."""
        found: dict[str, Tensor] = self.signature.example(batch, generator=generator, dtype=dtype, **self.settings)
        return found

    @property
    def description(self) -> dict[str, Any]:
        """The signature in words."""
        return {"inputs": f"standard normal examples of {self.signature}", **self.settings}


def matched(samples: Float[Tensor, "b n"], rep: Representation | None = None, source: str = "matched to activations") -> Gaussian:
    """The Gaussian with the mean and covariance of samples.

    Args:
        samples: such as the activations that a layer is fed.
        rep: how they transform. The moments of an invariant law commute with the group; with an orthogonal representation they are
            projected on those that do, so that the clone's bound holds for the law itself and not up to the noise of the samples.
        source: what the card calls them.
    """
    samples = samples.double()
    mean, centred = samples.mean(0), samples - samples.mean(0)
    covariance = centred.T @ centred / len(samples)
    if rep is not None:
        mean, covariance = _symmetrised(mean, covariance, rep)
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    factor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return Gaussian(samples.shape[1], mean, factor, source)


def is_orthogonal(rep: Representation) -> bool:
    """Whether the group acts by orthogonal matrices, as some random elements tell."""
    group = common_group(rep)
    matrix = rep.matrix(group.sample(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).double()
    return bool((matrix @ matrix.mT - torch.eye(rep.dim, dtype=torch.float64)).abs().max() < 1e-9)


def _symmetrised(mean: Tensor, covariance: Tensor, rep: Representation) -> tuple[Tensor, Tensor]:
    """The moments projected on what commutes with the group, which is their average over it; untouched where it is not orthogonal."""
    if not is_orthogonal(rep):
        return mean, covariance
    group, widths = common_group(rep), [mul * part.dim for mul, part in rep.parts()]
    rows = []
    for (mul, part), band in zip(rep.parts(), torch.split(covariance, widths), strict=True):
        blocks = zip(rep.parts(), torch.split(band, widths, 1), strict=True)
        rows.append(torch.cat([_projected(part_basis(other, part, group), block, mul, many) for (many, other), block in blocks], 1))
    single = Trivial().on(group)
    means = [
        _projected(part_basis(single, part, group), own.unsqueeze(1), mul, 1).squeeze(1)
        for (mul, part), own in zip(rep.parts(), torch.split(mean, widths), strict=True)
    ]
    return torch.cat(means), torch.cat(rows)


def _projected(
    basis: Float[Tensor, "k o i"], block: Float[Tensor, "rows columns"], rows: int, columns: int
) -> Float[Tensor, "rows columns"]:
    """The part of a block of `rows` times `columns` pairs of summands that the basis spans, pair by pair."""
    pairs = block.reshape(rows, basis.shape[1], columns, basis.shape[2])
    return torch.einsum("kab,cadb,kij->cidj", basis, pairs, basis).reshape(block.shape)
