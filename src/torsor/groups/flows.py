"""Commutative groups that flow over space: scalings, squeezes, rotations with scalings, shifts along one axis, and the trivial group.

Their elements are their own coordinates `[..., dim]`: composing adds them, `exp` and `log` do nothing (angles are brought to (-pi, pi]).
They are the groups of LieTransformer's table that are neither T(n) nor made of rotations and translations together.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.groups.base import ActsOnSpace, Connected, LieGroup, Lifted, Sized
from torsor.groups.numerics import deliver, normal, uniform, unit
from torsor.groups.special_orthogonal import exp_special, skew_basis
from torsor.groups.translations import FAR, homogeneous

SPREAD = 0.5
"""Standard deviation of the logarithms of sampled scales and squeezes."""


def wrapped(angle: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The angle in (-pi, pi]; one that lies there already is not rounded."""
    return angle - 2 * torch.pi * torch.ceil(angle.detach() / (2 * torch.pi) - 0.5)


def log_size(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The logarithm log|x|; 0 with zero derivative where x = 0."""
    return torch.where(x == 0, torch.ones_like(x), x).abs().log()


def log_length(x: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape"]:
    """The logarithm of the Euclidean norm; 0 with zero derivative where x = 0."""
    return log_size(x.square().sum(-1)) / 2


def side(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sign of x, 1 where x = 0."""
    return torch.where(x.detach() < 0, -torch.ones_like(x), torch.ones_like(x))


class Flow(Connected, LieGroup, ActsOnSpace):
    """A commutative group whose elements are their own coordinates."""

    angles: ClassVar[tuple[int, ...]] = ()
    """Which coordinates are angles."""
    compact = False

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @property
    def space_dim(self) -> int:
        """The plane, unless the group says otherwise."""
        return 2

    @abstractmethod
    def coordinates(self, points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch dim"]:
        """The element that takes the origin of the point's orbit to the point."""

    def _wrap(self, v: Tensor) -> Tensor:
        columns = [wrapped(column) if k in self.angles else column for k, column in enumerate(v.unbind(-1))]
        return torch.stack(columns, dim=-1) if columns else v

    def identity(
        self, *batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """Zero."""
        return torch.zeros(*batch, self.dim, dtype=dtype, device=device)

    def compose(self, a: Float[Tensor, "*a dim"], b: Float[Tensor, "*b dim"]) -> Float[Tensor, "*c dim"]:
        """The sum."""
        return self._wrap(a + b)

    def inverse(self, a: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The negative."""
        return self._wrap(-a)

    def exp(self, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The coordinates themselves."""
        self._check_coordinates(v)
        return self._wrap(v)

    def log(self, a: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The coordinates themselves."""
        return self._wrap(a)

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        scale: float = SPREAD,
    ) -> Float[Tensor, "*batch dim"]:
        """Normal coordinates with standard deviation `scale`, uniform angles."""
        drawn = scale * normal((*batch, self.dim), generator, device)
        if self.angles:
            turns = torch.pi * (2 * uniform((*batch, self.dim), generator, device) - 1)
            angular = torch.tensor([k in self.angles for k in range(self.dim)], device=drawn.device)
            drawn = torch.where(angular, turns, drawn)
        return deliver(drawn, dtype, device)

    def matrix(self, a: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch n n"]:
        """The linear map."""
        return self.linear(a)

    def shift(self, a: Float[Tensor, "*batch dim"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch n"]:
        """Zero."""
        return torch.zeros(*a.shape[:-1], self.space_dim, dtype=dtype or a.dtype, device=a.device)

    def lift(self, points: Float[Tensor, "*batch n"], samples: int = 1, generator: torch.Generator | None = None) -> Lifted:  # noqa: ARG002
        """The coordinates of the point in its orbit; the stabiliser is trivial, so all samples are equal."""
        self._check_points(points)
        return Lifted(self.coordinates(points).unsqueeze(-2).repeat_interleave(samples, -2), self.orbit(points))


class _OfSpace(Sized, Flow):
    """A flow of R^n for each n."""

    @property
    def space_dim(self) -> int:
        """The n of R^n."""
        return self.n


class Trivial(_OfSpace):
    """The group of the identity alone: every point of R^n is an orbit of its own.

    Args:
        n: dimension of the space.
    """

    @property
    def dim(self) -> int:
        """Zero."""
        return 0

    def coordinates(self, points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch 0"]:
        """None."""
        return points[..., :0]

    def orbit(self, points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The point."""
        self._check_points(points)
        return points

    def linear(self, a: Float[Tensor, "*batch 0"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch n n"]:
        """The identity."""
        return torch.eye(self.n, dtype=dtype or a.dtype, device=a.device).expand(*a.shape[:-1], self.n, self.n)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "0 n n"]:
        """Empty."""
        return torch.zeros(0, self.n, self.n, dtype=dtype)


class Scale(_OfSpace):
    """The scalings x -> exp(a) x of R^n.

    Args:
        n: dimension of the space.
    """

    @property
    def dim(self) -> int:
        """One."""
        return 1

    def coordinates(self, points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch 1"]:
        """Log |x|, and 0 at the origin, which no scaling moves."""
        return log_length(points).unsqueeze(-1)

    def orbit(self, points: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The direction; zero at the origin."""
        self._check_points(points)
        return unit(points) * (points != 0).any(-1, keepdim=True).to(points.dtype)

    def linear(self, a: Float[Tensor, "*batch 1"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch n n"]:
        """exp(a) I."""
        eye = torch.eye(self.n, dtype=dtype or a.dtype, device=a.device)
        return a.to(eye.dtype).exp().unsqueeze(-1) * eye

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "1 n n"]:
        """The identity matrix."""
        return torch.eye(self.n, dtype=dtype).unsqueeze(0)


class Squeeze(Flow):
    """The squeezes (x, y) -> (exp(a) x, exp(-a) y) of the plane.

    Points off the axes have hyperbolas for orbits. On the axes, where x y = 0, the lift is not equivariant.
    """

    @property
    def dim(self) -> int:
        """One."""
        return 1

    def coordinates(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 1"]:
        """(log|x| - log|y|) / 2."""
        x, y = log_size(points).unbind(-1)
        return (x - y).unsqueeze(-1) / 2

    def orbit(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The point of the orbit on a diagonal."""
        self._check_points(points)
        radius = (log_size(points).sum(-1, keepdim=True) / 2).exp() * (points != 0).all(-1, keepdim=True).to(points.dtype)
        return side(points) * radius

    def linear(self, a: Float[Tensor, "*batch 1"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2 2"]:
        """diag(exp(a), exp(-a))."""
        a = a.to(dtype or a.dtype)
        return torch.diag_embed(torch.cat((a, -a), dim=-1).exp())

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "1 2 2"]:
        """diag(1, -1)."""
        return torch.tensor([[[1, 0], [0, -1]]], dtype=dtype)


class ScaleSqueeze(Flow):
    """Scalings and squeezes of the plane together, (x, y) -> (exp(a + b) x, exp(a - b) y): each quadrant is one orbit.

    On the axes the lift is not equivariant.
    """

    @property
    def dim(self) -> int:
        """Two."""
        return 2

    def coordinates(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """((log|x| + log|y|) / 2, (log|x| - log|y|) / 2)."""
        x, y = log_size(points).unbind(-1)
        return torch.stack((x + y, x - y), dim=-1) / 2

    def orbit(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The signs of x and y."""
        self._check_points(points)
        return side(points)

    def linear(self, a: Float[Tensor, "*batch 2"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2 2"]:
        """diag(exp(a + b), exp(a - b))."""
        scale, squeeze = a.to(dtype or a.dtype).unbind(-1)
        return torch.diag_embed(torch.stack((scale + squeeze, scale - squeeze), dim=-1).exp())

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "2 2 2"]:
        """The identity and diag(1, -1)."""
        return torch.tensor([[[1, 0], [0, 1]], [[1, 0], [0, -1]]], dtype=dtype)


class ScaleRotation(Flow):
    """Scalings and rotations of the plane together, R* x SO(2), coordinates (log of the scale, angle): all points but 0 are one orbit."""

    angles = (1,)

    @property
    def dim(self) -> int:
        """Two."""
        return 2

    def coordinates(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """(log |x|, angle of x), both 0 at the origin."""
        x, y = unit(points).unbind(-1)
        return torch.stack((log_length(points), torch.atan2(y, x)), dim=-1)

    def linear(self, a: Float[Tensor, "*batch 2"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2 2"]:
        """The scaled rotation."""
        a = a.to(dtype or a.dtype)
        return a[..., :1, None].exp() * exp_special(a[..., 1:], 2)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "2 2 2"]:
        """The identity and the quarter turn."""
        return torch.cat((torch.eye(2, dtype=dtype).unsqueeze(0), skew_basis(2, dtype)))

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Float[Tensor, "samples 2"]]:
        """Identity, generic, and the half turn without scaling."""
        kinds = super().probes(samples, generator, dtype, device)
        turn = torch.zeros_like(kinds["generic"])
        turn[:, 1] = torch.pi
        return kinds | {"half turn": turn}


class _Along(Flow):
    """Translations of the plane along one axis."""

    axis: ClassVar[int]

    @property
    def dim(self) -> int:
        """One."""
        return 1

    def coordinates(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 1"]:
        """The coordinate along the axis."""
        return points[..., self.axis, None]

    def orbit(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 1"]:
        """The other coordinate."""
        self._check_points(points)
        return points[..., 1 - self.axis, None]

    def matrix(self, a: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 3 3"]:
        """Homogeneous matrices."""
        return homogeneous(self.linear(a), self.shift(a))

    def linear(self, a: Float[Tensor, "*batch 1"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2 2"]:
        """The identity."""
        return torch.eye(2, dtype=dtype or a.dtype, device=a.device).expand(*a.shape[:-1], 2, 2)

    def shift(self, a: Float[Tensor, "*batch 1"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2"]:
        """The vector along the axis."""
        direction = torch.eye(2, dtype=dtype or a.dtype, device=a.device)[self.axis]
        return a.to(direction.dtype) * direction

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "1 3 3"]:
        """The unit translation along the axis."""
        basis = torch.zeros(1, 3, 3, dtype=dtype)
        basis[0, self.axis, 2] = 1
        return basis

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Float[Tensor, "samples 1"]]:
        """Identity, generic, and translations a hundred times as far."""
        far = self.sample(samples, generator=generator, dtype=dtype, device=device, scale=FAR)
        return super().probes(samples, generator, dtype, device) | {"far translation": far}


class Tx(_Along):
    """Translations of the plane along the first axis."""

    axis = 0


class Ty(_Along):
    """Translations of the plane along the second axis."""

    axis = 1
