"""Upright by order: sets and graphs whose items stand in the order of what tells them apart.

Axes: b batch, k samples (one), n items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from torsor.dial.symmetrize.base import Draws
from torsor.dial.symmetrize.orders import OrderSampler
from torsor.dial.symmetrize.permutations import descending_order


class SortedCanonical(OrderSampler):
    """The items in the order of their keys, those that keys cannot tell apart in the order in which they stand.

    The order in which items stand is what a permutation changes, so where automorphic nodes are among the ties the result is right up to an
    automorphism; where the tied items differ all the same, it is not equivariant. `OrderFrame` and `RandomOrderFrame` are.

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
        order = descending_order(-self.ranks(inputs, valid).double(), None, valid)
        return self.draws(inputs, order.unsqueeze(1))
