"""How rigid motions act on the projective geometric algebra G(3, 0, 1).

A motion x -> R x + t moves the plane of normal n through p to the plane of normal R n through R p + t. That is linear in the plane
(-n.p, n), a vector of the algebra, and every other multivector follows by products: rotations and translations act as the sandwich u x u^-1
with their motor u, reflections as u involute(x) u^-1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.groups.base import ActsOnSpace, Element, Group
from torsor.representations.base import Representation
from torsor.representations.geometric_algebra import outermorphism

_GROUPS = ("SO(3)", "O(3)", "SE(3)", "E(3)", "T(3)")


class Multivectors(Representation):
    """Multivectors of G(3, 0, 1) under rigid motions: 16 components, see `geometric_algebra`."""

    def on(self, group: Group) -> Multivectors:
        """Multivectors, bound to a group.

        Raises:
            RepresentationError: the group does not act on R^3 by rigid motions.
        """
        if group.name not in _GROUPS:
            raise RepresentationError(f"{self} cannot act under {group}: give one of {', '.join(_GROUPS)}")
        return super().on(group)

    @property
    def dim(self) -> int:
        """16."""
        return 16

    def matrix(self, g: Element) -> Float[Tensor, "*batch 16 16"]:
        """The matrices of the sandwich products."""
        group = self._bound()
        assert isinstance(group, ActsOnSpace)
        return outermorphism(plane_matrix(group.linear(g), group.shift(g)))


def plane_matrix(rotation: Float[Tensor, "*batch 3 3"], shift: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4 4"]:
    """How planes (e0, e1, e2, e3) move: the normal turns, and the offset loses what the shift takes along it."""
    offset = -(rotation.mT @ shift.unsqueeze(-1)).mT
    top = torch.cat((torch.ones_like(offset[..., :1]), offset), -1)
    return torch.cat((top, torch.nn.functional.pad(rotation, (1, 0))), -2)
