"""Translations of the plane with the rotations by whole n-ths of a turn, T(2) x| C_n: a discrete stand-in for SE(2) with an exact lift."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from torsor.groups.base import ActsOnSpace, Group, Lifted, Sized
from torsor.groups.numerics import deliver, normal, uniform
from torsor.groups.polyhedra import plane_rotation
from torsor.groups.translations import FAR, homogeneous


class TC(Sized, ActsOnSpace):
    """The motions of the plane that turn by whole n-ths of a turn, as homogeneous matrices `[..., 3, 3]`.

    The stabiliser of a point is finite, so that the lift of a point is all of it, and exact.

    Args:
        n: number of turns in a full circle.
    """

    compact = False

    @property
    def space_dim(self) -> int:
        """The plane."""
        return 2

    def rotations(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "n 2 2"]:
        """Rotations by 0, 1, ... n-ths of a turn."""
        return plane_rotation(torch.arange(self.n), self.n).to(dtype)

    def turns(self, linear: Float[Tensor, "*batch 2 2"]) -> Int64[Tensor, "*batch"]:
        """How many n-ths of a turn a rotation is."""
        angle = torch.atan2(linear[..., 1, 0], linear[..., 0, 0])
        return (angle * (self.n / (2 * torch.pi))).round().long().remainder(self.n)

    def identity(
        self, *batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Float[Tensor, "*batch 3 3"]:
        """The identity matrix."""
        return torch.eye(3, dtype=dtype, device=device).repeat(*batch, 1, 1)

    def compose(self, a: Float[Tensor, "*a 3 3"], b: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*c 3 3"]:
        """The matrix product."""
        return a @ b

    def inverse(self, a: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
        """(R, x)^-1 = (R^T, -R^T x)."""
        turned = self.linear(a).mT
        return homogeneous(turned, -(turned @ self.shift(a).unsqueeze(-1)).squeeze(-1))

    def matrix(self, a: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
        """The element itself."""
        return a

    def linear(self, a: Float[Tensor, "*batch 3 3"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2 2"]:
        """The rotation."""
        return a[..., :2, :2].to(dtype or a.dtype)

    def shift(self, a: Float[Tensor, "*batch 3 3"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2"]:
        """The translation."""
        return a[..., :2, 2].to(dtype or a.dtype)

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        scale: float = 1.0,
    ) -> Float[Tensor, "*batch 3 3"]:
        """Uniform turns, and a normal translation with standard deviation `scale` along each axis."""
        turns = (uniform(batch, generator, device) * self.n).long()
        return deliver(homogeneous(plane_rotation(turns, self.n), scale * normal((*batch, 2), generator, turns.device)), dtype, device)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "2 3 3"]:
        """Unit translations along the axes."""
        basis = torch.zeros(2, 3, 3, dtype=dtype)
        basis[:, :2, 2] = torch.eye(2, dtype=dtype)
        return basis

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "k 3 3"] | None:
        """One turn; None where there is none to make."""
        if self.n == 1:
            return None
        turn = self.rotations(dtype)[1:2]
        return homogeneous(turn, torch.zeros(1, 2, dtype=dtype))

    def lift(self, points: Float[Tensor, "*batch 2"], samples: int = 0, generator: torch.Generator | None = None) -> Lifted:  # noqa: ARG002
        """All motions that take the origin to the point, the n turns in order, whatever number is asked for."""
        self._check_points(points)
        turns = self.rotations(points.dtype).to(points.device).expand(*points.shape[:-1], -1, -1, -1)
        return Lifted(homogeneous(turns, points.unsqueeze(-2).expand(turns.shape[:-1])), self.orbit(points))

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Float[Tensor, "samples 3 3"]]:
        """Identity, generic, the half and quarter turn where the group has them, and far translations."""
        kinds = Group.probes(self, samples, generator, dtype, device)
        for kind, parts in (("half turn", 2), ("quarter turn", 4)):
            if self.n % parts == 0:
                turn = self.rotations()[self.n // parts].expand(samples, 2, 2)
                kinds[kind] = deliver(homogeneous(turn, torch.zeros(samples, 2, dtype=torch.float64)), dtype, device)
        far = deliver(FAR * normal((samples, 2), generator, device), dtype, device)
        eye = self.linear(kinds["identity"])
        return kinds | {"far translation": homogeneous(eye, far)}
