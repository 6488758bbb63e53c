# ruff: noqa: E741  (l is what everybody calls the degree)
"""Real spherical harmonics of vectors in R^3, as polynomials: no angles, accurate everywhere.

Component order m = -l..l with polar axis y, so that degree 1 is (x, y, z) up to a factor; order, signs and normalisations are e3nn's.

With (z + i x)^m = A_m + i B_m, Y_{l,+m} ~ P_l^m(y) A_m and Y_{l,-m} ~ P_l^m(y) B_m. Scaled so that the leading coefficient in y is one, all
orders of a degree follow at once from the two degrees below: Q_l = y Q_{l-1} - ((l-1)^2 - m^2) / ((2l-1)(2l-3)) |v|^2 Q_{l-2}. The gradient
of a solid harmonic is a combination of solid harmonics of one degree less, so the backward pass is one matrix product.

Axes: m = (l_max + 1)**2 components, w = l_max**2 components of lower degree.
"""

from __future__ import annotations

from math import factorial, pi, prod, sqrt
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.representations.clebsch_gordan import couplings
from torsor.representations.tables import Array, Table

Normalization = Literal["component", "norm", "integral"]

_NORMALIZATIONS = ("component", "norm", "integral")


def axis_value(l: int, normalization: str) -> float:
    """Y_{l,0} on the polar axis, which is the norm of Y_l everywhere on the unit sphere."""
    return {"component": sqrt(2 * l + 1), "norm": 1.0, "integral": sqrt((2 * l + 1) / (4 * pi))}[normalization]


@Table
def _recursion(l: int) -> Array:
    """The factors of |v|^2 Q_{l-2}, a column over the orders -(l-2)..(l-2)."""
    m = np.arange(2 - l, l - 1)
    return -(((l - 1) ** 2 - m**2) / ((2 * l - 1) * (2 * l - 3)))[:, None]


@Table
def _scales(l_max: int, normalization: str) -> Array:
    """Y_{l,m} / Q_{l,m}."""

    def scale(l: int, m: int) -> float:
        leading = prod(range(1, 2 * l, 2)) / factorial(l - m)
        return axis_value(l, normalization) * leading * sqrt((2 if m else 1) * factorial(l - m) / factorial(l + m))

    return np.array([scale(l, abs(m)) for l in range(l_max + 1) for m in range(-l, l + 1)])


@Table
def _gradients(l_max: int, normalization: str) -> Array:
    """The matrix G [m, 3 w] with dY_m / dv_i = sum_w G[m, (i, w)] Y_w."""
    table = np.zeros(((l_max + 1) ** 2, 3, l_max**2))
    for l in range(1, l_max + 1):
        w = couplings(1, l, l - 1)
        scale = l * axis_value(l, normalization) / (axis_value(l - 1, normalization) * w[1, l, l - 1])
        table[l**2 : (l + 1) ** 2, :, (l - 1) ** 2 : l**2] = scale * w.transpose(1, 0, 2)
    return table.reshape(len(table), -1)


def solid_harmonics_naive(l_max: int, vectors: Float[Tensor, "*batch 3"], normalization: Normalization) -> Float[Tensor, "*batch m"]:
    """The recursion without writing in place: what compilers trace and fuse, and the oracle of the fast path."""
    flat = vectors.reshape(-1, 3).T
    x, y, z = flat
    squared = x * x + y * y + z * z
    degrees = [torch.ones_like(x).unsqueeze(0), flat]
    for l in range(2, l_max + 1):
        before, last = degrees[-2:]
        inner = y * last
        lower = _recursion.like(vectors, l) * (squared * before)
        left, right = x * last[-1] + z * last[0], z * last[-1] - x * last[0]
        degrees.append(torch.cat([left[None], inner[:1], inner[1:-1] + lower, inner[-1:], right[None]]))
    values = torch.cat(degrees[: l_max + 1]).T * _scales.like(vectors, l_max, normalization)
    return values.reshape(*vectors.shape[:-1], (l_max + 1) ** 2)


def _solid_harmonics(l_max: int, vectors: Tensor, normalization: Normalization) -> Tensor:
    """The same, written in place: one row of memory a component, which is turned around at the end."""
    x, y, z = flat = vectors.reshape(-1, 3).T.contiguous()
    rows = flat.new_empty((l_max + 1) ** 2, flat.shape[1])
    rows[0], rows[1:4] = 1.0, flat
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    lower = flat.new_empty(max(2 * l_max - 3, 0), flat.shape[1])
    for l in range(2, l_max + 1):
        before, last, new = rows[(l - 2) ** 2 : (l - 1) ** 2], rows[(l - 1) ** 2 : l**2], rows[l**2 : (l + 1) ** 2]
        torch.mul(last, y, out=new[1:-1])
        new[2:-2].addcmul_(torch.mul(before, squared, out=lower[: 2 * l - 3]), _recursion.like(flat, l))
        torch.mul(x, last[-1], out=new[0]).addcmul_(z, last[0])
        torch.mul(z, last[-1], out=new[-1]).addcmul_(x, last[0], value=-1)
    values = torch.mul(rows.T, _scales.like(flat, l_max, normalization), out=flat.new_empty(rows.shape[::-1]))
    return values.view(*vectors.shape[:-1], rows.shape[0])


def _below(values: Tensor, l_max: int) -> Tensor:
    return values[..., None, : l_max**2]


class _SolidHarmonics(torch.autograd.Function):
    """Solid harmonics that keep only their own values for the backward pass; every derivative is again made of them."""

    @staticmethod
    def forward(vectors: Tensor, l_max: int, normalization: Normalization) -> Tensor:
        return _solid_harmonics(l_max, vectors, normalization)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)
        ctx.l_max, ctx.normalization = inputs[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (values,) = ctx.saved_tensors
        parts = gradient @ _gradients.like(values, ctx.l_max, ctx.normalization)
        return (torch.unflatten(parts, -1, (3, -1)) * _below(values, ctx.l_max)).sum(-1), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (values,) = ctx.saved_tensors
        parts = (tangent.unsqueeze(-1) * _below(values, ctx.l_max)).flatten(-2)
        return parts @ _gradients.like(values, ctx.l_max, ctx.normalization).T

    @staticmethod
    def vmap(_: Any, in_dims: tuple[int, None, None], vectors: Tensor, l_max: int, normalization: Normalization) -> tuple[Tensor, int]:
        return solid_harmonics(l_max, vectors.movedim(in_dims[0], 0), normalization), 0


def solid_harmonics(l_max: int, vectors: Float[Tensor, "*batch 3"], normalization: Normalization) -> Float[Tensor, "*batch m"]:
    """The homogeneous polynomials |v|^l Y_l(v / |v|) of degrees 0..l_max; see `spherical_harmonics`."""
    if torch.compiler.is_compiling() or l_max == 0:
        return solid_harmonics_naive(l_max, vectors, normalization)
    values: Tensor = _SolidHarmonics.apply(vectors, l_max, normalization)  # type: ignore[no-untyped-call]
    return values


def _unit(vectors: Tensor) -> Tensor:
    """Vectors scaled to length one; zero stays zero and its gradient is zero."""
    squared = vectors.square().sum(-1, keepdim=True)
    zero = squared < torch.finfo(vectors.dtype).tiny
    return vectors * torch.where(zero, 1.0, squared).rsqrt().masked_fill(zero, 0.0)


def spherical_harmonics(
    l_max: int,
    vectors: Float[Tensor, "*batch xyz"],
    normalize: bool = True,
    normalization: Normalization = "component",
) -> Float[Tensor, "*batch m"]:
    """Real spherical harmonics of degrees 0..l_max, concatenated.

    Half precision is computed in float32 and rounded at the end.

    Args:
        l_max: largest degree.
        vectors: points of R^3.
        normalize: evaluate at v / |v|; a zero vector (shorter than 1e-19 in float32) gives Y_0 alone and a zero gradient. If False the
            solid harmonics |v|^l Y_l(v / |v|), which are polynomials in v.
        normalization: the squared norm of Y_l on the unit sphere: "component" 2l + 1, "norm" 1, "integral" (2l + 1) / 4 pi.

    Raises:
        ShapeError: the last axis is not 3.
        RepresentationError: l_max is negative or the normalisation is unknown.
    """
    if vectors.shape[-1] != 3:
        raise ShapeError(f"vectors is {list(vectors.shape)} but spherical harmonics live in R^3: give [..., 3]")
    if l_max < 0:
        raise RepresentationError(f"l_max is {l_max}: give the largest degree, 0 or more")
    if normalization not in _NORMALIZATIONS:
        raise RepresentationError(f"unknown normalization {normalization!r}: give one of {', '.join(_NORMALIZATIONS)}")
    if vectors.dtype in (torch.float16, torch.bfloat16):
        return spherical_harmonics(l_max, vectors.float(), normalize, normalization).to(vectors.dtype)
    return solid_harmonics(l_max, _unit(vectors) if normalize else vectors, normalization)
