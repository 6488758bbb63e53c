"""Upright by principal axes, each pointing to the side of its heavier tail.

Axes: b batch, k samples (one), n points, d dimension of space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.dial.symmetrize.base import Draws
from torsor.dial.symmetrize.frames import principal_axes
from torsor.dial.symmetrize.spatial import Cloud, SpatialSampler

VANISHES = 1e-4
"""Odd moments below this part of the root mean square to their power decide nothing."""


class PCACanonical(SpatialSampler):
    """The one element of the frame of principal axes for which the odd moments of the points along every axis are positive.

    The third moment decides where it does not vanish, else the fifth, else the seventh. Where all three vanish the cloud is taken to be
    symmetric, and the direction that the eigenvalue solver returns stays: right up to that symmetry. For SO(d) and SE(d) the axis with the
    smallest third moment is turned round where the axes are left-handed, so that one vanishing axis does no harm there. Where eigenvalues
    agree there are no principal axes, and the result is not equivariant (see `PCAFrame`).

    Args:
        symmetry: the contract, with one factor SO(d), O(d), SE(d) or E(d).
        sources: names of the inputs that make the frame; all points if not given, all vectors where there are none.

    Raises:
        GroupError: the group does not turn space, or a source has neither points nor vectors.
    """

    exactness = "relaxed"

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """The element."""
        cloud = self.cloud(inputs)
        vectors = principal_axes(cloud).vectors
        with torch.no_grad():
            signs, weakest = _signs(cloud, vectors)
            if self.proper:
                handed = torch.linalg.det(vectors * signs.unsqueeze(1)).sign().unsqueeze(-1)
                signs = torch.where(weakest, signs * handed, signs)
        return self.draws(inputs, (vectors * signs.unsqueeze(1)).unsqueeze(1), cloud.centre)


def _signs(cloud: Cloud, vectors: Float[Tensor, "b d d"]) -> tuple[Float[Tensor, "b d"], Tensor]:
    """The sign of the first odd moment of each axis that does not vanish, 1 where all do; and which axis has the smallest third one."""
    along = cloud.points @ vectors
    count = cloud.valid.sum(1, keepdim=True).clamp(min=1).to(along.dtype)
    spread = (along.square().sum(1) / count).sqrt()
    scaled = along / torch.where(spread > 0, spread, 1).unsqueeze(1)
    moments = [(scaled**power).sum(1) / count for power in (3, 5, 7)]
    signs = torch.ones_like(spread)
    for moment in reversed(moments):
        signs = torch.where(moment.abs() > VANISHES, moment.sign(), signs)
    weakest = moments[0].abs().argmin(-1, keepdim=True)
    return signs, torch.arange(signs.shape[-1], device=signs.device) == weakest
