"""Upright by order: sets and graphs whose items stand in the order of what tells them apart.

Axes: b batch, k samples (one), n items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from torsor.dial.symmetrize.base import Draws
from torsor.dial.symmetrize.orders import OrderSampler, ranks
from torsor.dial.symmetrize.permutations import descending_order


class SortedCanonical(OrderSampler):
    """The items in the order of their keys.

    Where keys cannot tell items apart, the first of them in the order in which they stand is set apart, and the others are told apart by
    how they stand to it, until all are (individualisation and refinement, McKay: Practical graph isomorphism (1981)). The order in which
    items stand is what a permutation changes: tied items that an automorphism exchanges make the result right up to that automorphism.
    Where tied items are not exchanged by any, as in some regular graphs, it is not equivariant. `OrderFrame` and `RandomOrderFrame` are.

    Args:
        symmetry: the contract, with one factor S().
        keys: what tells the items apart: `LaplacianKeys()`, `DistanceKeys()` or `ValueKeys()`.

    Raises:
        GroupError: the group does not permute one set.
    """

    exactness = "relaxed"

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """The order."""
        valid = self.valid(inputs)
        rank, relations = self.ranks(inputs, valid), self.keys.relations(inputs, valid)
        if relations is not None:
            rank = refined(rank, relations, valid)
        return self.of_factor(inputs, descending_order(-rank.double(), None, valid).unsqueeze(1))


def refined(rank: Int64[Tensor, "b n"], relations: Int64[Tensor, "b n n"], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n"]:
    """Ranks without ties among valid items, which agree with the given ones but for the ties."""
    n = rank.shape[1]
    item = torch.arange(n, device=rank.device)
    later = n + item
    for _ in range(n - 1):
        tied = ((rank.unsqueeze(1) == rank.unsqueeze(2)) & valid.unsqueeze(1) & valid.unsqueeze(2)).sum(-1) > 1
        # the first place of the lowest rank that is shared; where there is none any place does, for nothing changes
        chosen = (torch.where(tied, rank, later) * n + item).argmin(1, keepdim=True)
        to_chosen = relations.gather(2, chosen.unsqueeze(1).expand(-1, n, -1)).squeeze(2)
        rank = ranks(torch.stack((rank, (item != chosen).long(), to_chosen), -1))
    return rank
