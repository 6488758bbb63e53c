"""Frames of principal axes: for each input a few rotations that move with it, and the average of a network over them.

Puny, Atzmon, Ben-Hamu, Misra, Grover, Smith, Lipman: Frame Averaging for Invariant and Equivariant Network Design (2022), section 3.1.

phi(x) = 1/|F(x)| sum_{g in F(x)} g f(g^-1 x), with F(h x) = h F(x)

The axes are the eigenvectors of the second moments of the points, about their mean where the group translates, else about the origin.
What is known of an axis is its line: each of the 2^d choices of directions is an element of the frame of O(d), each of the 2^(d - 1) with
determinant 1 one of the frame of SO(d).

Axes: b batch, k samples, n points, d dimension of space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.dial.symmetrize.base import Draws
from torsor.dial.symmetrize.rotations import orthogonal_factor
from torsor.dial.symmetrize.spatial import Cloud, SpatialSampler, for_factor
from torsor.errors import GroupError
from torsor.groups.special_orthogonal import reflect
from torsor.nn.noise_sources import NoiseSource
from torsor.representations import Trivial, Vectors
from torsor.symmetry import Symmetry

GAP = 1e-3
"""Eigenvalues that are nearer than this part of their sum count as one: beyond it eigenvectors lose three digits."""
LARGEST_LISTED = 10
"""Dimension of space up to which all choices of directions are listed."""


class Axes(NamedTuple):
    """Principal axes.

    Args:
        vectors: `[b, d, d]`, axes of length 1 as columns, the longest extent first; their signs mean nothing.
        same: `[b, d, d]`, whether two of them have one eigenvalue, so that only the space which they span is known.
    """

    vectors: Float[Tensor, "b d d"]
    same: Bool[Tensor, "b d d"]


def principal_axes(cloud: Cloud, gap: float = GAP) -> Axes:
    """Eigenvectors of the second moments of a cloud.

    Derivatives are those of the eigenvectors where all eigenvalues are distinct; elsewhere they do not exist, and the axes are constants.

    Args:
        cloud: points about the place that the group leaves fixed.
        gap: eigenvalues nearer than this part of their sum count as one.
    """
    count = cloud.valid.sum(1).clamp(min=1).to(cloud.points.dtype)
    moments = cloud.points.mT @ cloud.points / count[:, None, None]
    with torch.no_grad():
        values, constant = torch.linalg.eigh(moments)
        apart = values.diff(dim=-1) > gap * values.sum(-1, keepdim=True)
        cluster = pad(apart.cumsum(-1), (1, 0))
    distinct = apart.all(-1)[:, None, None]
    ladder = torch.arange(1, moments.shape[-1] + 1, dtype=moments.dtype, device=moments.device).diag()
    vectors = torch.linalg.eigh(torch.where(distinct, moments, ladder))[1]
    vectors = torch.where(distinct, vectors, constant)
    return Axes(vectors.flip(-1), (cluster.unsqueeze(1) == cluster.unsqueeze(2)).flip(1, 2))


def right_handed(axes: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """The axes, the first one turned round where they are left-handed."""
    return reflect(axes, torch.linalg.det(axes.detach()).sign())


class PCAFrame(SpatialSampler):
    """The average over all directions of the principal axes: 2^d elements for O(d) and E(d), 2^(d - 1) for SO(d) and SE(d).

    Exact wherever the eigenvalues are distinct. Where two agree, every basis of their space is as good as any other, no finite set of
    elements is a frame, and the basis that the eigenvalue solver happens to return is taken: there (a cube, say, or points on a circle in
    equal steps) the average is not equivariant; use `RandomPCAFrame`. For points on one line in space, which any turn about it leaves
    alone, it is so up to such a turn. Where eigenvalues cross the average jumps; that of `WeightedFrame` does not.

    Args:
        symmetry: the contract, with one factor SO(d), O(d), SE(d) or E(d), d at most 10.
        sources: names of the inputs that make the frame; all points if not given, all vectors where there are none.

    Raises:
        GroupError: the group does not turn space, d is above 10, or a source has neither points nor vectors.
    """

    exactness = "exact"

    def __init__(self, symmetry: Symmetry, sources: Sequence[str] | None = None) -> None:
        super().__init__(symmetry, sources)
        if self.dimension > LARGEST_LISTED:
            raise GroupError(f"a frame of {self.rotations} has 2^{self.dimension} elements, too many to list: use 'sampled-frame'")

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """All elements of the frame, whatever number of samples is asked for."""
        cloud = self.cloud(inputs)
        vectors = principal_axes(cloud).vectors
        rows = [row for row in product((1.0, -1.0), repeat=self.dimension) if not self.proper or prod(row) > 0]
        signs = torch.tensor(rows, dtype=vectors.dtype, device=vectors.device)
        if self.proper:
            vectors = right_handed(vectors)
        return self.draws(inputs, vectors.unsqueeze(1) * signs.unsqueeze(1), cloud.centre)


class RandomPCAFrame(SpatialSampler):
    """Elements of the frame of principal axes at random: each axis points to the side of a normal vector of its own.

    The normal vectors are noise that turns with the input. Where eigenvalues agree, the vectors are projected onto the space of that
    eigenvalue and made orthonormal, which gives a Haar basis of it: equivariant for every input, also for a cube, a line or a single point.

    Args:
        symmetry: the contract, with one factor SO(d), O(d), SE(d) or E(d).
        sources: names of the inputs that make the frame; all points if not given, all vectors where there are none.
        gap: eigenvalues nearer than this part of their sum count as one.

    Raises:
        GroupError: the group does not turn space, or a source has neither points nor vectors.
    """

    def __init__(self, symmetry: Symmetry, sources: Sequence[str] | None = None, gap: float = GAP) -> None:
        super().__init__(symmetry, sources)
        self.gap = gap
        self.noise = {"directions": for_factor(symmetry, self.factor, Vectors(), Trivial())}

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """A normal vector for each axis, `[b, k, d, d]`, its components last."""
        x = inputs[self.sources[0]]
        return {"directions": source.normal("directions", (len(x), samples, self.dimension, self.dimension), x.device)}

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """One element for each set of normal vectors."""
        cloud = self.cloud(inputs)
        vectors, same = (part.unsqueeze(1) for part in principal_axes(cloud, self.gap))
        seen = noise["directions"].to(vectors.dtype) @ vectors  # rows: the components of each normal vector along the axes
        within = torch.where(same, seen.mT, 0)
        return self.draws(inputs, orthogonal_factor(vectors @ within, proper=self.proper), cloud.centre)
