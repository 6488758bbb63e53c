"""Constellations: points in the plane that form triangles, squares, pentagons and Ls, to be counted.

Kosiorek, Sabour, Teh, Hinton: Stacked Capsule Autoencoders (2019), section 3.1, in the form of Hutchinson, Le Lan, Zaidi, Dupont, Teh,
Kim: LieTransformer (2021), section 5.1. There is no file: a seed makes the set.

Axes: s samples, n corners of all patterns together, t types of pattern, c corners of one pattern.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from torsor.errors import DataError

TYPES = ("square", "triangle", "pentagon", "L")
"""The types, in the order of the counts."""
SPREAD = 24.0
"""Patterns are moved by a uniform vector of this size along each axis; their corners are about 1 from their centre."""
QUIRK = 3.0
"""By how much the published generator moves squares, triangles and pentagons further than Ls."""
BLOCK = 1000
"""Samples drawn at once. Draws go block by block, so that a smaller set is a prefix of a larger one."""


class Constellations(NamedTuple):
    """Corners of all patterns, those that are absent too.

    Args:
        positions: in [-1, 1], each sample scaled by the box around all of its corners.
        present: whether the corner's pattern is there.
        counts: patterns of each type that are there.
    """

    positions: Float[Tensor, "s n 2"]
    present: Bool[Tensor, "s n"]
    counts: Int64[Tensor, "s 4"]


def corners(kind: str) -> Float[Tensor, "c 2"]:
    """The corners of a pattern before it is turned and moved (float64)."""
    if kind == "L":
        return torch.tensor([[1, 1], [2, 1], [3, 1], [3, 2], [3, 3]], dtype=torch.float64)
    sides = {"triangle": 3, "square": 4, "pentagon": 5}[kind]
    angles = 2 * math.pi / sides * torch.arange(sides, dtype=torch.float64)
    return 2 + torch.stack((angles.cos(), angles.sin()), -1)


def draw_constellations(
    count: int,
    generator: torch.Generator,
    *,
    repetitions: int = 2,
    max_rotation: float = 0.33,
    upscale: float = 0.0,
    noise: float = 0.1,
    presence: float = 0.5,
    quirk: bool = True,
) -> Constellations:
    """Draw samples (float64).

    Args:
        count: samples.
        generator: where the numbers come from.
        repetitions: patterns of each type, present or not.
        max_rotation: a pattern is turned by a uniform angle of at most this half-share of a full turn: 0.33 is 59 degrees either way.
        upscale: a pattern is scaled by a uniform factor of 1 to 1 + upscale.
        noise: standard deviation of what is added to every coordinate, where a pattern's corners are 1 from its centre.
        presence: odds that a pattern is there; where none is, one at random is.
        quirk: move squares, triangles and pentagons three times as far as Ls, as published: there a constant meant for two coordinates of
            a corner was added to the third one of its homogeneous form too.

    Raises:
        DataError: there is nothing to draw.
    """
    if count < 1 or repetitions < 1:
        raise DataError(f"{count} samples of {repetitions} patterns of each type: give 1 or more of both")
    drawn = [_block(generator, TYPES * repetitions, max_rotation, upscale, noise, presence, quirk) for _ in range(math.ceil(count / BLOCK))]
    positions, present, counts = (torch.cat(parts)[:count] for parts in zip(*drawn, strict=True))
    return Constellations(positions, present, counts)


def _block(
    generator: torch.Generator, kinds: tuple[str, ...], max_rotation: float, upscale: float, noise: float, presence: float, quirk: bool
) -> Constellations:
    """One block of samples."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(BLOCK, *shape, generator=generator, dtype=torch.float64)

    there = _at_least_one(uniform(len(kinds)) < presence, uniform())
    parts = [_placed(kind, uniform(4), max_rotation, upscale, QUIRK if quirk and kind != "L" else 1.0) for kind in kinds]
    sizes = torch.tensor([part.shape[1] for part in parts])
    order = uniform(int(sizes.sum())).argsort(1)
    positions = torch.cat(parts, 1).take_along_dim(order[..., None], 1)
    positions = positions + noise * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    low, high = positions.amin((1, 2), keepdim=True), positions.amax((1, 2), keepdim=True)
    present = there.repeat_interleave(sizes, 1).take_along_dim(order, 1)
    counts = torch.unflatten(there, 1, (-1, len(TYPES))).sum(1)
    return Constellations(2 * (positions - low) / (high - low) - 1, present, counts)


def _placed(kind: str, draws: Float[Tensor, "s 4"], max_rotation: float, upscale: float, reach: float) -> Float[Tensor, "s c 2"]:
    """A pattern turned about the origin, scaled and moved."""
    angle, scale = 2 * math.pi * max_rotation * (draws[:, 0] - 0.5), 1 + upscale * draws[:, 1]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    x, y = corners(kind).unbind(-1)
    turned = torch.stack((cosine[:, None] * x - sine[:, None] * y, sine[:, None] * x + cosine[:, None] * y), -1)
    return turned + reach * SPREAD * draws[:, None, 2:]


def _at_least_one(there: Bool[Tensor, "s p"], draws: Float[Tensor, "s"]) -> Bool[Tensor, "s p"]:
    """Switch one pattern on where all are off."""
    chosen = torch.arange(there.shape[1]) == (draws * there.shape[1]).long()[:, None]
    return there | (chosen & ~there.any(1, keepdim=True))


def sorted_distances(positions: Float[Tensor, "s n 2"], present: Bool[Tensor, "s n"]) -> Float[Tensor, "s n n-1"]:
    """Distances of every point to all others that are present, largest first, then zeros."""
    distances = _distances(positions).where(present[:, None], 0)
    return distances.sort(-1, descending=True).values[..., :-1]


def power_means(positions: Float[Tensor, "s n 2"], present: Bool[Tensor, "s n"], powers: int = 10) -> Float[Tensor, "s n {powers}"]:
    """(1/N sum_j d_ij^r)^(1/r) over the N points that are present, for r from 1 to `powers`."""
    distances = _distances(positions).where(present[:, None], 0)
    number = present.sum(1).clamp(min=1)[:, None]
    return torch.stack([(distances.pow(r).sum(-1) / number).pow(1 / r) for r in range(1, powers + 1)], -1)


def nearest_distances(positions: Float[Tensor, "s n 2"], present: Bool[Tensor, "s n"], count: int = 8) -> Float[Tensor, "s n {count}"]:
    """Distances of every point to the nearest others that are present, smallest first, then zeros."""
    hidden = ~present[:, None] | torch.eye(positions.shape[1], dtype=torch.bool)
    nearest = _distances(positions).masked_fill(hidden, math.inf).topk(count, largest=False).values
    return nearest.where(nearest.isfinite(), 0)


def count_clusters(positions: Float[Tensor, "s n 2"], present: Bool[Tensor, "s n"]) -> Int64[Tensor, "s 4"]:
    """Count the patterns without learning: clusters of points that are near each other, told apart by their size and their width.

    Points belong together that are joined by steps shorter than 2.2 times the median distance to the nearest neighbour. Three are a
    triangle, four a square; five are an L where the cluster is wide for its spacing, else a pentagon. Patterns that overlap are missed.
    """
    distances = _distances(positions)
    pairs = present[:, :, None] & present[:, None] & ~torch.eye(positions.shape[1], dtype=torch.bool)
    nearest = distances.masked_fill(~pairs, math.inf).amin(-1)
    unit = nearest.where(present, math.nan).nanmedian(1).values[:, None, None]
    together = (pairs & (distances < 2.2 * unit)) | torch.eye(positions.shape[1], dtype=torch.bool)
    for _ in range(math.ceil(math.log2(positions.shape[1]))):
        together = together.to(positions.dtype).bmm(together.to(positions.dtype)) > 0
    size = together.sum(-1)
    # the widest distance within each point's cluster, over the mean distance to the nearest neighbour there
    width = distances.where(together, 0).amax(-1)[:, None].where(together, 0).amax(-1)
    spacing = nearest.where(present, 0)[:, None].where(together, 0).sum(-1) / size
    wide = width > 2.2 * spacing
    kinds = ((size == 4), (size == 3), (size == 5) & ~wide, (size == 5) & wide)
    numbers = [(kind & present).sum(1) // points for kind, points in zip(kinds, (4, 3, 5, 5), strict=True)]
    return torch.stack(numbers, -1)


def _distances(positions: Float[Tensor, "s n 2"]) -> Float[Tensor, "s n n"]:
    distances: Tensor = torch.linalg.vector_norm(positions[:, :, None] - positions[:, None], dim=-1)
    return distances
