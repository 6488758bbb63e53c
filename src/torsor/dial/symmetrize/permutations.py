"""From one score a node to a permutation: the hard order, the soft matrix through which gradients flow, and its entropy.

Kim, Nguyen, Suleymanzade, An, Hong: Learning Probabilistic Symmetrization (2023); the soft order is that of Prillo and Eisenschlos:
SoftSort (2020), made doubly stochastic as in Mena et al.: Learning latent permutations with Gumbel-Sinkhorn networks (2018).

The permutation p of scores s takes place r to the node of rank r, s[p[0]] >= s[p[1]] >= ..., so that p^-1 puts the nodes in order. Scores
that are moved by h give the order h p. Places that a mask leaves out stay where they are, and the others are permuted among themselves.

Axes: b batch, k samples, n nodes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from torsor.groups.numerics import safe_norm

_SMALLEST = 1e-12
"""Least probability whose logarithm is taken."""


def normalised_scores(scores: Float[Tensor, "*batch n"], mask: Bool[Tensor, "*batch n"] | None = None) -> Float[Tensor, "*batch n"]:
    """Scores of norm one over the valid nodes, in single precision at least; zero elsewhere, and where all are zero."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    scores = scores if mask is None else scores.where(mask, 0)
    # by the largest first, so that squares neither over- nor underflow; the result does not depend on it, so it needs no derivative
    largest = scores.detach().abs().amax(-1, keepdim=True) if scores.shape[-1] else scores.detach()
    scores = scores / torch.where(largest > 0, largest, 1)
    norm = safe_norm(scores).unsqueeze(-1)
    return scores / torch.where(norm > 0, norm, 1)


@torch.no_grad()
def descending_order(
    scores: Float[Tensor, "*batch n"], ties: Float[Tensor, "*batch n"] | None = None, mask: Bool[Tensor, "*batch n"] | None = None
) -> Int64[Tensor, "*batch n"]:
    """The permutation that takes place r to the node of rank r, descending; equal scores are ordered by `ties`, then by place.

    Scores count as equal where they differ by rounding alone: sums over nodes depend in their last digits on the order of the nodes, and
    that must not decide.

    Args:
        scores: of norm one, or ranks: numbers that differ by far more than the rounding of one.
        ties: the second key, descending too; independent uniform numbers make the order of equal scores a fair draw.
        mask: the valid places, which alone are permuted.
    """
    grid = torch.finfo(scores.dtype).eps ** 0.75
    order = torch.arange(scores.shape[-1], device=scores.device).expand(scores.shape)
    keys = [(scores / grid).round()] if ties is None else [ties, (scores / grid).round()]
    absent = None if mask is None else ~mask
    for key in keys:  # stable sorts by the last key first are one lexicographic sort
        order = order.gather(-1, key.gather(-1, order).argsort(dim=-1, descending=True, stable=True))
    if absent is None:
        return order.contiguous()
    order = order.gather(-1, absent.gather(-1, order).to(torch.uint8).argsort(dim=-1, stable=True))
    # both list the valid places first and then the others in turn, so that these meet themselves
    in_turn = absent.to(torch.uint8).argsort(dim=-1, stable=True)
    order = torch.where(absent.gather(-1, in_turn), in_turn, order)
    return torch.empty_like(in_turn).scatter(-1, in_turn, order)


def soft_order(
    scores: Float[Tensor, "*batch n"],
    order: Int64[Tensor, "*batch n"],
    temperature: float,
    rounds: int = 20,
    mask: Bool[Tensor, "*batch n"] | None = None,
) -> Float[Tensor, "*batch n n"]:
    """A doubly stochastic matrix near `S().matrix(order)`: exp(-|s_i - s_order[r]| / temperature), normalised.

    Rows, then columns are normalised in turn, so that columns sum to one and rows nearly do. As the temperature falls to zero the matrix
    becomes that of the order. Nodes behind the mask are their own.

    Args:
        scores: of norm one.
        order: what `descending_order` gave.
        temperature: the tau, over which scores are alike.
        rounds: how often rows and columns are normalised.
        mask: the valid places.
    """
    near = torch.exp(-(scores.unsqueeze(-1) - scores.gather(-1, order).unsqueeze(-2)).abs() / temperature)
    if mask is not None:
        itself = torch.eye(mask.shape[-1], dtype=near.dtype, device=mask.device)
        near = near.where(mask.unsqueeze(-1) & mask.unsqueeze(-2), itself)
    # every row and column holds a one, the node itself, so that no sum is near zero and no logarithm is needed
    columns = torch.ones_like(scores).unsqueeze(-1)
    for _ in range(rounds):
        rows = 1 / (near @ columns)
        columns = 1 / (near.mT @ rows)
    return rows * near * columns.mT


def order_entropy(soft: Float[Tensor, "*batch n n"], mask: Bool[Tensor, "*batch n"] | None = None) -> Float[Tensor, "*batch"]:
    """Entropy of the rows and columns of a soft order together, the mean over valid nodes, in nats; zero for a permutation matrix."""
    valid = torch.ones(soft.shape[:-1], dtype=torch.bool, device=soft.device) if mask is None else mask
    both = sum((_entropy(soft, axis) for axis in (-1, -2)), torch.zeros_like(soft[..., 0]))
    return both.where(valid, 0).sum(-1) / valid.sum(-1).clamp(min=1).to(soft.dtype)


def _entropy(soft: Tensor, axis: int) -> Tensor:
    """Entropy along one axis, whose entries are made to sum to one."""
    share = (soft / soft.sum(axis, keepdim=True).clamp(min=_SMALLEST)).clamp(min=_SMALLEST)
    # the floor must not count: entries behind a mask would add up
    return -(share * share.log()).where(share > _SMALLEST, 0).sum(axis)
