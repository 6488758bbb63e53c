"""The fast path of the spherical harmonics: written in place, with derivatives in closed form.

The gradient of a solid harmonic is a combination of solid harmonics of one degree less. So derivatives of every order are made of the
values themselves, by one matrix product each. A first derivative on the CPU runs the recursion backwards instead, which is cheaper there.

Axes: m = (l_max + 1)**2 components, w = l_max**2 components of lower degree, n points.
"""

from __future__ import annotations

from math import factorial, isqrt, pi, prod, sqrt
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from torsor.representations.clebsch_gordan import couplings
from torsor.representations.precision import precise
from torsor.representations.tables import Array, Table

Normalization = Literal["component", "norm", "integral"]


def axis_value(l: int, normalization: str) -> float:
    """Y_{l,0} on the polar axis, which is the norm of Y_l everywhere on the unit sphere."""
    return {"component": sqrt(2 * l + 1), "norm": 1.0, "integral": sqrt((2 * l + 1) / (4 * pi))}[normalization]


@Table
def recursion(l: int) -> Array:
    """The factors of |v|^2 Q_{l-2}, a column over the orders -(l-2)..(l-2)."""
    m = np.arange(2 - l, l - 1)
    return -(((l - 1) ** 2 - m**2) / ((2 * l - 1) * (2 * l - 3)))[:, None]


@Table
def scales(l_max: int, normalization: str) -> Array:
    """Y_{l,m} / Q_{l,m}, a row over all components."""

    def scale(l: int, m: int) -> float:
        leading = prod(range(1, 2 * l, 2)) / factorial(l - m)
        return axis_value(l, normalization) * leading * sqrt((2 if m else 1) * factorial(l - m) / factorial(l + m))

    return np.array([[scale(l, abs(m)) for l in range(l_max + 1) for m in range(-l, l + 1)]])


@Table
def gradients(l_max: int, normalization: str) -> Array:
    """The matrix G [m, 3 w] with dY_m / dv_i = sum_w G[m, (i, w)] Y_w."""
    table = np.zeros(((l_max + 1) ** 2, 3, l_max**2))
    for l in range(1, l_max + 1):
        w = couplings(1, l, l - 1)
        scale = l * axis_value(l, normalization) / (axis_value(l - 1, normalization) * w[1, l, l - 1])
        table[l**2 : (l + 1) ** 2, :, (l - 1) ** 2 : l**2] = scale * w.transpose(1, 0, 2)
    return table.reshape(len(table), -1)


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors `[..., 3]` scaled to length one, and their inverse lengths `[..., 1]`; both are zero where the vector is zero."""
    squared = vectors.square().sum(-1, keepdim=True)
    zero = squared < torch.finfo(vectors.dtype).tiny
    inverse = squared.masked_fill(zero, 1.0).rsqrt().masked_fill(zero, 0.0)
    return vectors * inverse, inverse


def _tangential(vectors: Tensor, direction: Tensor) -> Tensor:
    """The derivative of v / |v|, which is symmetric, applied to a direction."""
    units, inverse = unit(vectors)
    return (direction - units * (units * direction).sum(-1, keepdim=True)) * inverse


def _degrees(rows: Tensor) -> tuple[Tensor, ...]:
    """The rows of each degree."""
    return torch.split(rows, [2 * l + 1 for l in range(isqrt(len(rows)))])


def _forward(l_max: int, points: Tensor) -> Tensor:
    """Q at points `[3, n]`, one row of memory a component."""
    x, y, z = points.unbind()
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    rows = points.new_empty((l_max + 1) ** 2, points.shape[1])
    rows[0], rows[1:4] = 1.0, points
    work = points.new_empty(2 * l_max + 1, points.shape[1])
    single, degrees = rows.unbind(), _degrees(rows)
    for l in range(2, l_max + 1):
        last, before = degrees[l - 1], degrees[l - 2]
        torch.mul(last, y, out=degrees[l][1:-1])
        degrees[l][2:-2].addcmul_(torch.mul(before, squared, out=work[: 2 * l - 3]), recursion.like(points, l))
        left, right = single[(l - 1) ** 2], single[l**2 - 1]
        torch.mul(x, right, out=single[l**2]).addcmul_(z, left)
        torch.mul(z, right, out=single[(l + 1) ** 2 - 1]).addcmul_(x, left, value=-1)
    return rows


def _reverse(rows: Tensor, cotangents: Tensor, tangential: bool) -> Tensor:
    """What `_forward` pulls the cotangents of its rows back to, `[3, n]`. Overwrites the cotangents.

    Args:
        rows: what `_forward` returned.
        cotangents: `[m, n]`.
        tangential: leave out the part along the points, which is not wanted on the unit sphere.
    """
    x, y, z = (points := rows[1:4]).unbind()
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    to_x, to_y, to_z, to_squared = (total := points.new_zeros(4, points.shape[1])).unbind()
    work = torch.empty_like(cotangents[-2 * isqrt(len(rows)) + 1 :])
    degrees, to_degrees, single, to_single = _degrees(rows), _degrees(cotangents), rows.unbind(), cotangents.unbind()
    for l in range(isqrt(len(rows)) - 1, 1, -1):
        inner, lower = to_degrees[l][1:-1], to_degrees[l][2:-2]
        to_y += torch.mul(inner, degrees[l - 1], out=work[: 2 * l - 1]).sum(0)
        to_degrees[l - 1].addcmul_(inner, y)
        first, final = to_single[l**2], to_single[(l + 1) ** 2 - 1]
        left, right = (l - 1) ** 2, l**2 - 1
        to_x.addcmul_(first, single[right]).addcmul_(final, single[left], value=-1)
        to_z.addcmul_(first, single[left]).addcmul_(final, single[right])
        to_single[right].addcmul_(x, first).addcmul_(z, final)
        to_single[left].addcmul_(z, first).addcmul_(x, final, value=-1)
        lower.mul_(recursion.like(rows, l))
        if not tangential:
            to_squared += torch.mul(lower, degrees[l - 2], out=work[: 2 * l - 3]).sum(0)
        to_degrees[l - 2].addcmul_(lower, squared)
    return (cotangents[1:4] + total[:3]).addcmul_(points, to_squared, value=2)


class Harmonics(torch.autograd.Function):
    """Harmonics of `[..., 3]` of degrees 0..l_max >= 1, besides the rows of the recursion and the inverse lengths for the way back."""

    @staticmethod
    def forward(vectors: Tensor, l_max: int, normalization: Normalization, normalize: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Values `[..., m]`, rows `[m, n]` and inverse lengths `[n]`."""
        flat = vectors.reshape(-1, 3)
        points, inverse = unit(flat) if normalize else (flat, torch.ones_like(flat[:, :1]))
        rows = _forward(l_max, points.T.contiguous())
        values = torch.mul(rows.T, scales.like(rows, l_max, normalization), out=rows.new_empty(rows.shape[::-1]))
        return values.view(*vectors.shape[:-1], len(rows)), rows, inverse.squeeze(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keep the values, and what else is of use."""
        vectors, ctx.l_max, ctx.normalization, ctx.normalize = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors, *(output if vectors.device.type == "cpu" else output[:1]))
        ctx.save_for_forward(vectors, output[0])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, *_: None) -> tuple[Tensor | None, None, None, None]:
        """Pull a cotangent of the values back to the vectors."""
        if cotangent is None:
            return None, None, None, None
        vectors, values, *kept = ctx.saved_tensors
        if kept and not torch.is_grad_enabled():
            # no derivative of this derivative is asked for
            return _pull_back(ctx, cotangent, *kept).reshape(vectors.shape), None, None, None
        with precise(cotangent):
            parts = torch.unflatten(cotangent @ gradients.like(values, ctx.l_max, ctx.normalization), -1, (3, -1))
        pulled = (parts * values[..., None, : ctx.l_max**2]).sum(-1)
        return _tangential(vectors, pulled) if ctx.normalize else pulled, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, None, None]:
        """Push a tangent of the vectors forward to the values."""
        vectors, values = ctx.saved_tensors
        direction = _tangential(vectors, tangent) if ctx.normalize else tangent
        parts = (direction.unsqueeze(-1) * values[..., None, : ctx.l_max**2]).flatten(-2)
        with precise(parts):
            return parts @ gradients.like(values, ctx.l_max, ctx.normalization).T, None, None

    @staticmethod
    def vmap(_: Any, in_dims: tuple[int, None, None, None], vectors: Tensor, *options: Any) -> tuple[Any, tuple[int, None, None]]:
        """One more batch axis."""
        return Harmonics.apply(vectors.movedim(in_dims[0], 0), *options), (0, None, None)  # type: ignore[no-untyped-call]


def _pull_back(ctx: Any, cotangent: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
    """The cotangent of the values as one of the vectors `[n, 3]`, by the recursion backwards."""
    flat = cotangent.reshape(-1, cotangent.shape[-1]).T
    scaled = torch.mul(flat, scales.like(flat, ctx.l_max, ctx.normalization).T, out=torch.empty_like(rows))
    pulled = _reverse(rows, scaled, ctx.normalize)
    if ctx.normalize:
        pulled = (pulled - rows[1:4] * (rows[1:4] * pulled).sum(0)) * inverse
    return pulled.T
