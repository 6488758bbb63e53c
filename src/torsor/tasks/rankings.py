"""Figures of rankings: average precision, mean reciprocal rank and hits, each as one share a sample whose mean is the figure.

Axes: s samples, c classes, b batch, n nodes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def average_precision_shares(scores: Float[Tensor, "s c"], labels: Float[Tensor, "s c"]) -> Float[Tensor, "s"]:
    """Shares whose mean is one minus the average precision, meant over classes.

    The average precision of a class is the mean over its members of the share of members among all samples that score at least as high. A
    class that all samples, or none, are members of is left out.

    Args:
        scores: higher for likelier members.
        labels: 1 for members of a class, 0 for others.
    """
    samples = len(scores)
    members = labels.sum(0)
    kept = ((members > 0) & (members < samples)).nonzero().flatten().tolist()
    shares = torch.ones(samples, dtype=torch.float64)
    for c in kept:
        member, score = labels[:, c] > 0, scores[:, c].contiguous()
        among = samples - torch.searchsorted(score.sort().values, score[member])
        found = int(members[c]) - torch.searchsorted(score[member].sort().values, score[member])
        shares[member] -= found.double() / among * samples / (int(members[c]) * len(kept))
    return shares


def link_ranks(
    scores: Float[Tensor, "b n n"], links: Bool[Tensor, "b n n"], mask: Bool[Tensor, "b n"], filtered: bool
) -> Float[Tensor, "r"]:
    """The rank of each link, in the order of `links.nonzero()`, among all pairs with the same first node; 1 is the best, ties count half.

    The pair of the first node with itself competes, too, as in the published figures.

    Args:
        scores: higher for likelier links.
        links: which pairs are linked.
        mask: which places are nodes.
        filtered: whether the other links of the first node do not compete.
    """
    graph, first, second = links.nonzero().unbind(-1)
    row, own = scores[graph, first], scores[graph, first, second].unsqueeze(-1)
    rivals = mask[graph] & ~links[graph, first] if filtered else mask[graph].clone()
    rivals[torch.arange(len(graph), device=graph.device), second] = False
    above, equal = ((rivals & better).sum(-1) for better in (row > own, row == own))
    return 1 + above + equal.double() / 2


def mean_over_links(values: Float[Tensor, "r"], links: Bool[Tensor, "b n n"]) -> Float[Tensor, "b"]:
    """The mean over the links of each graph of values in the order of `links.nonzero()`; 0 where there is none."""
    sums = values.new_zeros(len(links)).index_add_(0, links.nonzero()[:, 0], values)
    return sums / links.sum((1, 2)).clamp(min=1)
