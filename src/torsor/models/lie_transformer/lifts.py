"""From points to group elements, and who draws the stabiliser.

Hutchinson, Le Lan, Zaidi, Dupont, Teh, Kim: LieTransformer (2021), section 3.1. A point x becomes the elements g with g x0 = x, x0 the
origin of its orbit. Where many elements do that (rotations about the point), each sample of the stabiliser is one *frame* of the point.

Axes: b batch, n points, s samples of the stabiliser, d dimension of space, q identifiers of the orbit. The rows of a frame `[..., d, d]`
are its axes in coordinates of space: the rotation that takes the frame of space to it, transposed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.errors import ConfigError, GroupError, ShapeError
from torsor.groups import SE, SO, TC, ActsOnSpace, E, Flow, Group, O, T
from torsor.groups.special_orthogonal import extend
from torsor.models.lie_transformer.config import LieTransformerConfig
from torsor.models.lie_transformer.local_frames import central_frames, local_frames

LIFTING = "Trivial(n), T(n), SO(n), O(n), SE(n) and E(n) with n = 2 or 3, TC(n), Scale(n), ScaleRotation, ScaleSqueeze, Squeeze, Tx, Ty"


class Elements(NamedTuple):
    """Lifted points.

    Args:
        frames: `[b, n, s, d, d]`; None for groups that do not turn the axes of a point's frame.
        places: `[b, n, k]`, positions for groups that translate, else coordinates in the orbit.
        orbits: `[b, n, q]`, which orbit a point is in.
    """

    frames: Float[Tensor, "b n s d d"] | None
    places: Float[Tensor, "b n k"]
    orbits: Float[Tensor, "b n q"]


class Lift(ABC):
    """How a group lifts points: one element a point, unless a subclass says otherwise.

    Args:
        group: the group.
    """

    samples: int
    """Elements of each point."""
    places: int
    """Length of `Elements.places`."""
    orbits: int
    """Length of `Elements.orbits`."""
    draws = False
    """Whether frames are noise."""
    framed = False
    """Whether elements have frames, which may be given."""

    def __init__(self, group: Group) -> None:
        assert isinstance(group, ActsOnSpace)
        self.group, self.dimension = group, group.space_dim
        self.samples, self.places = 1, group.space_dim
        self.orbits = group.orbit(torch.zeros(1, group.space_dim)).shape[-1]

    @abstractmethod
    def lift(
        self, positions: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None, frames: Float[Tensor, "b n s d d"] | None
    ) -> Elements:
        """Elements of the points, with the frames that are given or with those of the data."""

    def draw(
        self,
        positions: Float[Tensor, "b n d"],  # noqa: ARG002
        generator: torch.Generator,  # noqa: ARG002
    ) -> Float[Tensor, "b n s d d"]:
        """Random frames."""
        raise GroupError(f"the lift of {self.group} draws nothing")


class FlowLift(Lift):
    """T(n) and the commutative flows: one element a point, its coordinates."""

    def __init__(self, group: T | Flow) -> None:
        super().__init__(group)
        self.flow = group if isinstance(group, Flow) else None
        self.places = group.dim

    def lift(
        self,
        positions: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "b n"] | None,  # noqa: ARG002
        frames: Float[Tensor, "b n s d d"] | None,  # noqa: ARG002
    ) -> Elements:
        """Coordinates in the orbit."""
        places = positions if self.flow is None else self.flow.coordinates(positions)
        return Elements(None, places, self.group.orbit(positions))


class CyclicLift(Lift):
    """T(2) x| C_n: all n turns of the axes, in order."""

    def __init__(self, group: TC) -> None:
        super().__init__(group)
        self.samples, self.rotations = group.n, group.rotations

    def lift(
        self,
        positions: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "b n"] | None,  # noqa: ARG002
        frames: Float[Tensor, "b n s d d"] | None,  # noqa: ARG002
    ) -> Elements:
        """The turns as frames."""
        turns = self.rotations(positions.dtype).to(positions.device).mT
        return Elements(turns.expand(*positions.shape[:2], -1, -1, -1), positions, self.group.orbit(positions))


class FramedLift(Lift):
    """Groups of rotations, with or without translations and reflections: frames are given, drawn, or made from the data.

    Args:
        group: the group.
        config: where frames come from, and how many.
    """

    framed = True

    def __init__(self, group: SE | E | SO | O, config: LieTransformerConfig) -> None:
        super().__init__(group)
        if self.dimension not in (2, 3):
            raise GroupError(f"the lift of {group} has no frames: points are in R^2 or R^3")
        self.moves = isinstance(group, SE | E)
        self.mirrors = isinstance(group, E | O)
        self.places = self.dimension if self.moves else 0
        self.source = config.lift
        self.samples = self._samples(config.samples)
        # SO(2) and O(2) have a trivial and a finite stabiliser: nothing to draw
        self.draws = config.lift != "data" and (self.moves or self.dimension == 3)
        if self.draws and config.lift == "shared" and not self.moves:
            raise GroupError(f"lift 'shared' needs a group that moves every point to every other, not {group}: take 'rotated'")

    def _samples(self, samples: int) -> int:
        if not self.moves and self.dimension == 2:
            return 2 if self.mirrors else 1
        if self.mirrors and samples % 2:
            if samples > 1:
                raise ConfigError(f"samples is {samples} but {self.group} has mirrored frames too: give an even number")
            return 2
        return samples

    @property
    def turned(self) -> int:
        """Frames of a point that are not mirrored."""
        return self.samples // 2 if self.mirrors else self.samples

    def lift(
        self, positions: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None, frames: Float[Tensor, "b n s d d"] | None
    ) -> Elements:
        """Positions with frames; behind the mask those of space."""
        expected = (*positions.shape[:2], self.samples, self.dimension, self.dimension)
        if frames is None:
            frames = self._of_data(positions, mask)
        elif tuple(frames.shape) != expected:
            raise ShapeError(f"lifts is {list(frames.shape)}: give {list(expected)}, the axes of {self.samples} frames a point in rows")
        if mask is not None:
            frames = torch.where(mask[:, :, None, None, None], frames, torch.eye(self.dimension, dtype=frames.dtype, device=frames.device))
        places = positions if self.moves else positions[..., :0]
        return Elements(frames, places, self.group.orbit(positions))

    def _of_data(self, positions: Tensor, mask: Tensor | None) -> Float[Tensor, "b n s d d"]:
        frames = (local_frames if self.moves else central_frames)(positions, mask)
        spread = self._spread(positions)
        return self._with_mirrored(spread @ frames.unsqueeze(2))

    def _spread(self, like: Tensor) -> Float[Tensor, "s d d"]:
        """A fixed finite set of turns of a frame, the identity first."""
        if self.moves:
            spread = spread_rotations(self.dimension, self.turned)
        elif self.dimension == 2:
            spread = torch.eye(2, dtype=torch.float64).unsqueeze(0)
        else:
            spread = extend(SO(2).cyclic(self.turned))
        return spread.to(like)

    def _with_mirrored(self, frames: Float[Tensor, "b n t d d"]) -> Float[Tensor, "b n s d d"]:
        """Frames, and their images with the last axis reversed."""
        if not self.mirrors:
            return frames
        return torch.cat((frames, torch.cat((frames[..., :-1, :], -frames[..., -1:, :]), dim=-2)), dim=2)

    def draw(self, positions: Float[Tensor, "b n d"], generator: torch.Generator) -> Float[Tensor, "b n s d d"]:
        """Random frames of every point."""
        batch, points = positions.shape[:2]
        if not self.moves:
            # stratified angles about the point, on a frame of the data; its own angle is lost in the offset
            elements: Tensor = SO(3).lift(positions, self.turned, generator).elements
            return self._with_mirrored(elements.mT)
        rotations, shape = SO(self.dimension), (batch, 1 if self.source == "shared" else points)
        if self.source == "sampled" and self.dimension == 3:
            drawn = rotations.sample(*shape, self.turned, generator=generator, dtype=torch.float64)
        else:
            drawn = rotations.stratified_sample(self.turned, *shape, generator=generator, dtype=torch.float64)
        # transposed, since the rows of a frame are its axes
        return self._with_mirrored(drawn.to(positions).mT.expand(batch, points, -1, -1, -1))


def spread_rotations(dimension: int, count: int) -> Float[Tensor, "count d d"]:
    """Rotations that are spread out, the identity first: a cyclic group of the plane, in space the polyhedral group of this order if any.

    Other numbers in space are cyclic groups about the last axis.
    """
    if dimension == 3:
        for name, order in (("klein", 4), ("tetrahedral", 12), ("octahedral", 24), ("icosahedral", 60)):
            if order == count:
                return SO(3).finite_subgroup(name)
    return SO(dimension).cyclic(count)


def lift_of(group: Group, config: LieTransformerConfig) -> Lift:
    """The lift of a group.

    Raises:
        GroupError: it has none; names those which have.
    """
    if isinstance(group, T | Flow):
        return FlowLift(group)
    if isinstance(group, TC):
        return CyclicLift(group)
    if isinstance(group, SE | E | SO | O):
        return FramedLift(group, config)
    raise GroupError(f"{group} does not lift points: give one of {LIFTING}")
