"""Real spherical harmonics of vectors in R^3, as polynomials: no angles, accurate everywhere.

Component order m = -l..l with polar axis y, so that degree 1 is (x, y, z) up to a factor; order, signs and normalisations are e3nn's.

With (z + i x)^m = A_m + i B_m, Y_{l,+m} ~ P_l^m(y) A_m and Y_{l,-m} ~ P_l^m(y) B_m. Scaled so that the leading coefficient in y is one, all
orders of a degree follow at once from the two degrees below: Q_l = y Q_{l-1} - ((l-1)^2 - m^2) / ((2l-1)(2l-3)) |v|^2 Q_{l-2}.

Axes: m = (l_max + 1)**2 components.
"""

from __future__ import annotations

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.representations.harmonics_kernel import Harmonics, Normalization, recursion, scales, unit


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
    if normalization not in get_args(Normalization):
        raise RepresentationError(f"unknown normalization {normalization!r}: give one of {', '.join(get_args(Normalization))}")
    if vectors.dtype in (torch.float16, torch.bfloat16):
        return spherical_harmonics(l_max, vectors.float(), normalize, normalization).to(vectors.dtype)
    if torch.compiler.is_compiling() or l_max == 0:
        return solid_harmonics(l_max, unit(vectors)[0] if normalize else vectors, normalization)
    values: Tensor = Harmonics.apply(vectors, l_max, normalization, normalize)[0]  # type: ignore[no-untyped-call]
    return values


def solid_harmonics(l_max: int, points: Float[Tensor, "*batch 3"], normalization: Normalization) -> Float[Tensor, "*batch m"]:
    """The recursion without writing in place: what compilers trace and fuse, and the oracle of the fast path."""
    flat = points.reshape(-1, 3).T
    x, y, z = flat
    squared = x * x + y * y + z * z
    degrees = [torch.ones_like(x).unsqueeze(0), flat]
    for l in range(2, l_max + 1):
        before, last = degrees[-2:]
        inner = y * last
        lower = recursion.like(points, l) * (squared * before)
        left, right = x * last[-1] + z * last[0], z * last[-1] - x * last[0]
        degrees.append(torch.cat([left[None], inner[:1], inner[1:-1] + lower, inner[-1:], right[None]]))
    values = torch.cat(degrees[: l_max + 1]).T * scales.like(points, l_max, normalization)
    return values.reshape(*points.shape[:-1], (l_max + 1) ** 2)
