"""y = (z * g) W without the weights of each edge: the bilinear map at the heart of a convolution with a radial network.

The last layer of a radial network is linear, h = W z, and its output multiplies features, y = h g. Contracting in the hidden layer,
y_o = sum_{c,i} z_c g_i W_{c,i,o}, is one matrix product between the outer products z x g and a weight that all edges share. Neither the
numbers h (channels in x channels out x degrees for each edge) nor the outer products of all edges are ever stored: edges go through in
chunks that stay in the cache, and the backward pass makes the outer products again.

Axes: r rows that share z (components), e edges, h hidden units, q groups of features with hidden units of their own, i features, o outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_CHUNK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
"""Size of the outer products of one chunk: a few caches on a CPU, enough to fill a GPU."""


def _chunk(features: Tensor, hidden: Tensor) -> int:
    rows, _, q, i = features.shape
    edge = rows * hidden.shape[1] * q * i * features.element_size()
    return max(64, _CHUNK_BYTES.get(features.device.type, 68 << 20) // max(edge, 1))


def _outer(hidden: Tensor, features: Tensor) -> Tensor:
    """`[r, e, h q i]`."""
    return (hidden[None, :, :, :, None] * features[:, :, None]).flatten(2)


def _over_hidden(hidden: Tensor, outer: Tensor) -> Tensor:
    """Sum over h of hidden x outer, `[r, e, q, i]`; a matrix product where it can be one."""
    if hidden.shape[2] == 1:
        return hidden.transpose(1, 2) @ outer.squeeze(3)
    return (outer * hidden[None, :, :, :, None]).sum(2)


def _over_features(features: Tensor, outer: Tensor) -> Tensor:
    """Sum over r and i of features x outer, `[e, h, q]`."""
    if features.shape[2] == 1:
        # a row times a transposed matrix: several times faster than the matrix times a column
        return (features @ outer.squeeze(3).transpose(2, 3)).sum(0).transpose(1, 2)
    return (outer * features[:, :, None]).sum((0, 4))


def contract_naive(
    hidden: Float[Tensor, "e h q"], features: Float[Tensor, "r e q i"], weight: Float[Tensor, "r hqi o"]
) -> Float[Tensor, "r e o"]:
    """See `contract`: all outer products at once. What compilers trace, and the oracle of the other."""
    return torch.bmm(_outer(hidden, features), weight)


class _Contract(torch.autograd.Function):
    """`contract_naive` in chunks of edges, keeping only its inputs for the backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hidden: Tensor, features: Tensor, weight: Tensor) -> Tensor:
        size = _chunk(features, hidden)
        return torch.cat(
            [contract_naive(z, g, weight) for z, g in zip(torch.split(hidden, size), torch.split(features, size, 1), strict=True)], 1
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, features, weight = ctx.saved_tensors
        size = _chunk(features, hidden)
        transposed, shape = weight.transpose(1, 2), (hidden.shape[1], *features.shape[2:])
        of_hidden, of_features, of_transposed = [], [], torch.zeros_like(transposed)
        for z, g, y in zip(torch.split(hidden, size), torch.split(features, size, 1), torch.split(gradient, size, 1), strict=True):
            if ctx.needs_input_grad[2]:
                of_transposed = torch.baddbmm(of_transposed, y.transpose(1, 2), _outer(z, g))
            if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
                of_outer = torch.unflatten(torch.bmm(y, transposed), 2, shape)
                of_hidden.append(_over_features(g, of_outer))
                of_features.append(_over_hidden(z, of_outer))
        return (
            torch.cat(of_hidden) if ctx.needs_input_grad[0] else None,
            torch.cat(of_features, 1) if ctx.needs_input_grad[1] else None,
            of_transposed.transpose(1, 2) if ctx.needs_input_grad[2] else None,
        )

    @staticmethod
    def jvp(ctx: Any, hidden: Tensor | None, features: Tensor | None, weight: Tensor | None) -> Tensor:
        z, g, w = ctx.saved_tensors
        terms = []
        if hidden is not None:
            terms.append(_Contract.forward(hidden, g, w))
        if features is not None:
            terms.append(_Contract.forward(z, features, w))
        if weight is not None:
            terms.append(_Contract.forward(z, g, weight))
        return torch.stack(terms).sum(0)


def contract(
    hidden: Float[Tensor, "e h q"], features: Float[Tensor, "r e q i"], weight: Float[Tensor, "r hqi o"]
) -> Float[Tensor, "r e o"]:
    """y_{r,e,o} = sum_{h,q,i} hidden_{e,h,q} features_{r,e,q,i} weight_{r,(h,q,i),o}, in little memory.

    Args:
        hidden: hidden units of the radial network.
        features: features of the sender.
        weight: last layer of the radial network, shared by all edges.
    """
    if torch.compiler.is_compiling() or features.shape[1] == 0:
        return contract_naive(hidden, features, weight)
    if torch.is_autocast_enabled(features.device.type):
        dtype = torch.get_autocast_dtype(features.device.type)
        hidden, features, weight = hidden.to(dtype), features.to(dtype), weight.to(dtype)
    result: Tensor = _Contract.apply(hidden, features, weight)  # type: ignore[no-untyped-call]
    return result
