"""Dot-product attention that differentiates as often as it has to.

Axes: b batch, h heads, n queries, m keys, d channels of a head.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def needs_plain_attention(*inputs: Tensor | None) -> bool:
    """Whether the fused kernel would fail on these inputs of a model.

    The fused kernels have no second derivative, no forward mode and no batching rule. Second derivatives are wanted where an *input*
    requires gradients (forces inside a loss); the others come through `torch.func`.
    """
    inside_func = torch._C._functorch.peek_interpreter_stack() is not None
    return inside_func or (torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs))


def attend(
    query: Float[Tensor, "b h n d"],
    key: Float[Tensor, "b h m d"],
    value: Float[Tensor, "b h m d"],
    bias: Float[Tensor, "#b #h #n m"] | None = None,
    *,
    plain: bool = False,
) -> Float[Tensor, "b h n d"]:
    """softmax(q k^T / sqrt(d) + bias) v.

    Args:
        query: queries.
        key: keys.
        value: values.
        bias: added to the scores, -inf where a key is hidden from a query. Every query must see a key.
        plain: write the formula out instead of calling the fused kernel; see `needs_plain_attention`.
    """
    if not plain:
        return scaled_dot_product_attention(query, key, value, attn_mask=bias)
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    scores = scores if bias is None else scores + bias
    mixed: Tensor = scores.softmax(-1).to(value.dtype) @ value
    return mixed


def visible_keys(mask: Bool[Tensor, "b n"] | None) -> Bool[Tensor, "b 1 n n"] | None:
    """Which keys a query sees: all valid points, and itself, so that the softmax of a padded row stays finite."""
    if mask is None:
        return None
    itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return (mask[:, None, :] | itself)[:, None]
