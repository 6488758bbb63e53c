"""The fast path of the spherical harmonics: two small families of polynomials, two matrix products and one product of their results.

Y_{l,m} = P_{l,|m|}(y, |v|^2) A_m(z, x), B_|m| for negative m. There are few polynomials P in y, and few A and B: with L = l_max, the P of
all orders are combinations of the |v|^(2j) T_k(y), with k + 2j <= L and T the Chebyshev polynomials (powers of y would lose digits). So
both factors of all components come from a matrix product each, with constant matrices, and so do their derivatives.

Derivatives of higher order use that the gradient of a solid harmonic is a combination of solid harmonics of one degree less: they are
made of the values themselves, by one matrix product each.

Axes: m = (l_max + 1)**2 components, w = l_max**2 components of lower degree, k polynomials |v|^(2j) T_k, a = 2 l_max + 1 azimuthal
polynomials A_0 .. A_L, B_1 .. B_L, n points.
"""

from __future__ import annotations

from math import factorial, pi, prod, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from torsor.representations.clebsch_gordan import couplings
from torsor.representations.precision import precise
from torsor.representations.tables import Array, Table

Normalization = Literal["component", "norm", "integral"]


def axis_value(l: int, normalization: str) -> float:
    """Y_{l,0} on the polar axis, which is the norm of Y_l everywhere on the unit sphere."""
    return {"component": sqrt(2 * l + 1), "norm": 1.0, "integral": sqrt((2 * l + 1) / (4 * pi))}[normalization]


def lower_factor(l: int, m: int) -> float:
    """The factor of |v|^2 Q_{l-2,m} in Q_{l,m}."""
    return -((l - 1) ** 2 - m**2) / ((2 * l - 1) * (2 * l - 3))


@Table
def recursion(l: int) -> Array:
    """The factors of |v|^2 Q_{l-2}, a column over the orders -(l-2)..(l-2)."""
    return np.array([[lower_factor(l, m)] for m in range(2 - l, l - 1)])


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


def _rows(l_max: int) -> dict[tuple[int, int], int]:
    """The row of each |v|^(2j) T_k by (k, j)."""
    return {key: row for row, key in enumerate((k, j) for j in range(l_max // 2 + 1) for k in range(l_max + 1 - 2 * j))}


@Table
def axial(l_max: int, normalization: str, derivative: int) -> Array:
    """The matrix [k, m] that makes the P_{l,|m|}, scale included, or their derivatives by y, of the |v|^(2j) T_k."""
    rows, scale = _rows(l_max), scales(l_max, normalization)[0]
    table = np.zeros((len(rows), len(scale)))
    for order in range(l_max + 1):
        before: Array = np.zeros(1)
        last: Array = np.ones(1)
        for l in range(order, l_max + 1):
            if l > order:
                before, last = last, np.asarray(chebyshev.chebadd(chebyshev.chebmulx(last), lower_factor(l, order) * before), float)
            degree = l - order - derivative
            coefficients = chebyshev.chebder(last, derivative)
            # T_k of other parity does not occur: its coefficient is a rounding error
            for k in range(degree, -1, -2):
                for m in {order, -order}:
                    table[rows[k, (degree - k) // 2], l * l + l + m] = coefficients[k] * scale[l * l + l + m]
    return table


@Table
def azimuthal(l_max: int) -> Array:
    """The matrix [a, m] that repeats the A and B for every degree."""
    table = np.zeros((2 * l_max + 1, (l_max + 1) ** 2))
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            table[m if m >= 0 else l_max - m, l * l + l + m] = 1.0
    return table


@Table
def orders(l_max: int) -> Array:
    """The orders 1 .. L, a column."""
    return np.arange(1.0, l_max + 1)[:, None]


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


class Factors(NamedTuple):
    """What the values were made of.

    Args:
        points: `[3, n]`.
        along: |v|^(2j) T_k, `[k, n]`.
        around: A and B, `[a, n]`.
        axial: the P of every component, `[n, m]`.
        azimuthal: the A or B of every component, `[n, m]`.
    """

    points: Tensor
    along: Tensor
    around: Tensor
    axial: Tensor
    azimuthal: Tensor


def _factors(l_max: int, normalization: Normalization, points: Tensor) -> Factors:
    """Both factors of every component at points `[3, n]`."""
    along, around = _along(l_max, points), _around(l_max, points)
    with precise(points):
        return Factors(
            points, along, around, along.T @ axial.like(points, l_max, normalization, 0), around.T @ azimuthal.like(points, l_max)
        )


def _along(l_max: int, points: Tensor) -> Tensor:
    """The |v|^(2j) T_k, `[k, n]`, by T_k = 2 y T_{k-1} - |v|^2 T_{k-2}."""
    x, y, z = points.unbind()
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    rows = points.new_empty(len(_rows(l_max)), points.shape[1])
    rows[0], rows[1] = 1.0, y
    single, doubled = rows.unbind(), 2 * y
    for k in range(2, l_max + 1):
        torch.mul(single[k - 1], doubled, out=single[k]).addcmul_(single[k - 2], squared, value=-1)
    start = 0
    for width in range(l_max - 1, 0, -2):
        end = start + width + 2
        torch.mul(rows[start : start + width], squared, out=rows[end : end + width])
        start = end
    return rows


def _around(l_max: int, points: Tensor) -> Tensor:
    """A_0 .. A_L and B_1 .. B_L, `[a, n]`, by A_m + i B_m = (z + i x) (A_{m-1} + i B_{m-1})."""
    x, _, z = points.unbind()
    rows = points.new_empty(2 * l_max + 1, points.shape[1])
    rows[0], rows[1], rows[l_max + 1] = 1.0, z, x
    single = rows.unbind()
    for m in range(2, l_max + 1):
        a, b = single[m - 1], single[l_max + m - 1]
        torch.mul(a, z, out=single[m]).addcmul_(b, x, value=-1)
        torch.mul(b, z, out=single[l_max + m]).addcmul_(a, x)
    return rows


def _tangential_gradient(cotangent: Tensor, factors: Factors, l_max: int, normalization: Normalization) -> Tensor:
    """The cotangent `[n, m]` of the values as one of the points, `[3, n]`, but for a part along the points."""
    with precise(cotangent):
        product = cotangent * factors.azimuthal
        to_along = axial.like(cotangent, l_max, normalization, 1) @ product.T
        to_around = azimuthal.like(cotangent, l_max) @ torch.mul(cotangent, factors.axial, out=product).T
    to_y = to_along.mul_(factors.along).sum(0)
    # d(A_m + i B_m) = m (A_{m-1} + i B_{m-1}) (dz + i dx)
    to_a, to_b = (torch.unflatten(to_around[1:], 0, (2, l_max)) * orders.like(cotangent, l_max)).unbind()
    a, b = factors.around[:l_max], factors.around[l_max + 1 :][: l_max - 1]
    to_z = (to_a * a).sum(0) + (to_b[1:] * b).sum(0)
    to_x = (to_b * a).sum(0) - (to_a[1:] * b).sum(0)
    return torch.stack([to_x, to_y, to_z])


class Harmonics(torch.autograd.Function):
    """Harmonics of `[..., 3]` of degrees 0..l_max >= 1, besides the inverse lengths and the factors for the way back."""

    @staticmethod
    def forward(vectors: Tensor, l_max: int, normalization: Normalization, normalize: bool) -> tuple[Tensor, ...]:
        """Values `[..., m]`, inverse lengths `[n]` and factors."""
        flat = vectors.reshape(-1, 3)
        points, inverse = unit(flat) if normalize else (flat, torch.ones_like(flat[:, :1]))
        factors = _factors(l_max, normalization, points.T.contiguous())
        values = factors.axial * factors.azimuthal
        return values.view(*vectors.shape[:-1], values.shape[1]), inverse.squeeze(-1), *factors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the values, and what else is of use."""
        vectors, ctx.l_max, ctx.normalization, ctx.normalize = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors, *(output if ctx.normalize else output[:1]))
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
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        """Push a tangent of the vectors forward to the values."""
        vectors, values = ctx.saved_tensors
        direction = _tangential(vectors, tangent) if ctx.normalize else tangent
        parts = (direction.unsqueeze(-1) * values[..., None, : ctx.l_max**2]).flatten(-2)
        with precise(parts):
            return parts @ gradients.like(values, ctx.l_max, ctx.normalization).T, *(None,) * 6

    @staticmethod
    def vmap(_: Any, in_dims: tuple[int, None, None, None], vectors: Tensor, *options: Any) -> tuple[Any, tuple[int | None, ...]]:
        """One more batch axis."""
        return Harmonics.apply(vectors.movedim(in_dims[0], 0), *options), (0, *(None,) * 6)  # type: ignore[no-untyped-call]


def _pull_back(ctx: Any, cotangent: Tensor, inverse: Tensor, *factors: Tensor) -> Tensor:
    """The cotangent of values on the unit sphere as one of the vectors, `[n, 3]`."""
    known = Factors(*factors)
    pulled = _tangential_gradient(cotangent.reshape(-1, cotangent.shape[-1]), known, ctx.l_max, ctx.normalization)
    return ((pulled - known.points * (known.points * pulled).sum(0)) * inverse).T
