"""What every model over particles shares: how its inputs are checked.

One forward for all: `forward(momenta, scalars=None, mask=None)`, padded, with `mask [b, n]` true where a particle is.

Axes: b batch, n particles, s scalars.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from torsor.models.point_clouds import expect_shape


class Jet(NamedTuple):
    """Checked inputs, zero wherever `mask` is false, so that what stands in the padding (NaN even) has no influence.

    Args:
        momenta: (E, px, py, pz), `[b, n, 4]`.
        scalars: `[b, n, s]`, s = 0 where there are none.
        mask: `[b, n]`, None where every place is taken.
    """

    momenta: Float[Tensor, "b n 4"]
    scalars: Float[Tensor, "b n s"]
    mask: Bool[Tensor, "b n"] | None


def jet(momenta: Float[Tensor, "b n v"], scalars: Float[Tensor, "b m s"] | None, mask: Bool[Tensor, "b p"] | None, scalars_in: int) -> Jet:
    """Check the inputs of a model against the number of scalars it was built for, and clear the padding.

    Raises:
        ShapeError: an input is missing, was not announced or has another shape; names it.
    """
    b, n = momenta.shape[:2]
    expect_shape("momenta", momenta, (b, n, 4))
    expect_shape("scalars", scalars, (b, n, scalars_in) if scalars_in else None)
    if scalars is None:
        scalars = momenta.new_zeros(b, n, 0)
    if mask is None:
        return Jet(momenta, scalars, None)
    expect_shape("mask", mask, (b, n))
    return Jet(momenta.where(mask[..., None], 0), scalars.where(mask[..., None], 0), mask)
