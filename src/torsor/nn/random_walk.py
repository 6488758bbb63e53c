"""Numbers of nodes spread through a graph by a random walk, so that near nodes carry near numbers.

Axes: b batch, n nodes, c channels.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.nn.masked_norm import masked_moments


def spread(
    x: Float[Tensor, "b n c"], adjacency: Float[Tensor, "b n n"], steps: int, mask: Bool[Tensor, "b n"] | None = None
) -> Float[Tensor, "b n c"]:
    """The mean of x where a lazy random walk from each node ends, standardised over the nodes of each graph.

    A step stays with probability 1/2 and else goes along an edge, as likely as its weight is large; signs and directions of edges do not
    matter, and nodes without any stay. What is left of noise after many steps are the slow modes of the graph, in random shares.

    Args:
        x: numbers of the nodes.
        adjacency: weights of the edges; entries behind the mask do not matter.
        steps: of the walk.
        mask: the valid nodes; zero is returned elsewhere.
    """
    if mask is not None:
        x = x.where(mask.unsqueeze(-1), 0)
        adjacency = adjacency.where(mask.unsqueeze(-1) & mask.unsqueeze(-2), 0)
    weights = adjacency.abs() + adjacency.abs().mT
    total = weights.sum(-1, keepdim=True)
    walk = weights / torch.where(total > 0, total, 1)
    x = _standardised(x, mask)
    for _ in range(steps):
        # standardised at every step, or the slow modes would drown in the rounding of the constant one
        x = _standardised((x + torch.where(total > 0, walk @ x, x)) / 2, mask)
    return x


def _standardised(x: Tensor, mask: Tensor | None) -> Float[Tensor, "b n c"]:
    """Mean zero and variance one over the valid nodes of each graph, zero elsewhere; zero where all are equal but for rounding."""
    mean, variance, _ = masked_moments(x, mask, (1,))
    rounding = torch.finfo(x.dtype).eps
    x = (x - mean) / torch.where(variance > rounding, variance, 1).sqrt()
    return x if mask is None else x.where(mask.unsqueeze(-1), 0)
