# ruff: noqa: E741  (l is what everybody calls the degree)
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


def _degree(rows: Tensor, l: int) -> Tensor:
    return rows[l**2 : (l + 1) ** 2]


def _forward(l_max: int, points: Tensor) -> Tensor:
    """Q at points `[3, n]`, one row of memory a component."""
    x, y, z = points
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    rows = points.new_empty((l_max + 1) ** 2, points.shape[1])
    rows[0], rows[1:4] = 1.0, points
    work = points.new_empty(2 * l_max + 1, points.shape[1])
    for l in range(2, l_max + 1):
        before, last, new = (_degree(rows, k) for k in (l - 2, l - 1, l))
        torch.mul(last, y, out=new[1:-1])
        new[2:-2].addcmul_(torch.mul(before, squared, out=work[: len(before)]), recursion.like(points, l))
        torch.mul(x, last[-1], out=new[0]).addcmul_(z, last[0])
        torch.mul(z, last[-1], out=new[-1]).addcmul_(x, last[0], value=-1)
    return rows


def _reverse(rows: Tensor, cotangents: Tensor) -> Tensor:
    """What `_forward` pulls the cotangents of its rows back to, `[3, n]`. Overwrites the cotangents."""
    x, y, z = points = rows[1:4]
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    to_x, to_y, to_z, to_squared = total = points.new_zeros(4, points.shape[1])
    l_max = isqrt(len(rows)) - 1
    work = points.new_empty(2 * l_max + 1, points.shape[1])
    for l in range(l_max, 1, -1):
        before, last = (_degree(rows, k) for k in (l - 2, l - 1))
        to_before, to_last, new = (_degree(cotangents, k) for k in (l - 2, l - 1, l))
        first, final = new[0], new[-1]
        to_y += torch.mul(new[1:-1], last, out=work[: len(last)]).sum(0)
        to_x.addcmul_(first, last[-1]).addcmul_(final, last[0], value=-1)
        to_z.addcmul_(first, last[0]).addcmul_(final, last[-1])
        to_last.addcmul_(new[1:-1], y)
        to_last[-1].addcmul_(x, first).addcmul_(z, final)
        to_last[0].addcmul_(z, first).addcmul_(x, final, value=-1)
        lower = new[2:-2].mul_(recursion.like(rows, l))
        to_squared += torch.mul(lower, before, out=work[: len(before)]).sum(0)
        to_before.addcmul_(lower, squared)
    return (cotangents[1:4] + total[:3]).addcmul_(points, to_squared, value=2)


class Harmonics(torch.autograd.Function):
    """Harmonics of `[..., 3]` of degrees 0..l_max >= 1, besides the rows of the recursion that the reverse needs."""

    @staticmethod
    def forward(vectors: Tensor, l_max: int, normalization: Normalization, normalize: bool) -> tuple[Tensor, Tensor]:
        """Values `[..., m]` and rows `[m, n]`."""
        points = vectors.reshape(-1, 3).T.contiguous()
        if normalize:
            points = unit(points.T)[0].T.contiguous()
        rows = _forward(l_max, points)
        values = torch.mul(rows.T, scales.like(rows, l_max, normalization), out=rows.new_empty(rows.shape[::-1]))
        return values.view(*vectors.shape[:-1], len(rows)), rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the values, and the rows where they are of use."""
        vectors, ctx.l_max, ctx.normalization, ctx.normalize = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors, *(output if vectors.device.type == "cpu" else output[:1]))
        ctx.save_for_forward(vectors, output[0])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, _: None) -> tuple[Tensor | None, None, None, None]:
        """Pull a cotangent of the values back to the vectors."""
        if cotangent is None:
            return None, None, None, None
        vectors, values, *rows = ctx.saved_tensors
        if rows and not torch.is_grad_enabled():
            # no derivative of this derivative is asked for
            flat = cotangent.reshape(-1, cotangent.shape[-1]).T
            scaled = torch.mul(flat, scales.like(flat, ctx.l_max, ctx.normalization).T, out=torch.empty_like(rows[0]))
            pulled = _reverse(rows[0], scaled).T.reshape(vectors.shape)
        else:
            parts = torch.unflatten(cotangent @ gradients.like(values, ctx.l_max, ctx.normalization), -1, (3, -1))
            pulled = (parts * values[..., None, : ctx.l_max**2]).sum(-1)
        return _tangential(vectors, pulled) if ctx.normalize else pulled, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, None]:
        """Push a tangent of the vectors forward to the values."""
        vectors, values = ctx.saved_tensors
        direction = _tangential(vectors, tangent) if ctx.normalize else tangent
        parts = (direction.unsqueeze(-1) * values[..., None, : ctx.l_max**2]).flatten(-2)
        return parts @ gradients.like(values, ctx.l_max, ctx.normalization).T, None

    @staticmethod
    def vmap(
        _: Any, in_dims: tuple[int, None, None, None], vectors: Tensor, *options: Any
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, None]]:
        """One more batch axis."""
        return Harmonics.apply(vectors.movedim(in_dims[0], 0), *options), (0, None)  # type: ignore[no-untyped-call]
