"""From lifted elements to outputs: one of each point, or one of the cloud.

Axes: b batch, n points, s samples, c channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.errors import SignatureError
from torsor.models.lie_transformer.config import LieTransformerConfig
from torsor.models.lie_transformer.layers import ACTIVATIONS, Norm
from torsor.nn.pooling import pool_points
from torsor.signatures import PointClouds, Pool

Turn = Callable[[Tensor], Tensor]


class ElementwiseHead(nn.Module):
    """Activation and linear map of each element, then the mean over the samples of a point, and over points (LieConv's head).

    Args:
        config: settings.
        signature: what to return.
        vectors: whether outputs turn with the frames of their elements.
    """

    def __init__(self, config: LieTransformerConfig, signature: PointClouds, vectors: bool) -> None:  # noqa: ARG002
        super().__init__()
        self.activation, self.pool = ACTIVATIONS[config.activation], signature.pool
        self.output = nn.Linear(config.hidden, signature.rep_out.dim)

    def forward(self, x: Float[Tensor, "b n s c"], mask: Bool[Tensor, "b n"] | None, turn: Turn | None) -> Float[Tensor, "b *n out"]:
        """The output; `turn` takes what an element says to coordinates of space."""
        out = self.output(self.activation(x))
        return pooled(out if turn is None else turn(out), mask, self.pool)


class PooledHead(nn.Module):
    """Pooling, then three linear layers with activations (and batch norms where the model has them) before each.

    Args:
        config: settings.
        signature: what to return.
        vectors: whether outputs turn with the frames of their elements, which they cannot once these are pooled.

    Raises:
        SignatureError: the output has vectors.
    """

    def __init__(self, config: LieTransformerConfig, signature: PointClouds, vectors: bool) -> None:
        super().__init__()
        if vectors:
            raise SignatureError(
                f"head 'pooled' has no frames left to turn the vectors of {signature.rep_out} with: take head 'elementwise'"
            )
        c = config.hidden
        self.activation, self.pool = ACTIVATIONS[config.activation], signature.pool
        self.norms = nn.ModuleList(Norm("batch" if config.norm == "batch" else "none", c) for _ in range(3))
        self.layers = nn.ModuleList((nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, signature.rep_out.dim)))

    def forward(self, x: Float[Tensor, "b n s c"], mask: Bool[Tensor, "b n"] | None, turn: Turn | None) -> Float[Tensor, "b *n out"]:  # noqa: ARG002
        """The output."""
        x = pooled(x, mask, self.pool)
        rows, valid = (x[:, None], None) if self.pool else (x, mask)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            rows = layer(self.activation(norm(rows, valid)))
        if self.pool:
            return rows[:, 0]
        return rows if mask is None else rows.where(mask[..., None], 0)


def pooled(x: Float[Tensor, "b n s c"], mask: Bool[Tensor, "b n"] | None, pool: Pool | None) -> Float[Tensor, "b *n c"]:
    """The mean over samples, and the pool over points if any; a maximum goes over all elements."""
    out = x.amax(2) if pool == "max" else x.mean(2)
    if pool:
        return pool_points(out, mask, pool)
    return out if mask is None else torch.where(mask[..., None], out, torch.zeros_like(out))
