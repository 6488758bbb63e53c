"""Lorentz transformations of four-vectors (E, px, py, pz), as matrices `[..., 4, 4]` that keep E^2 - px^2 - py^2 - pz^2.

`Lorentz()` is all of O(1, 3); `RestrictedLorentz()` is its identity component SO+(1, 3), without parity and time reversal. Coordinates of
the Lie algebra: first the rotation w (axis times angle, as in SO(3)), then the boost u (direction times rapidity). A boost of rapidity r
has the velocity tanh(r) and the condition number e^(2 r).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.groups.base import ActsLinearly
from torsor.groups.matrix_log import matrix_log
from torsor.groups.numerics import deliver, normal, safe_norm, signs, unit
from torsor.groups.special_orthogonal import extend, haar, half_turns, quarter_turns, skew_basis

METRIC = (1.0, -1.0, -1.0, -1.0)
RAPIDITY = 2.0
"""Rapidity of the probes "boost": velocity 0.96, condition number 55."""


def minkowski_square(x: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape"]:
    """The invariant E^2 - px^2 - py^2 - pz^2, as (E - |p|) (E + |p|), since the difference of nearly equal squares has few digits."""
    momentum = safe_norm(x[..., 1:])
    return (x[..., 0] - momentum) * (x[..., 0] + momentum)


def boost(rapidity: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4 4"]:
    """The boosts exp(u . K): cosh r at [0, 0], sinh r along u / r, and I + (cosh r - 1) u u^T / r^2 among the space axes, r = |u|."""
    size, direction = safe_norm(rapidity)[..., None, None], unit(rapidity)
    outer = direction.unsqueeze(-1) * direction.unsqueeze(-2)
    eye = torch.eye(3, dtype=rapidity.dtype, device=rapidity.device)
    across = size.sinh() * direction.unsqueeze(-2)
    # cosh r - 1 by the half angle, which keeps its digits for slow boosts
    block = eye + 2 * (size / 2).sinh().square() * outer
    return torch.cat((torch.cat((size.cosh(), across), -1), torch.cat((across.mT, block), -1)), -2)


class LorentzTransformations(ActsLinearly):
    """What the Lorentz group and its identity component have in common."""

    @property
    def name(self) -> str:
        """The string that `parse` reads back."""
        return type(self).__name__

    @property
    def compact(self) -> bool:
        """Whether `sample` is Haar."""
        return False

    @property
    def size(self) -> int:
        """The N of its N x N matrices: one time, three space axes."""
        return 4

    @property
    def dim(self) -> int:
        """Dimension of the Lie algebra."""
        return 6

    def inverse(self, a: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
        """Metric, transpose, metric."""
        metric = torch.tensor(METRIC, dtype=a.dtype, device=a.device)
        return metric.unsqueeze(-1) * a.mT * metric

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "6 4 4"]:
        """Rotations about the space axes, then boosts along them."""
        boosts = torch.zeros(3, 4, 4, dtype=dtype)
        for axis in range(3):
            boosts[axis, 0, axis + 1] = boosts[axis, axis + 1, 0] = 1
        return torch.cat((pad(skew_basis(3, dtype), (1, 0, 1, 0)), boosts))

    def exp(self, v: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch 4 4"]:
        """The matrix exponential of rotation and boost together; for a boost alone see `boost`."""
        self._check_coordinates(v)
        element: Tensor = torch.linalg.matrix_exp(torch.einsum("...k, kij -> ...ij", v, self.algebra(v.dtype).to(v.device)))
        return element

    def log(self, a: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 6"]:
        """Coordinates of the principal logarithm, rotation angles below pi; NaN outside the identity component, where there is none."""
        log = matrix_log(a)
        turn = [(log[..., j, i] - log[..., i, j]) / 2 for i, j in ((2, 3), (3, 1), (1, 2))]
        push = [(log[..., 0, axis] + log[..., axis, 0]) / 2 for axis in (1, 2, 3)]
        coordinates = torch.stack((*turn, *push), -1)
        connected = (torch.linalg.det(a.detach()) > 0) & (a.detach()[..., 0, 0] > 0)
        return torch.where(connected.unsqueeze(-1), coordinates, torch.full_like(coordinates, torch.nan))

    def orbit(self, points: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch q"]:
        """The squared mass."""
        self._check_points(points)
        return minkowski_square(points).unsqueeze(-1)

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        scale: float = 0.5,
    ) -> Float[Tensor, "*batch 4 4"]:
        """A Haar rotation, then a boost whose rapidity vector is normal with standard deviation `scale` along each axis.

        The mean rapidity is 1.6 `scale`; at the default one boost in a hundred is faster than rapidity 1.7.
        """
        turn = extend(haar(batch, 3, generator, device))
        push = boost(scale * normal((*batch, 3), generator, device))
        return deliver(self._flip(push @ turn, generator), dtype, device)

    def _flip(self, connected: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        """Elements of the identity component, moved to components drawn at random."""
        return connected

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Identity, generic, half and quarter turns of space, and boosts of rapidity 2 in any direction."""
        generic = self.sample(samples, generator=generator, dtype=dtype, device=device)
        push = boost(RAPIDITY * unit(normal((samples, 3), generator, device)))
        return {
            "identity": self.identity(samples, dtype=generic.dtype, device=generic.device),
            "generic": generic,
            "half turn": deliver(extend(half_turns((samples,), 3, generator, device)), dtype, device),
            "quarter turn": deliver(extend(quarter_turns((samples,), 3, generator, device)), dtype, device),
            "boost": deliver(push, dtype, device),
        }


class Lorentz(LorentzTransformations):
    """The Lorentz group O(1, 3): rotations and boosts, parity and time reversal."""

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "2 4 4"]:
        """Parity, which turns the space axes round, and time reversal, which turns the time axis round."""
        metric = torch.diag(torch.tensor(METRIC, dtype=dtype))
        return torch.stack((metric, -metric))

    def _flip(self, connected: Tensor, generator: torch.Generator | None) -> Tensor:
        """Each of the four components with equal odds."""
        time, space = (signs(connected.shape[:-2], generator, connected.device).to(connected.device) for _ in range(2))
        return connected * torch.stack((time, space, space, space), -1).unsqueeze(-2)

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Those of the identity component, parity and time reversal."""
        kinds = super().probes(samples, generator, dtype, device)
        parity, reversal = self.discrete_generators(kinds["identity"].dtype).to(kinds["identity"].device)
        return kinds | {"parity": parity.repeat(samples, 1, 1), "time reversal": reversal.repeat(samples, 1, 1)}


class RestrictedLorentz(LorentzTransformations):
    """The proper orthochronous Lorentz transformations SO+(1, 3): rotations, boosts and their products."""

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> None:
        """None: the group is connected."""

    def orbit(self, points: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 2"]:
        """The squared mass, and on and inside the light cone the sign of the energy, which no such transformation changes."""
        mass = super().orbit(points)
        return torch.cat((mass, torch.where(mass >= 0, points[..., :1].sign(), torch.zeros_like(mass))), -1)
