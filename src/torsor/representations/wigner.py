"""Wigner matrices D^l(R) of rotations, in the real basis of `harmonics`: Y^l(R u) = D^l(R) Y^l(u).

Two ways, both free of trigonometric functions and differentiable everywhere:

- `wigner_d` for any matrix of O(3): D^l is the part of R x D^{l-1} of highest degree, which a Clebsch-Gordan table picks out. A polynomial
  in the entries of R.
- `edge_frames` for the rotations that take the polar axis to given directions: two turns about fixed axes, for all degrees in one product.

Axes: m, n = -l..l.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.representations.clebsch_gordan import couplings
from torsor.representations.precision import precise
from torsor.representations.tables import Array, Table

# x -> y -> z -> x: the second chart of the sphere looks along another axis
_CYCLE = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
# quarter turn about z that takes x to y
_QUARTER = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
# beyond this cosine to the poles the frame is built in the second chart
_CHART_EDGE = 0.8


@Table
def _raising(l: int) -> Array:
    """The isometry from degree l into degree 1 x degree l-1, `[3, 2l-1, 2l+1]`."""
    return np.asarray(couplings(1, l - 1, l) * np.sqrt(2 * l + 1))


def wigner_blocks(l_max: int, rotations: Float[Tensor, "*batch i j"]) -> tuple[Float[Tensor, "..."], ...]:
    """D^0(R) .. D^{l_max}(R), each `[*batch, 2l+1, 2l+1]`.

    For improper R the harmonics' own parity holds: D^l(-R) = (-1)^l D^l(R).

    Args:
        l_max: largest degree.
        rotations: orthogonal matrices.

    Raises:
        ShapeError: the last axes are not 3 x 3.
    """
    if rotations.shape[-2:] != (3, 3):
        raise ShapeError(f"rotations is {list(rotations.shape)}: give matrices [..., 3, 3]")
    if l_max < 0:
        raise RepresentationError(f"degree {l_max}: give 0 or more")
    blocks = [torch.ones_like(rotations[..., :1, :1]), rotations]
    with precise(rotations):
        for l in range(2, l_max + 1):
            up = _raising.like(rotations, l)
            right = torch.einsum("...mn,jnb->...mjb", blocks[-1], up)
            both = torch.einsum("...ij,...mjb->...imb", rotations, right)
            blocks.append(torch.einsum("ima,...imb->...ab", up, both))
    return tuple(blocks[: l_max + 1])


def wigner_d(l: int, rotations: Float[Tensor, "*batch i j"]) -> Float[Tensor, "*batch m n"]:
    """D^l(R) of orthogonal matrices; see `wigner_blocks`."""
    return wigner_blocks(l, rotations)[l]


def constant_wigner(l: int, rotation: Array) -> Array:
    """D^l of one rotation, in numpy, for tables."""
    block = np.ones((1, 1))
    for degree in range(1, l + 1):
        up = _raising(degree)
        block = np.einsum("ima,ij,mn,jnb->ab", up, rotation, block, up, optimize=True)
    return block


@Table
def _tilts(l_max: int) -> Array:
    """D^l of the turn about x by b, all degrees side by side, as a linear map of (cos 0b .. cos Lb, sin 1b .. sin Lb)."""
    columns = []
    for l in range(l_max + 1):
        quarter = constant_wigner(l, _QUARTER)
        turns = np.zeros((2 * l_max + 1, 2 * l + 1, 2 * l + 1))
        turns[0, l, l] = 1.0
        for m in range(1, l + 1):
            turns[m, l + m, l + m] = turns[m, l - m, l - m] = 1.0
            turns[l_max + m, l - m, l + m], turns[l_max + m, l + m, l - m] = 1.0, -1.0
        columns.append((quarter.T @ turns @ quarter).reshape(2 * l_max + 1, -1))
    return np.concatenate(columns, axis=1)


@Table
def _cycles(l: int) -> Array:
    """D^l of the inverse of the cyclic permutation that leads to the second chart."""
    return constant_wigner(l, _CYCLE).T


def _multiples(count: int, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of 0, 1 .. `count` times an angle, `[..., count + 1]`."""
    cosines, sines = [torch.ones_like(cosine)], [torch.zeros_like(sine)]
    for _ in range(count):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosine - s * sine)
        sines.append(s * cosine + c * sine)
    return torch.stack(cosines, -1), torch.stack(sines, -1)


def _signed(values: Tensor, l: int, odd: bool) -> Tensor:
    """Values for 0..L laid out over m = -l..l: f(|m|), or sign(m) f(|m|), as a column."""
    up = values[..., 1 : l + 1]
    down = up.flip(-1)
    return torch.cat([-down if odd else down, values[..., :1], up], -1).unsqueeze(-1)


def edge_frames(l_max: int, unit_vectors: Float[Tensor, "*batch xyz"]) -> tuple[Float[Tensor, "..."], ...]:
    """D^0(R_u) .. D^{l_max}(R_u), each `[*batch, 2l+1, 2l+1]`, of rotations R_u with R_u e_y = u.

    R_u = R_y(a) R_x(b) with cos b = u_y, and (sin a, cos a) along (u_x, u_z). Near the poles, where this is singular, the same is done with
    the axes permuted; R_u jumps by a turn about the edge where the charts meet, and is smooth everywhere else.
    Zero vectors get the frame of e_y.

    Args:
        l_max: largest degree.
        unit_vectors: directions of length one, or zero.
    """
    if unit_vectors.shape[-1] != 3:
        raise ShapeError(f"unit_vectors is {list(unit_vectors.shape)}: give [..., 3]")
    with precise(unit_vectors):
        return tuple(_frames(l_max, unit_vectors))


def _frames(l_max: int, vectors: Tensor) -> Iterator[Tensor]:
    """See `edge_frames`."""
    zero = (vectors == 0).all(-1, keepdim=True)
    u = torch.where(zero, torch.eye(3, dtype=vectors.dtype, device=vectors.device)[1], vectors)
    polar = (u[..., 1:2].abs() > _CHART_EDGE).unsqueeze(-1)
    x, y, z = torch.where(polar.squeeze(-1), u.roll(-1, -1), u).unbind(-1)
    planar = (x * x + z * z).sqrt()
    cos_b, sin_b = _multiples(l_max, y, planar)
    cos_a, sin_a = _multiples(l_max, z / planar, x / planar)
    packed = torch.cat([cos_b, sin_b[..., 1:]], -1) @ _tilts.like(u, l_max)
    for l, flat in enumerate(torch.split(packed, [(2 * l + 1) ** 2 for l in range(l_max + 1)], -1)):
        tilt = torch.unflatten(flat, -1, (2 * l + 1, 2 * l + 1))
        block = _signed(cos_a, l, odd=False) * tilt - _signed(sin_a, l, odd=True) * tilt.flip(-2)
        yield torch.where(polar, _cycles.like(u, l) @ block, block)
