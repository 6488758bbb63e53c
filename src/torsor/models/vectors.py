"""Scalars and vectors among features: what point-cloud models without higher irreps are fed and return.

Axes: b batch, n points, f features, s scalars, v vectors, d dimension of space.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.models import REGISTRY
from torsor.representations import Irreps
from torsor.signatures import PointClouds, cannot_serve

Layout = tuple[tuple[int, int], ...]
"""Copies and degree of each part of a feature: plain numbers, for tracing."""


def layout_of(irreps: Irreps, model: str, signature: PointClouds) -> Layout:
    """The parts of a feature.

    Args:
        irreps: of the feature.
        model: the registered name of the model that has to serve them.
        signature: what the model is built for.

    Raises:
        SignatureError: one is neither a scalar nor a vector.
    """
    others = sorted({str(irrep) for _, irrep in irreps} - {"0e", "1o"})
    if others:
        raise cannot_serve(model, signature, f"it has scalars (0e) and vectors (1o), not {', '.join(others)}", REGISTRY)
    return tuple((mul, irrep.l) for mul, irrep in irreps)


def count(layout: Layout) -> tuple[int, int]:
    """Number of scalars and of vectors."""
    return sum(copies for copies, degree in layout if degree == 0), sum(copies for copies, degree in layout if degree == 1)


def split(features: Float[Tensor, "b n f"], layout: Layout, dimension: int) -> tuple[Float[Tensor, "b n s"], Float[Tensor, "b n v d"]]:
    """Scalars and vectors among the features."""
    parts = torch.split(features, [copies * (2 * degree + 1) for copies, degree in layout], -1) if layout else ()
    nothing = features[..., :0]
    scalars, vectors = (
        torch.cat([nothing, *(part for part, (_, degree) in zip(parts, layout, strict=True) if degree == wanted)], -1) for wanted in (0, 1)
    )
    return scalars, torch.unflatten(vectors, -1, (-1, dimension))


def joined(scalars: Float[Tensor, "b n s"], vectors: Float[Tensor, "b n v d"], layout: Layout) -> Float[Tensor, "b n f"]:
    """Scalars and vectors in the order of a feature: the opposite of `split`; vectors beyond those of the layout are left out."""
    parts = []
    for copies, degree in layout:
        if degree == 0:
            part, scalars = scalars.tensor_split((copies,), -1)
        else:
            part, vectors = vectors.tensor_split((copies,), 2)
        parts.append(part.flatten(2))
    return torch.cat(parts, -1)
