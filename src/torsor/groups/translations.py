"""Translations of R^n, as vectors `[..., n]`."""

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.groups.base import ActsOnSpace, Connected, LieGroup, Lifted, Sized
from torsor.groups.numerics import deliver, normal, safe_norm

FAR = 100.0
"""Scale of the probes "far translation", in units of the data."""


def homogeneous(linear: Float[Tensor, "*batch n n"], shift: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n+1 n+1"]:
    """The matrix [[linear, shift], [0, 1]] of the affine map x -> linear x + shift."""
    n = shift.shape[-1]
    top = torch.cat((linear, shift.unsqueeze(-1)), dim=-1)
    bottom = torch.eye(n + 1, dtype=top.dtype, device=top.device)[n:]
    return torch.cat((top, bottom.expand(*top.shape[:-2], 1, n + 1)), dim=-2)


class Translating(Sized, ActsOnSpace):
    """What groups that contain the translations of R^n have in common.

    Args:
        n: dimension of the space.
    """

    compact = False

    @property
    def space_dim(self) -> int:
        """The n of R^n."""
        return self.n


class T(Connected, Translating, LieGroup):
    """The translations of R^n.

    Args:
        n: dimension of the space.
    """

    @property
    def dim(self) -> int:
        """Dimension of the Lie algebra."""
        return self.n

    def identity(
        self, *batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Float[Tensor, "*batch n"]:
        """The zero vector."""
        return torch.zeros(*batch, self.n, dtype=dtype, device=device)

    def compose(self, a: Float[Tensor, "*a n"], b: Float[Tensor, "*b n"]) -> Float[Tensor, "*c n"]:
        """The sum."""
        return a + b

    def inverse(self, a: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The negative."""
        return -a

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        scale: float = 1.0,
    ) -> Float[Tensor, "*batch n"]:
        """Normal with mean 0 and standard deviation `scale` along each axis."""
        return deliver(scale * normal((*batch, self.n), generator, device), dtype, device)

    def matrix(self, a: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n+1 n+1"]:
        """Homogeneous matrices."""
        return homogeneous(self.linear(a), a)

    def distance(self, a: Float[Tensor, "*a n"], b: Float[Tensor, "*b n"]) -> Float[Tensor, "*c"]:
        """The Euclidean distance."""
        return safe_norm(b - a)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "dim m m"]:
        """Unit translations along the axes."""
        basis = torch.zeros(self.n, self.n + 1, self.n + 1, dtype=dtype)
        basis[:, : self.n, self.n] = torch.eye(self.n, dtype=dtype)
        return basis

    def exp(self, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The vector itself."""
        self._check_coordinates(v)
        return v

    def log(self, a: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The vector itself."""
        return a

    def linear(self, a: Float[Tensor, "*batch n"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch n n"]:
        """The identity matrix."""
        return torch.eye(self.n, dtype=dtype or a.dtype, device=a.device).expand(*a.shape[:-1], self.n, self.n)

    def shift(self, a: Float[Tensor, "*batch n"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch n"]:
        """The vector itself."""
        return a.to(dtype or a.dtype)

    def lift(self, points: Float[Tensor, "*batch n"], samples: int = 1, generator: torch.Generator | None = None) -> Lifted:  # noqa: ARG002
        """The point as the translation that takes the origin to it; the stabiliser is trivial, so all samples are equal."""
        self._check_points(points)
        return Lifted(points.unsqueeze(-2).repeat_interleave(samples, -2), self.orbit(points))

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Identity, generic, and translations a hundred times as far."""
        kinds = super().probes(samples, generator, dtype, device)
        return kinds | {"far translation": self.sample(samples, generator=generator, dtype=dtype, device=device, scale=FAR)}
