"""Rotations SO(n) and rotations with reflections O(n), as matrices `[..., n, n]`.

Coordinates and closed forms are those of `special_orthogonal`.
"""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.errors import GroupError
from torsor.groups.base import ActsLinearly, Connected, Lifted, Reflecting, Sized, check_size
from torsor.groups.numerics import deliver, normal, safe_norm, signs, unit
from torsor.groups.polyhedra import ORDERS, plane_rotation, polyhedral
from torsor.groups.special_orthogonal import (
    exp_special,
    extend,
    haar,
    half_turns,
    log_special,
    quarter_turns,
    reflect,
    section,
    skew_basis,
    unless_reflected,
)


class Orthogonal(Sized, ActsLinearly):
    """What SO(n) and O(n) have in common."""

    compact = True

    @property
    def size(self) -> int:
        """The N of its N x N matrices."""
        return self.n

    @property
    def dim(self) -> int:
        """Dimension of the Lie algebra."""
        return self.n * (self.n - 1) // 2

    def inverse(self, a: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
        """The transpose."""
        return a.mT

    def exp(self, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch n n"]:
        """Rotation matrix of Lie algebra coordinates."""
        self._check_coordinates(v)
        return exp_special(v, self.n)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "dim n n"]:
        """The basis rotations of the coordinate planes."""
        return skew_basis(self.n, dtype)

    def orbit(self, points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch 1"]:
        """The radius."""
        self._check_points(points)
        return safe_norm(points).unsqueeze(-1)

    @abstractmethod
    def _draw(self, shape: tuple[int, ...], n: int, generator: torch.Generator | None, device: torch.device | str | None) -> Tensor:
        """Haar elements of this family in n dimensions, `[*shape, n, n]` in float64."""

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*batch n n"]:
        """Independent Haar elements."""
        return deliver(self._draw(batch, self.n, generator, device), dtype, device)

    def _stabiliser(self, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
        return self._draw(shape, self.n - 1, generator, device)

    def lift(self, points: Float[Tensor, "*batch n"], samples: int = 1, generator: torch.Generator | None = None) -> Lifted:
        """Matrices g with g (r e) = x, e the first axis and r = |x|: a section times random elements of the stabiliser of e.

        The stabiliser is the same family in one dimension less: trivial for SO(2), a circle for SO(3), whose angles are
        stratified, each of them uniform. At x = 0 it is the whole group, and the lift is not equivariant.
        """
        self._check_points(points)
        inner = self._stabiliser((*points.shape[:-1], samples), generator, points.device).to(points)
        return Lifted(section(unit(points)).unsqueeze(-3) @ extend(inner), self.orbit(points))

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Identity, generic and, from n = 2 on, half turns in random planes and quarter turns in coordinate planes."""
        kinds = super().probes(samples, generator, dtype, device)
        if self.n > 1:
            kinds["half turn"] = deliver(half_turns((samples,), self.n, generator, device), dtype, device)
            kinds["quarter turn"] = deliver(quarter_turns((samples,), self.n, generator, device), dtype, device)
        return kinds


class SO(Connected, Orthogonal):
    """The rotations of R^n.

    Args:
        n: dimension of the space.
    """

    def log(self, a: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch dim"]:
        """Lie algebra coordinates of the principal logarithm, rotation angles in [0, pi]."""
        return log_special(a)

    def _draw(self, shape: tuple[int, ...], n: int, generator: torch.Generator | None, device: torch.device | str | None) -> Tensor:
        return haar(shape, n, generator, device)

    def _stabiliser(self, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
        if self.n == 3:
            return SO(2).stratified_sample(shape[-1], *shape[:-1], generator=generator, dtype=torch.float64, device=device)
        return super()._stabiliser(shape, generator, device)

    def orbit(self, points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch 1"]:
        """The radius; for n = 1 the point itself."""
        return super().orbit(points) if self.n > 1 else points

    def lift(self, points: Float[Tensor, "*batch n"], samples: int = 1, generator: torch.Generator | None = None) -> Lifted:
        """Rotations that take r e to the point x (see `Orthogonal.lift`)."""
        if self.n > 1:
            return super().lift(points, samples, generator)
        self._check_points(points)
        return Lifted(self.identity(*points.shape[:-1], samples, dtype=points.dtype, device=points.device), points)

    def stratified_sample(
        self,
        samples: int,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*batch samples n n"]:
        """Haar rotations that are spread out: randomly turned copies of a finite subgroup. Each is Haar by itself, their mean varies less.

        For n = 2 the cyclic group of order `samples`. For n = 3 the largest of the icosahedral (60), octahedral (24), tetrahedral (12) and
        Klein (4) groups whose order divides `samples`, in as many independent copies as it takes. Otherwise independent rotations.
        """
        group = self.spread(samples)
        copies = self._draw((*batch, samples // len(group), 1), self.n, generator, device)
        return deliver((copies @ group.to(copies.device)).flatten(-4, -3), dtype, device)

    def spread(self, samples: int) -> Float[Tensor, "order n n"]:
        """The finite subgroup that `stratified_sample` turns: the largest it has whose order divides `samples`."""
        if self.n == 2:
            return self.cyclic(samples)
        if self.n == 3:
            fitting = [name for name, order in ORDERS.items() if samples % order == 0]
            return polyhedral(fitting[-1]) if fitting else self.cyclic(1)
        return torch.eye(self.n, dtype=torch.float64).unsqueeze(0)

    def cyclic(self, order: int) -> Float[Tensor, "order n n"]:
        """Rotations by 2 pi k / order, k = 0, 1, ..., about the origin (n = 2) or the last axis (n = 3), in float64.

        Raises:
            GroupError: n is neither 2 nor 3.
        """
        rotations = plane_rotation(torch.arange(check_size("cyclic", order)), order)
        if self.n == 2:
            return rotations
        if self.n != 3:
            raise GroupError(f"{self} has no cyclic subgroup about one axis: use SO(2) or SO(3)")
        last = torch.zeros(3, 3, dtype=torch.float64)
        last[2, 2] = 1
        return pad(rotations, (0, 1, 0, 1)) + last

    def finite_subgroup(self, name: str) -> Float[Tensor, "order 3 3"]:
        """The rotations of the "tetrahedral" (12), "octahedral" (24), "icosahedral" (60) or "klein" (4) group in float64, identity first.

        Raises:
            GroupError: n is not 3.
            UnknownNameError: there is no such group.
        """
        if self.n != 3:
            raise GroupError(f"{self} has no polyhedral subgroup: use SO(3)")
        return polyhedral(name)


class O(Reflecting, Orthogonal):  # noqa: E742 (the group's name)
    """The rotations and reflections of R^n.

    Args:
        n: dimension of the space.
    """

    def log(self, a: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch dim"]:
        """Lie algebra coordinates of the principal logarithm; NaN for reflections, which have none."""
        return unless_reflected(a, log_special(a))

    def _draw(self, shape: tuple[int, ...], n: int, generator: torch.Generator | None, device: torch.device | str | None) -> Tensor:
        rotations = haar(shape, n, generator, device)
        return reflect(rotations, signs(shape, generator, device).to(rotations.device))

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Those of SO(n), reflections in random planes, and the inversion x -> -x."""
        kinds = super().probes(samples, generator, dtype, device)
        normals = unit(normal((samples, self.n), generator, device))
        eye = torch.eye(self.n, dtype=torch.float64, device=normals.device)
        kinds["reflection"] = deliver(eye - 2 * normals.unsqueeze(-1) * normals.unsqueeze(-2), dtype, device)
        kinds["inversion"] = -kinds["identity"]
        return kinds
