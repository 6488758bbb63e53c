"""Frames that turn with a cloud: one for each point, made from where the other points are.

For each point two vectors are means of the differences to the others, one with wide and one with narrow weights; Gram-Schmidt makes a
frame of them. Frames are smooth in the positions and exactly equivariant under rotations, translations, scalings and permutations, but for

**the degenerate set**: points of which the first vector, or the part of the second across the first, is shorter than `DEGENERATE` times the
size of the cloud. A point about which a rotation maps the cloud to itself is in it (the middle of a bond, an atom of a line), for it has no
frame of its own. There a fixed axis of space takes over smoothly, so that derivatives stay finite.

Axes: b batch, n points, d dimension of space, 2 or 3. The rows of a frame `[..., d, d]` are its axes in coordinates of space.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.groups.numerics import unit
from torsor.groups.special_orthogonal import section

DEGENERATE = 1e-3
"""Length, in units of the size of the cloud, below which a vector is no direction."""
WIDE, NARROW = 0.5, 16.0
"""Exponents of the weights exp(-WIDE r^2 / size^2) and exp(-NARROW r^2 / size^2)."""


def local_frames(positions: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None) -> Float[Tensor, "b n d d"]:
    """Frames for motions: the first axis points to where the others are."""
    wide, narrow, size = local_vectors(positions, mask)
    return _frames(_direction(wide, size, _axis(wide)), narrow, size)


def central_frames(positions: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None) -> Float[Tensor, "b n d d"]:
    """Frames for rotations about the origin: the first axis points to the point itself."""
    _, narrow, size = local_vectors(positions, mask)
    return _frames(unit(positions), narrow, size)


def local_vectors(
    positions: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"], Float[Tensor, "b 1 1"]]:
    """Means of the differences to the other points, to all of them and to the nearest above all, and the size of the cloud.

    The size is the root mean square distance of its points, 1 where that is zero.
    """
    difference = positions[:, None] - positions[:, :, None]
    squared = difference.square().sum(-1)
    itself = torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)
    others = (~itself).expand(squared.shape) if mask is None else mask[:, None] & mask[:, :, None] & ~itself
    count = others.sum(-1, keepdim=True)
    square = torch.where(others, squared, 0).sum((1, 2), keepdim=True) / count.sum(1, keepdim=True).clamp(min=1)
    square = torch.where(square == 0, torch.ones_like(square), square)
    nearness = -squared / square
    # a point without others looks at itself: no direction
    visible = others | (itself & (count == 0))
    wide, narrow = (
        (torch.where(visible, scale * nearness, -torch.inf).softmax(-1)[..., None] * difference).sum(2) for scale in (WIDE, NARROW)
    )
    return wide, narrow, square.sqrt()


def _frames(first: Float[Tensor, "b n d"], second: Float[Tensor, "b n d"], size: Float[Tensor, "b 1 1"]) -> Float[Tensor, "b n d d"]:
    if first.shape[-1] == 2:
        x, y = first.unbind(-1)
        return torch.stack((first, torch.stack((-y, x), dim=-1)), dim=-2)
    across = second - (second * first).sum(-1, keepdim=True) * first
    fallback = section(first.detach())[..., 1]
    fallback = fallback - (fallback * first).sum(-1, keepdim=True) * first
    beside = _direction(across, size, fallback)
    return torch.stack((first, beside, torch.linalg.cross(first, beside)), dim=-2)


def _axis(x: Tensor) -> Tensor:
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[0].expand_as(x)


def _direction(x: Float[Tensor, "b n d"], size: Float[Tensor, "b 1 1"], fallback: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """The direction of x; towards the fallback where x is degenerate."""
    least = DEGENERATE * size
    return unit(x + least * _bump(x.square().sum(-1, keepdim=True) / least.square()) * fallback)


def _bump(t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The smooth function exp(-t / (1 - t)) that is 1 at t = 0, and exactly 0 from t = 1 on."""
    inside = t < 0.99
    safe = torch.where(inside, t, torch.zeros_like(t))
    return torch.where(inside, (-safe / (1 - safe)).exp(), torch.zeros_like(t))
