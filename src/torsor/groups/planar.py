"""The cyclic groups C(n) and dihedral groups D(n) of the plane, as int64 pairs (turns, flip) `[..., 2]`.

(t, f) is the map x -> R(2 pi t / n) F^f x with F = diag(1, -1): first the flip, then the turns.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from torsor.groups.base import ActsOnSpace, FiniteGroup, Lifted, Sized
from torsor.groups.numerics import uniform
from torsor.groups.polyhedra import plane_rotation


class Planar(Sized, FiniteGroup, ActsOnSpace):
    """What C(n) and D(n) have in common. Elements are int64 whatever dtype is asked for.

    Args:
        n: number of turns in a full circle.
    """

    flips: int

    compact = True

    @property
    def order(self) -> int:
        """Number of elements."""
        return self.n * self.flips

    @property
    def space_dim(self) -> int:
        """The n of R^n."""
        return 2

    def identity(
        self,
        *batch: int,
        dtype: torch.dtype | None = None,  # noqa: ARG002
        device: torch.device | str | None = None,
    ) -> Int64[Tensor, "*batch 2"]:
        """No turn, no flip."""
        return torch.zeros(*batch, 2, dtype=torch.int64, device=device)

    def compose(self, a: Int64[Tensor, "*a 2"], b: Int64[Tensor, "*b 2"]) -> Int64[Tensor, "*c 2"]:
        """(t, f)(s, e) = (t + (-1)^f s, f + e)."""
        turns = a[..., 0] + (1 - 2 * a[..., 1]) * b[..., 0]
        return torch.stack((turns.remainder(self.n), a[..., 1] ^ b[..., 1]), dim=-1)

    def inverse(self, a: Int64[Tensor, "*batch 2"]) -> Int64[Tensor, "*batch 2"]:
        """Turns go back; what flips is its own inverse."""
        turns = (2 * a[..., 1] - 1) * a[..., 0]
        return torch.stack((turns.remainder(self.n), a[..., 1]), dim=-1)

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,  # noqa: ARG002
        device: torch.device | str | None = None,
    ) -> Int64[Tensor, "*batch 2"]:
        """Uniform elements."""
        index = (uniform(batch, generator, device) * self.order).long()
        return torch.stack((index % self.n, index // self.n), dim=-1).to(device)

    def elements(self, device: torch.device | str | None = None) -> Int64[Tensor, "order 2"]:
        """All turns, then all flipped ones."""
        index = torch.arange(self.order, device=device)
        return torch.stack((index % self.n, index // self.n), dim=-1)

    def embed(self, g: Int64[Tensor, "*batch 2"], dtype: torch.dtype = torch.float64) -> Float[Tensor, "*batch 2 2"]:
        """The matrix in O(2); whole quarter turns have the entries 0, 1 and -1 exactly."""
        turned = plane_rotation(g[..., 0], self.n)
        flip = 1 - 2 * g[..., 1:].to(turned.dtype)
        return torch.cat((turned[..., :1], turned[..., 1:] * flip.unsqueeze(-1)), dim=-1).to(dtype)

    def matrix(self, a: Int64[Tensor, "*batch 2"], dtype: torch.dtype = torch.float64) -> Float[Tensor, "*batch 2 2"]:
        """The matrix in O(2)."""
        return self.embed(a, dtype)

    def algebra(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "0 2 2"]:
        """Empty: the group is finite."""
        return torch.zeros(0, 2, 2, dtype=dtype)

    def linear(self, a: Int64[Tensor, "*batch 2"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2 2"]:
        """The matrix in O(2)."""
        return self.embed(a, dtype or torch.float64)

    def shift(self, a: Int64[Tensor, "*batch 2"], dtype: torch.dtype | None = None) -> Float[Tensor, "*batch 2"]:
        """Zero."""
        return torch.zeros(*a.shape[:-1], 2, dtype=dtype or torch.float64, device=a.device)

    def _turn(self, points: Tensor) -> Tensor:
        """The element `[..., 2]` that takes the representative of the orbit to the point."""
        angle = torch.atan2(points[..., 1], points[..., 0]).detach()
        turns = (angle * self.n / (2 * torch.pi)).floor().long().remainder(self.n)
        return torch.stack((turns, torch.zeros_like(turns)), dim=-1)

    def orbit(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The point of the orbit in the wedge of angles [0, 2 pi / n) (for D(n) [0, pi / n])."""
        self._check_points(points)
        inverse = self.embed(self.inverse(self._turn(points)), points.dtype)
        return (inverse @ points.unsqueeze(-1)).squeeze(-1)

    def lift(self, points: Float[Tensor, "*batch 2"], samples: int = 1, generator: torch.Generator | None = None) -> Lifted:  # noqa: ARG002
        """The element that takes the representative of the orbit, which names it, to the point.

        The stabiliser is trivial, so all samples are equal; on the borders of the wedges and at 0 rounding decides.
        """
        self._check_points(points)
        return Lifted(self._turn(points).unsqueeze(-2).repeat_interleave(samples, -2), self.orbit(points))

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Identity, generic, and the half and quarter turn where the group has them."""
        kinds: dict[str, Tensor] = super().probes(samples, generator, dtype, device)
        for kind, parts in (("half turn", 2), ("quarter turn", 4)):
            if self.n % parts == 0:
                kinds[kind] = torch.tensor([self.n // parts, 0], device=kinds["generic"].device).repeat(samples, 1)
        return kinds


class C(Planar):
    """The rotations by whole n-ths of a turn.

    Args:
        n: number of turns in a full circle.
    """

    flips = 1

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> Int64[Tensor, "k 2"]:  # noqa: ARG002
        """One turn."""
        return torch.tensor([[1, 0]])[: self.n - 1]


class D(Planar):
    """The rotations by whole n-ths of a turn, and their products with the flip of the second axis: the symmetries of a regular n-gon.

    Args:
        n: number of corners.
    """

    flips = 2

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> Int64[Tensor, "k 2"]:  # noqa: ARG002
        """The flip and one turn."""
        return torch.tensor([[0, 1], [1, 0]])[: self.n]

    def _turn(self, points: Tensor) -> Tensor:
        angle = torch.atan2(points[..., 1], points[..., 0]).detach() * self.n / torch.pi
        half_turns = angle.floor().long()
        flipped = half_turns.remainder(2)
        return torch.stack((((half_turns + flipped) // 2).remainder(self.n), flipped), dim=-1)

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Those of C(n), and random reflections."""
        kinds = super().probes(samples, generator, dtype, device)
        turns = self.sample(samples, generator=generator, device=device)[:, :1]
        return kinds | {"reflection": torch.cat((turns, torch.ones_like(turns)), dim=-1)}
