"""Rigid motions SE(n) and, with reflections, E(n), as homogeneous matrices `[..., n + 1, n + 1]`.

Coordinates of the Lie algebra: first the rotation w (as in SO(n)), then the translation u. exp(w, u) = (exp w, V(w) u), with V in closed
form for n <= 3; above, the matrix exponential and `matrix_log`.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.groups.base import Connected, Lifted, MatrixGroup, Reflecting
from torsor.groups.matrix_log import matrix_log
from torsor.groups.numerics import cosc, cotangent_remainder, deliver, normal, sinc
from torsor.groups.rotation3 import left_jacobian, left_jacobian_inverse
from torsor.groups.rotations import SO, O
from torsor.groups.special_orthogonal import exp_special, log_special, skew_basis, unless_reflected
from torsor.groups.translations import FAR, Translating, homogeneous


def plane_jacobian(angle: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 2 2"]:
    """The V of SE(2): sin(t)/t I + (1 - cos t)/t K."""
    squared = angle.square()
    return _complex(sinc(squared), angle * cosc(squared))


def plane_jacobian_inverse(angle: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 2 2"]:
    """The inverse of V: (t/2) cot(t/2) I - t/2 K."""
    squared = angle.square()
    return _complex(1 - squared * cotangent_remainder(squared), -angle / 2)


def _complex(real: Tensor, imaginary: Tensor) -> Tensor:
    """The matrix real I + imaginary K of complex numbers `[..., 1]`."""
    return torch.stack((torch.cat((real, -imaginary), dim=-1), torch.cat((imaginary, real), dim=-1)), dim=-2)


class Motions(Translating, MatrixGroup):
    """What SE(n) and E(n) have in common.

    Args:
        n: dimension of the space.
    """

    rotations: SO | O

    @property
    def size(self) -> int:
        """The N of its N x N matrices."""
        return self.n + 1

    @property
    def dim(self) -> int:
        """Dimension of the Lie algebra."""
        return self.n * (self.n + 1) // 2

    def assemble(self, linear: Float[Tensor, "*batch n n"], shift: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n+1 n+1"]:
        """The element x -> linear x + shift."""
        return homogeneous(linear, shift)

    def linear(self, a: Float[Tensor, "*batch m m"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch m-1 m-1"]:
        """The rotation."""
        return a[..., : self.n, : self.n].to(dtype or a.dtype)

    def shift(self, a: Float[Tensor, "*batch m m"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch m-1"]:
        """The translation."""
        return a[..., : self.n, self.n].to(dtype or a.dtype)

    def inverse(self, a: Float[Tensor, "*batch m m"]) -> Float[Tensor, "*batch m m"]:
        """(R, x)^-1 = (R^T, -R^T x)."""
        turned = self.linear(a).mT
        return homogeneous(turned, -(turned @ self.shift(a).unsqueeze(-1)).squeeze(-1))

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        scale: float = 1.0,
    ) -> Float[Tensor, "*batch m m"]:
        """Haar rotation, and a normal translation with standard deviation `scale` along each axis."""
        linear = self.rotations.sample(*batch, generator=generator, dtype=torch.float64, device=device)
        shift = scale * normal((*batch, self.n), generator, device)
        return deliver(homogeneous(linear, shift.to(linear.device)), dtype, device)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "dim m m"]:
        """Rotations of the coordinate planes, then unit translations."""
        translations = torch.zeros(self.n, self.size, self.size, dtype=dtype)
        translations[:, : self.n, self.n] = torch.eye(self.n, dtype=dtype)
        return torch.cat((pad(skew_basis(self.n, dtype), (0, 1, 0, 1)), translations))

    def exp(self, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch m m"]:
        """Motion with rotation exp w and translation V(w) u."""
        self._check_coordinates(v)
        w, u = v[..., : -self.n], v[..., -self.n :]
        if self.n == 1:
            return homogeneous(torch.ones_like(u).unsqueeze(-1), u)
        if self.n > 3:
            element: Tensor = torch.linalg.matrix_exp(torch.einsum("...k, kij -> ...ij", v, self.algebra(v.dtype).to(v.device)))
            return element
        jacobian = plane_jacobian(w) if self.n == 2 else left_jacobian(w)
        return homogeneous(exp_special(w, self.n), (jacobian @ u.unsqueeze(-1)).squeeze(-1))

    def _log(self, a: Tensor) -> Tensor:
        linear, shift = self.linear(a), self.shift(a)
        if self.n > 3:
            shift = matrix_log(a)[..., : self.n, self.n]
            return torch.cat((log_special(linear), shift), dim=-1)
        w = log_special(linear)
        if self.n == 1:
            return shift
        jacobian = plane_jacobian_inverse(w) if self.n == 2 else left_jacobian_inverse(w)
        return torch.cat((w, (jacobian @ shift.unsqueeze(-1)).squeeze(-1)), dim=-1)

    def _lift_rotations(self, shape: tuple[int, ...], samples: int, generator: torch.Generator | None, points: Tensor) -> Tensor:
        return self.rotations.sample(*shape, samples, generator=generator, dtype=points.dtype, device=points.device)

    def lift(self, points: Float[Tensor, "*batch n"], samples: int = 1, generator: torch.Generator | None = None) -> Lifted:
        """Motions that take the origin to the point: its translation with Haar rotations, for SE(2) stratified."""
        self._check_points(points)
        linear = self._lift_rotations(points.shape[:-1], samples, generator, points)
        return Lifted(homogeneous(linear, points.unsqueeze(-2).expand(linear.shape[:-1])), self.orbit(points))

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Those of the rotation group, each but the identity with a generic translation, and translations a hundred times as far."""
        kinds = self.rotations.probes(samples, generator, dtype, device)
        eye = kinds["identity"]
        shifts = {kind: deliver(normal((samples, self.n), generator, device), dtype, device) for kind in kinds}
        shifts["identity"] = torch.zeros_like(shifts["identity"])
        far = deliver(FAR * normal((samples, self.n), generator, device), dtype, device)
        return {kind: homogeneous(kinds[kind], shifts[kind]) for kind in kinds} | {"far translation": homogeneous(eye, far)}


class SE(Connected, Motions):
    """The rotations and translations of R^n.

    Args:
        n: dimension of the space.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.rotations = SO(self.n)

    def log(self, a: Float[Tensor, "*batch m m"]) -> Float[Tensor, "*batch dim"]:
        """Coordinates (w, V(w)^-1 x) of the principal logarithm."""
        return self._log(a)

    def _lift_rotations(self, shape: tuple[int, ...], samples: int, generator: torch.Generator | None, points: Tensor) -> Tensor:
        if self.n == 2:
            return SO(2).stratified_sample(samples, *shape, generator=generator, dtype=points.dtype, device=points.device)
        return super()._lift_rotations(shape, samples, generator, points)


class E(Reflecting, Motions):
    """The rotations, reflections and translations of R^n.

    Args:
        n: dimension of the space.
    """

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.rotations = O(self.n)

    def log(self, a: Float[Tensor, "*batch m m"]) -> Float[Tensor, "*batch dim"]:
        """Coordinates (w, V(w)^-1 x) of the principal logarithm; NaN for elements that reflect, which have none."""
        return unless_reflected(self.linear(a), self._log(a))
