"""Weighted frames: averages over a few elements whose weights vanish where the elements switch, so that nothing jumps.

Dym, Lawrence, Siegel: Equivariant Frames and the Impossibility of Continuous Canonicalization (2024). No choice of one element, and no
small frame with equal weights, is continuous on all inputs. With weights w_k(x) that go to zero wherever g_k(x) has no limit,

    phi(x) = sum_k w_k(x) g_k(x) f(g_k(x)^-1 x)

is continuous for every continuous f. Weights here are polynomials divided by their sum.

Axes: b batch, k elements, n points, m directions, q numbers of an item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from torsor.dial.symmetrize.base import Draws
from torsor.dial.symmetrize.orders import PlaceSampler
from torsor.dial.symmetrize.permutations import descending_order
from torsor.dial.symmetrize.spatial import SpatialSampler, actions_of
from torsor.errors import GroupError, ShapeError
from torsor.groups.numerics import unit
from torsor.groups.special_orthogonal import section
from torsor.nn.noise_sources import FixedNoise
from torsor.representations import Permuted
from torsor.symmetry import Symmetry


def shares(weights: Float[Tensor, "*batch k"], least: float | Tensor = 0.0) -> Float[Tensor, "*batch k"]:
    """The weights divided by their sum; all alike where the sum is not above `least`."""
    total = weights.sum(-1, keepdim=True)
    some = total > least
    return torch.where(some, weights, 1 / weights.shape[-1]) / torch.where(some, total, 1)


class WeightedFrame(SpatialSampler):
    """A continuous frame of SO(d) or O(d), with or without translations, d = 2 or 3, made of the points themselves.

    In the plane each point makes an element, which turns the first axis towards it, with a weight that is the square of its distance from
    the centre. In space each ordered pair makes one, by Gram-Schmidt; its weight is that of the first point times the share that the second
    has in the squared distances of all points from the line through the centre and the first. O(d) takes both directions of the last axis.
    That is n elements for SO(2), 2 n for O(2), n (n - 1) for SO(3) and 2 n (n - 1) for O(3).

    Invariant outputs are continuous everywhere, those that turn wherever the points span the plane or at least a plane of space. Exact but
    where the input has a continuous stabiliser: points on one line of space, or all in the centre; it is so up to that stabiliser there.

    Args:
        symmetry: the contract, with one factor SO(d), O(d), SE(d) or E(d).
        sources: names of the inputs that make the frame; all points if not given, all vectors where there are none.

    Raises:
        GroupError: the group does not turn a plane or space, or a source has neither points nor vectors.
    """

    exactness = "exact"

    def __init__(self, symmetry: Symmetry, sources: Sequence[str] | None = None) -> None:
        super().__init__(symmetry, sources)
        if self.dimension not in (2, 3):
            raise GroupError(
                f"a weighted frame of {self.rotations} is not known: it needs the plane or space, d = 2 or 3; use RandomPCAFrame"
            )

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """All elements with their weights, whatever number of samples is asked for."""
        cloud = self.cloud(inputs)
        axes, weights = (_plane if self.dimension == 2 else _space)(cloud.points)
        if not self.proper:
            axes = torch.cat((axes, torch.cat((axes[..., :-1], -axes[..., -1:]), -1)), 1)
            weights = torch.cat((weights, weights), 1) / 2
        return self.draws(inputs, axes, cloud.centre, weights)


def _plane(points: Float[Tensor, "b n 2"]) -> tuple[Float[Tensor, "b n 2 2"], Float[Tensor, "b n"]]:
    """For each point the rotation that turns the first axis towards it, and its weight."""
    first = unit(points)
    second = torch.stack((-first[..., 1], first[..., 0]), -1)
    return torch.stack((first, second), -1), shares(points.square().sum(-1))


def _space(points: Float[Tensor, "b n 3"]) -> tuple[Float[Tensor, "b k 3 3"], Float[Tensor, "b k"]]:
    """For each ordered pair of points the rotation that Gram-Schmidt makes of it, and its weight."""
    n = points.shape[1]
    i, j = torch.tensor([(i, j) for i in range(n) for j in range(n) if i != j or n == 1], device=points.device).unbind(-1)
    first = unit(points)
    across = points.unsqueeze(1) - (first @ points.mT).unsqueeze(-1) * first.unsqueeze(2)  # [b, i, j, 3]
    distances = across.square().sum(-1)
    # what is within rounding of the line of the first point has no direction across it
    rounding = (8 * torch.finfo(points.dtype).eps) ** 2 * points.detach().square().sum((-1, -2))[:, None, None]
    off_line = (distances > rounding).unsqueeze(-1)
    perpendicular = section(first)[..., 1].unsqueeze(2)
    second = torch.where(off_line, across, perpendicular)
    second = unit(second - (second * first.unsqueeze(2)).sum(-1, keepdim=True) * first.unsqueeze(2))
    first = first.unsqueeze(2).expand_as(second)
    axes = torch.stack((first, second, torch.linalg.cross(first, second)), -1)
    of_second = shares(torch.unflatten(distances[:, i, j], 1, (n, -1)), rounding)
    return axes[:, i, j], (shares(points.square().sum(-1)).unsqueeze(-1) * of_second).flatten(1)


def directions_in_general_position(points: int, dimension: int, seed: int = 0, device: torch.device | str = "cpu") -> Float[Tensor, "m q"]:
    """So many unit vectors that for every set of distinct points one of them tells all points apart, in float64.

    A pair of points is not told apart by the vectors of one hyperplane, of which d - 1 at most are among vectors in general position. So
    `enough_directions` are enough. Those for fewer points are the first of those for more.

    Args:
        points: the n, at most as many.
        dimension: the d.
        seed: of the vectors, which are normal ones of length 1.
        device: where they go.
    """
    shape = (1, enough_directions(points, dimension), dimension)
    return unit(FixedNoise(seed).normal("directions", shape, torch.device(device))[0])


def enough_directions(points: int, dimension: int) -> int:
    """(d - 1) n (n - 1) / 2 + 1 for n points of R^d."""
    return (dimension - 1) * points * (points - 1) // 2 + 1


class WeightedOrderFrame(PlaceSampler):
    """A continuous frame of the permutations of a cloud of distinct points: an order along each of some fixed directions.

    The weight of a direction is the smallest gap between neighbours along it, which is zero where two of them change places. Exact, and
    continuous where all points differ; where two points are alike it is exact up to their exchange.

    Args:
        symmetry: the contract, with one factor S().
        directions: `[m, q]`; with too few of them a cloud may have weights that are all zero, and counts all orders alike. If not given,
            those of `directions_in_general_position` for the points that each cloud has.
        sources: names of the inputs `[b, n, ...]` whose numbers, one after another, are the q coordinates of an item; all that are permuted
            along axis 1 if not given. They must be invariant under the other factors of the group.

    Raises:
        GroupError: the group does not permute one set, or a source is not a set of items.
    """

    exactness = "exact"
    directions: Tensor | None

    def __init__(self, symmetry: Symmetry, directions: Float[Tensor, "m q"] | None = None, sources: Sequence[str] | None = None) -> None:
        super().__init__(symmetry)
        self.register_buffer("directions", directions, persistent=False)
        sets = [name for name in symmetry.inputs if actions_of(symmetry, name, self.factor) == Permuted(1)]
        self.sources = tuple(sets if sources is None else sources)
        if not self.sources or any(name not in sets for name in self.sources):
            raise GroupError(f"sources is {self.sources}: give names of inputs whose axis 1 is permuted, of {', '.join(sets) or 'none'}")

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """One order for each direction, whatever number of samples is asked for."""
        valid, items = self.valid(inputs), self._items(inputs)
        directions, used = self._directions(items, valid)
        heights = (directions.to(items) @ items.mT).where(valid.unsqueeze(1), torch.inf)
        gaps = heights.sort(-1).values.diff(dim=-1)
        inner = torch.arange(gaps.shape[-1], device=gaps.device) < valid.sum(-1, keepdim=True) - 1
        gaps = gaps.where(inner.unsqueeze(1), torch.inf)
        least = gaps.amin(-1) if gaps.shape[-1] else gaps.new_full(gaps.shape[:-1], torch.inf)
        weights = shares(torch.where(least.isfinite(), least, 1).where(used, 0))
        return self.of_factor(inputs, self._orders(heights.detach(), valid.unsqueeze(1).expand(heights.shape)), weights)

    def _items(self, inputs: Mapping[str, Any]) -> Float[Tensor, "b n q"]:
        """The coordinates of each item."""
        dtype = torch.promote_types(inputs[self.sources[0]].dtype, torch.float32)
        return torch.cat([inputs[name].flatten(2).to(dtype) for name in self.sources], -1)

    def _directions(self, items: Float[Tensor, "b n q"], valid: Bool[Tensor, "b n"]) -> tuple[Float[Tensor, "m q"], Bool[Tensor, "b m"]]:
        """The directions, and which of them count: of our own no more than the valid items need, however far they are padded."""
        n, q = items.shape[1:]
        if self.directions is None:
            found = directions_in_general_position(n, q, device=items.device)
            needed = torch.tensor([enough_directions(count, q) for count in range(n + 1)], device=items.device)
            return found, torch.arange(len(found), device=items.device) < needed[valid.sum(-1, keepdim=True)]
        if q != self.directions.shape[-1]:
            raise ShapeError(f"items have {q} coordinates, but directions is {list(self.directions.shape)}: give [m, {q}]")
        return self.directions, valid.new_ones(len(items), len(self.directions))

    def _orders(self, heights: Float[Tensor, "b m n"], valid: Tensor) -> Int64[Tensor, "b m n"]:
        """The items along each direction, ascending."""
        finite = heights.where(valid, 0)
        scale = finite.abs().amax((-1, -2), keepdim=True)
        return descending_order(-finite / torch.where(scale > 0, scale, 1), None, valid)
