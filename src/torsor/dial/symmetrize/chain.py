"""Frames of product groups, one factor after another.

p(g_1 g_2 | x) = p_1(g_1 | x) p_2(g_2 | g_1^-1 x)

The second sampler sees the input as the first has put it upright, so it may use coordinates where it has to be invariant.

Axes: b batch, k samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torsor.dial.symmetrize.base import Draws, Sampler, noise_dtype, repeated
from torsor.errors import GroupError
from torsor.groups.base import Element
from torsor.nn.noise_sources import NoiseSource
from torsor.symmetry import Exactness

WEAKEST_FIRST: tuple[Exactness, ...] = ("none", "approximate", "relaxed", "in expectation", "in distribution", "coupled", "exact")


class Chained(Sampler):
    """Samplers one after another, each for factors of its own, each on what the earlier ones have put upright.

    Every sampler is equivariant to its own factors and invariant to all others: as frames of space do not depend on the order of points.
    Samplers that list a frame are listed together; with one that draws, each sample has a chain of its own.

    Args:
        stages: two samplers or more, made for one contract.

    Raises:
        GroupError: they were made for different contracts, share a factor, or have noise of one name.
    """

    def __init__(self, *stages: Sampler) -> None:
        if not stages or any(stage.symmetry != stages[0].symmetry for stage in stages):
            raise GroupError("a chain is made of samplers of one contract: give at least one, all made with the same symmetry")
        shared = [i for i, drawn in enumerate(zip(*(stage.moving for stage in stages), strict=True)) if sum(drawn) > 1]
        if shared:
            raise GroupError(f"{stages[0].symmetry.factors[shared[0]]} is drawn by several samplers of a chain: give one for each factor")
        names = [name for stage in stages for name in stage.noise]
        if len(set(names)) < len(names):
            raise GroupError(f"the samplers of a chain ask for noise of the same names, {', '.join(sorted(names))}: give different kinds")
        super().__init__(stages[0].symmetry, [any(drawn) for drawn in zip(*(stage.moving for stage in stages), strict=True)])
        self.stages = nn.ModuleList(stages)
        self.noise = {name: actions for stage in stages for name, actions in stage.noise.items()}
        self.exactness = min((stage.exactness for stage in stages), key=WEAKEST_FIRST.index)

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """The noise of all samplers."""
        drawn: dict[str, Tensor] = {}
        for stage in self.stages:
            assert isinstance(stage, Sampler)
            drawn |= stage.draw(inputs, samples, source)
        return drawn

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """All elements of all stages, multiplied; of samplers that draw one for each sample of their noise."""
        tracks = next((noise[name].shape[1] for name in self.noise), 1)
        rows = {name: noise[name].flatten(0, 1).unsqueeze(1) for name in self.noise}
        rest = tuple(e.flatten(0, 1) for e in self.at_rest(inputs, tracks))
        weights = torch.full((len(rest[0]),), 1 / tracks, dtype=noise_dtype(inputs), device=rest[0].device)
        link = _Link(repeated(inputs, tracks), rest, weights, (None,) * len(rest), ())
        for stage in self.stages:
            assert isinstance(stage, Sampler)
            copies = len(link.weights) // len(weights)
            link = self._advanced(link, stage, {name: rows[name].repeat_interleave(copies, 0) for name in stage.noise})
        return self._finished(link, len(rest[0]) // tracks)

    def _advanced(self, link: _Link, stage: Sampler, noise: Mapping[str, Tensor]) -> _Link:
        """The chain with one more stage: k times as many rows, if that has k elements."""
        draws = stage(link.inputs, noise, 1)
        new, k = draws.each, draws.leading[1]
        weights = new[0].new_ones(len(new[0]), k, dtype=link.weights.dtype) / k if draws.weights is None else draws.weights
        moved = self.element([e.flatten(0, 1) for e in new])
        composed = self.symmetry.group.compose(self.element([e.repeat_interleave(k, 0) for e in link.elements]), moved)
        fresh = draws.soft or (None,) * len(new)
        return _Link(
            self.symmetry.transform(self.symmetry.group.inverse(moved), repeated(link.inputs, k)),
            composed if isinstance(composed, tuple) else (composed,),
            (link.weights.unsqueeze(1) * weights).flatten(),
            tuple(_soft(old, soft, k) for old, soft in zip(link.soft, fresh, strict=True)),
            (*link.penalties, *(() if draws.penalty is None else (draws.penalty,))),
        )

    def _finished(self, link: _Link, batch: int) -> Draws:
        """The rows of a chain as samples of each item."""
        soft = tuple(None if s is None else torch.unflatten(s, 0, (batch, -1)) for s in link.soft)
        return Draws(
            self.element([e.unflatten(0, (batch, -1)) for e in link.elements]),
            link.weights.reshape(batch, -1),
            soft if any(s is not None for s in soft) else (),
            torch.stack(link.penalties).sum() if link.penalties else None,
        )


class _Link(NamedTuple):
    """How far a chain has come: one row for each item, sample and element of the stages so far."""

    inputs: dict[str, Any]
    elements: tuple[Element, ...]
    weights: Tensor
    soft: tuple[Tensor | None, ...]
    penalties: tuple[Tensor, ...]


def _soft(old: Tensor | None, new: Tensor | None, k: int) -> Tensor | None:
    """The soft matrices of a factor: those of the one stage that draws it."""
    if new is not None:
        return new.flatten(0, 1)
    return None if old is None else old.repeat_interleave(k, 0)
