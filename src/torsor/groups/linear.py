"""Linear groups that are not compact: SL(2) and GL(n), as matrices."""

from math import comb, factorial, log

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.groups.base import ActsLinearly, Connected, Reflecting, Sized
from torsor.groups.matrix_log import matrix_log
from torsor.groups.numerics import deliver, horner, normal, signs
from torsor.groups.special_orthogonal import haar, reflect

SQUEEZE = 10.0
"""Largest singular value of the probes "squeeze"; the smallest is its inverse."""
COSH_SERIES = tuple(1 / factorial(2 * k) for k in range(11))
SINH_SERIES = tuple(1 / factorial(2 * k + 1) for k in range(11))
ARSINH_SERIES = tuple((-1) ** k * comb(2 * k, k) / 4**k / (2 * k + 1) for k in range(18))
ARSINH_RADIUS = 1 / 8


class Linear(ActsLinearly):
    """What SL(2) and GL(n) have in common."""

    compact = False

    def inverse(self, a: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
        """The inverse matrix."""
        inverse: Tensor = torch.linalg.inv(a)
        return inverse

    def _between_rotations(self, exponents: Tensor, generator: torch.Generator | None) -> Tensor:
        """R1 diag(exp(exponents)) R2 with Haar rotations R1 and R2."""
        left, right = (haar(tuple(exponents.shape[:-1]), self.size, generator, exponents.device) for _ in range(2))
        return (left * exponents.exp().unsqueeze(-2)) @ right

    def _squeezes(self, samples: int, generator: torch.Generator | None, device: torch.device | str | None) -> Tensor:
        exponents = log(SQUEEZE) * torch.linspace(1, -1, self.size, dtype=torch.float64).repeat(samples, 1)
        return self._between_rotations(exponents.to(device if generator is None else generator.device), generator)

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Identity, generic and, from n = 2 on, squeezes: singular values from 10 to 1/10."""
        kinds = super().probes(samples, generator, dtype, device)
        if self.size > 1:
            kinds["squeeze"] = deliver(self._squeezes(samples, generator, device), dtype, device)
        return kinds


class SL2(Connected, Linear):
    """The real 2 x 2 matrices of determinant 1.

    Coordinates (h, e, f) stand for the matrix [[h, e], [f, -h]].
    """

    @property
    def name(self) -> str:
        """The string that `parse` reads back."""
        return "SL2"

    @property
    def size(self) -> int:
        """The N of its N x N matrices."""
        return 2

    @property
    def dim(self) -> int:
        """Dimension of the Lie algebra."""
        return 3

    def inverse(self, a: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch 2 2"]:
        """The adjugate, [[d, -b], [-c, a]]."""
        (p, q), (r, s) = (row.unbind(-1) for row in a.unbind(-2))
        return torch.stack((torch.stack((s, -q), dim=-1), torch.stack((-r, p), dim=-1)), dim=-2)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "3 2 2"]:
        """The basis H = diag(1, -1), E = [[0, 1], [0, 0]], F = [[0, 0], [1, 0]]."""
        return torch.tensor([[[1, 0], [0, -1]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]], dtype=dtype)

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        scale: float = 0.5,
    ) -> Float[Tensor, "*batch 2 2"]:
        """R1 diag(e^s, e^-s) R2 with Haar rotations and s normal with standard deviation `scale`."""
        s = scale * normal((*batch, 1), generator, device)
        return deliver(self._between_rotations(torch.cat((s, -s), dim=-1), generator), dtype, device)

    def exp(self, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch 2 2"]:
        """cosh(d) I + sinh(d)/d X, where d^2 = h^2 + e f may be negative."""
        self._check_coordinates(v)
        h, e, f = v.unbind(-1)
        squared = h * h + e * f
        hyperbolic, elliptic = (torch.where(far, squared.abs(), torch.ones_like(squared)).sqrt() for far in (squared >= 1, squared <= -1))
        near = torch.where(squared.abs() < 1, squared, torch.zeros_like(squared))
        c = _three(squared, hyperbolic.cosh(), horner(near, COSH_SERIES), elliptic.cos())
        s = _three(squared, hyperbolic.sinh() / hyperbolic, horner(near, SINH_SERIES), elliptic.sin() / elliptic)
        return torch.stack((torch.stack((c + s * h, s * e), dim=-1), torch.stack((s * f, c - s * h), dim=-1)), dim=-2)

    def log(self, a: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch 3"]:
        """The coordinates d/sinh(d) (a - tr(a)/2 I) with cosh d = tr(a)/2; NaN where tr(a) <= -2, for there is no real logarithm.

        d is taken from sinh(d)^2 = -det(a - tr(a)/2 I), which loses no digits near the identity as arcosh and arccos do.
        """
        (p, q), (r, s) = (row.unbind(-1) for row in a.unbind(-2))
        h, cosine = (p - s) / 2, (p + s) / 2
        squared = h * h + q * r
        one = torch.ones_like(squared)
        near = (squared.abs() < ARSINH_RADIUS) & (cosine > 0)
        series = horner(torch.where(near, squared, torch.zeros_like(squared)), ARSINH_SERIES)
        sinh = torch.where((squared > 0) & ~near, squared, one).sqrt()
        sine = torch.where((squared < 0) & ~near, -squared, one).sqrt()
        far = torch.where(squared > 0, sinh.asinh() / sinh, torch.atan2(sine, cosine) / sine)
        factor = torch.where(near, series, far)
        factor = torch.where((cosine < 0) & (squared >= 0), torch.full_like(factor, torch.nan), factor)
        return factor.unsqueeze(-1) * torch.stack((h, q, r), dim=-1)


def _three(squared: Tensor, above: Tensor, near: Tensor, below: Tensor) -> Tensor:
    return torch.where(squared >= 1, above, torch.where(squared <= -1, below, near))


class GL(Reflecting, Sized, Linear):
    """The invertible n x n matrices.

    Coordinates are the entries of the matrix, row by row.

    Args:
        n: size of the matrices.
    """

    @property
    def size(self) -> int:
        """The N of its N x N matrices."""
        return self.n

    @property
    def dim(self) -> int:
        """Dimension of the Lie algebra."""
        return self.n**2

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "dim n n"]:
        """The matrices with a single entry 1."""
        return torch.eye(self.dim, dtype=dtype).reshape(self.dim, self.n, self.n)

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        scale: float = 0.5,
    ) -> Float[Tensor, "*batch n n"]:
        """Q1 diag(exp s) Q2 with Haar Q1, Q2 in O(n) and independent normal s with standard deviation `scale`."""
        s = scale * normal((*batch, self.n), generator, device)
        drawn = self._between_rotations(s, generator)
        return deliver(reflect(drawn, signs(batch, generator, drawn.device)), dtype, device)

    def exp(self, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch n n"]:
        """The matrix exponential."""
        self._check_coordinates(v)
        element: Tensor = torch.linalg.matrix_exp(v.reshape(*v.shape[:-1], self.n, self.n))
        return element

    def log(self, a: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch dim"]:
        """The principal logarithm; NaN where there is none, for an eigenvalue on the negative axis."""
        return matrix_log(a).flatten(-2)

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Those of SL(2), and reflections of the first axis."""
        kinds = super().probes(samples, generator, dtype, device)
        return kinds | {"reflection": reflect(kinds["identity"], -torch.ones_like(kinds["identity"][:, 0, 0]))}
