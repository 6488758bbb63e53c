"""Features in the frames of lifted elements: vectors become invariant numbers on the way in, and turn back on the way out.

Axes: b batch, n points, s samples, f features, v vectors.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.models import REGISTRY
from torsor.representations import Irreps
from torsor.signatures import PointClouds, cannot_serve

Layout = tuple[tuple[int, int], ...]
"""Copies and dimension of each part of a feature, 1 for numbers and 3 for vectors: plain integers, for tracing."""


def layout(irreps: Irreps, turns: bool, mirrors: bool, signature: PointClouds) -> Layout:
    """The parts of a feature.

    Args:
        irreps: of the feature.
        turns: whether the group turns vectors; if not, all features are numbers.
        mirrors: whether it reflects them too, so that parity means something.
        signature: whose irreps they are.

    Raises:
        SignatureError: an irrep is neither a scalar nor a vector.
    """
    if not turns:
        return ((irreps.dim, 1),) if irreps.dim else ()
    others = sorted({str(irrep) for _, irrep in irreps if irrep.l > 1 or (mirrors and (irrep.l, irrep.p) not in ((0, 1), (1, -1)))})
    if others:
        raise cannot_serve("lie-transformer", signature, f"it has scalars and vectors (0e, 1o), not {', '.join(others)}", REGISTRY)
    return tuple((copies, irrep.dim) for copies, irrep in irreps)


def has_vectors(parts: Layout) -> bool:
    """Whether a part is a vector."""
    return any(size > 1 for _, size in parts)


def into_frames(features: Float[Tensor, "b n f"], frames: Float[Tensor, "b n s 3 3"], parts: Layout) -> Float[Tensor, "b n s f"]:
    """Vectors in coordinates of each frame, numbers as they are."""
    return _turned(features[:, :, None].expand(-1, -1, frames.shape[2], -1), frames, parts)


def out_of_frames(features: Float[Tensor, "b n s f"], frames: Float[Tensor, "b n s 3 3"], parts: Layout) -> Float[Tensor, "b n s f"]:
    """Vectors in coordinates of space."""
    return _turned(features, frames.mT, parts)


def _turned(features: Tensor, frames: Tensor, parts: Layout) -> Tensor:
    if not has_vectors(parts):
        return features
    pieces = torch.split(features, [copies * size for copies, size in parts], -1)
    turned = [_vectors(piece, frames) if size == 3 else piece for piece, (_, size) in zip(pieces, parts, strict=True)]
    return torch.cat(turned, -1)


def _vectors(piece: Float[Tensor, "b n s w"], frames: Float[Tensor, "b n s 3 3"]) -> Float[Tensor, "b n s w"]:
    # a sum of products, not a matrix product: autocast would round it
    vectors = torch.unflatten(piece, -1, (-1, 3))
    return (vectors[..., None, :] * frames[:, :, :, None]).sum(-1).flatten(-2)
