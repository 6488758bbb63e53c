"""What frames of space read from their input: points and vectors, wherever the contract says that they are.

Axes: b batch, k samples, n points, d dimension of space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.dial.symmetrize.base import Draws, OneFactorSampler, noise_dtype, one_factor
from torsor.errors import GroupError, RepresentationError
from torsor.groups import SE, SO, E, Group, O
from torsor.groups.motions import Motions
from torsor.representations import Irreps, Points, Representation, Vectors
from torsor.representations.base import Action
from torsor.symmetry import Actions, Symmetry

NO_VECTORS = "carries no points or vectors"


class Cloud(NamedTuple):
    """Points of an input, seen from the place that the group leaves fixed.

    Args:
        points: `[b, n, d]` without their centre, zero where they are not valid; at least single precision.
        valid: `[b, n]`.
        centre: `[b, d]`, the mean of the valid points where the group translates, else zero.
    """

    points: Float[Tensor, "b n d"]
    valid: Bool[Tensor, "b n"]
    centre: Float[Tensor, "b d"]


def actions_of(symmetry: Symmetry, name: str, factor: int) -> Action:
    """How one factor of the group acts on an input.

    Raises:
        GroupError: the contract does not name the input.
    """
    if name not in symmetry.inputs:
        raise GroupError(f"the contract says nothing of {name!r}: give one of {', '.join(symmetry.inputs)}")
    actions = symmetry.inputs[name]
    return actions[factor] if isinstance(actions, tuple) else actions


def for_factor(symmetry: Symmetry, factor: int, action: Action, other: Action) -> Actions:
    """The actions on a tensor that one factor moves in its way and all others in another."""
    actions = tuple(action if i == factor else other for i in range(len(symmetry.factors)))
    return actions if len(actions) > 1 else action


def spatial_factor(symmetry: Symmetry) -> int:
    """Which factor of the group turns space.

    Raises:
        GroupError: none or several do.
    """
    said = "that turn space: a frame needs one of SO(d), O(d), SE(d) and E(d)"
    return one_factor(symmetry, lambda factor: isinstance(factor, SO | O | SE | E), said)


class SpatialSampler(OneFactorSampler):
    """A sampler of the factor that turns space.

    Args:
        symmetry: the contract, with one factor SO(d), O(d), SE(d) or E(d).
        sources: names of the inputs whose points and vectors make the frame; all points if not given, all vectors where there are none.

    Raises:
        GroupError: the group does not turn space, or a source has neither points nor vectors.
    """

    def __init__(self, symmetry: Symmetry, sources: Sequence[str] | None = None) -> None:
        super().__init__(symmetry, spatial_factor(symmetry))
        self.sources = tuple(self._default_sources() if sources is None else sources)
        for name in self.sources:
            if not self._carries(name):
                raise GroupError(f"input {name!r} {NO_VECTORS} under {self.rotations}: name another source")
        if not self.sources:
            raise GroupError(f"no input {NO_VECTORS} under {self.rotations}: a frame of space has nothing to be made of")

    @property
    def rotations(self) -> Group:
        """The factor that turns space."""
        return self.symmetry.factors[self.factor]

    @property
    def dimension(self) -> int:
        """The d of R^d."""
        assert isinstance(self.rotations, SO | O | SE | E)
        return self.rotations.space_dim

    @property
    def proper(self) -> bool:
        """Whether the group has no reflections."""
        return isinstance(self.rotations, SO | SE)

    def _default_sources(self) -> list[str]:
        """All points; all vectors where there are no points."""
        points = [name for name in self.symmetry.inputs if isinstance(actions_of(self.symmetry, name, self.factor), Points)]
        return points or [name for name in self.symmetry.inputs if self._carries(name)]

    def _carries(self, name: str) -> bool:
        """Whether an input has points or vectors."""
        action = actions_of(self.symmetry, name, self.factor)
        return isinstance(action, Points) or bool(vector_slices(action, self.rotations))

    def cloud(self, inputs: Mapping[str, Any]) -> Cloud:
        """The points and vectors of the sources.

        Raises:
            GroupError: none of the sources is among the inputs.
        """
        mask = inputs.get(self.symmetry.mask) if self.symmetry.mask is not None else None
        found = [self._read(name, inputs[name], mask, noise_dtype(inputs)) for name in self.sources if inputs.get(name) is not None]
        if not found:
            raise GroupError(
                f"the frame is made of {', '.join(self.sources)}, but inputs has {', '.join(inputs) or 'nothing'}: give one of them"
            )
        centre = next((part.centre for part in found if part.centre is not None), None)
        points = torch.cat([part.points for part in found], 1)
        valid = torch.cat([part.valid for part in found], 1)
        return Cloud(
            points.where(valid.unsqueeze(-1), 0), valid, points.new_zeros(len(points), self.dimension) if centre is None else centre
        )

    def _read(self, name: str, x: Tensor, mask: Tensor | None, dtype: torch.dtype) -> _Part:
        """The points or vectors of one input."""
        action, x = actions_of(self.symmetry, name, self.factor), x.to(dtype)
        moves = isinstance(action, Points)
        slices = [slice(None)] if moves else vector_slices(action, self.rotations)
        vectors = torch.stack([x[..., place] for place in slices], -2)
        masked = mask is not None and x.ndim == mask.ndim + 1 and mask.shape == x.shape[:-1]
        valid = mask if masked else torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
        assert valid is not None
        valid = valid.unsqueeze(-1).expand(vectors.shape[:-1]).flatten(1)
        rows = vectors.reshape(len(x), -1, self.dimension)
        if not moves or not isinstance(self.rotations, Motions):
            return _Part(rows, valid, None)
        centre = masked_mean(rows, valid)
        rows = rows - centre.unsqueeze(1)
        # a point in the centre is there to rounding only, and what rounding leaves must not be taken for a direction
        rounding = (8 * torch.finfo(rows.dtype).eps) ** 2 * centre.detach().square().sum(-1)
        away = rows.detach().square().sum(-1, keepdim=True) > rounding[:, None, None]
        return _Part(rows.where(away, 0), valid, centre)

    def draws(
        self,
        inputs: Mapping[str, Any],
        rotations: Float[Tensor, "b k d d"],
        centre: Float[Tensor, "b d"],
        weights: Float[Tensor, "b k"] | None = None,
    ) -> Draws:
        """Elements with these rotations, that take the origin to the centre where the group translates."""
        group, shifts = self.rotations, centre.unsqueeze(1).expand(rotations.shape[:-1])
        return self.of_factor(inputs, group.assemble(rotations, shifts) if isinstance(group, Motions) else rotations, weights)


class _Part(NamedTuple):
    """What one input adds to a cloud; `centre` is None where it is not translated."""

    points: Tensor
    valid: Tensor
    centre: Tensor | None


def masked_mean(points: Float[Tensor, "b n d"], valid: Bool[Tensor, "b n"]) -> Float[Tensor, "b d"]:
    """The mean of the valid points, zero where there is none."""
    total = points.where(valid.unsqueeze(-1), 0).sum(1)
    return total / valid.sum(1, keepdim=True).clamp(min=1).to(points.dtype)


def summands(action: Action, group: Group) -> list[tuple[slice, Representation]]:
    """The summands of a representation with their places on the last axis; none where the action is no representation of the group."""
    if not isinstance(action, Representation):
        return []
    try:
        bound = action.on(group)
    except RepresentationError:
        return []
    found: list[tuple[slice, Representation]] = []
    start = 0
    for copies, part in bound.parts():
        found += [(slice(start + i * part.dim, start + (i + 1) * part.dim), part) for i in range(copies)]
        start += copies * part.dim
    return found


def vector_slices(action: Action, group: Group) -> list[slice]:
    """Where the vectors lie on the last axis of a tensor that a group moves; none where it has none."""
    return [place for place, part in summands(action, group) if _is_vector(part, group)]


def _is_vector(part: Representation, group: Group) -> bool:
    """Whether a summand is R^d; a pseudovector is one where there are no reflections."""
    if isinstance(part, Irreps):
        (_, irrep), *_ = part.terms
        return irrep.l == 1 and (irrep.p == -1 or isinstance(group, SO | SE))
    return isinstance(part, Vectors)
