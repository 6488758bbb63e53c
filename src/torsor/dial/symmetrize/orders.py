"""Frames of the permutations: all orders of the items by what tells them apart, ties in every order.

Puny et al.: Frame Averaging for Invariant and Equivariant Network Design (2022), section 3.2, for graphs by `LaplacianKeys`; for point
clouds by `DistanceKeys`. Items with equal rows form a block, and the frame holds every order of each block. Automorphic nodes share a
block, so it is a frame also where the graph has symmetries.

A permutation p of the frame takes the place of rank r to the place of the item of rank r, so that its inverse puts the items in order.
Places that a mask leaves out stay where they are.

Axes: b batch, k samples, n items, q numbers of an item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations, product
from math import factorial, prod
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from torsor.dial.symmetrize.base import Draws, OneFactorSampler, noise_dtype, one_factor
from torsor.dial.symmetrize.node_keys import NodeKeys
from torsor.dial.symmetrize.permutations import descending_order
from torsor.dial.symmetrize.spatial import for_factor
from torsor.errors import GroupError
from torsor.groups import S
from torsor.nn.noise_sources import NoiseSource
from torsor.representations import Permuted, Trivial
from torsor.symmetry import Symmetry, permuted_axes

LARGEST_LISTED = 5040
"""Orders of one item of a batch up to which they are listed; seven automorphic nodes have as many."""


def ranks(keys: Int64[Tensor, "b n q"]) -> Int64[Tensor, "b n"]:
    """The place of each row among the distinct rows of its item in lexicographic order, from 0; equal rows have equal ranks."""
    order = torch.arange(keys.shape[1], device=keys.device).expand(keys.shape[:2])
    for column in keys.unbind(-1)[::-1]:
        order = order.gather(1, column.gather(1, order).argsort(dim=-1, stable=True))
    rows = keys.gather(1, order.unsqueeze(-1).expand_as(keys))
    new = (rows.diff(dim=1) != 0).any(-1)
    return torch.zeros_like(order).scatter(1, order, torch.nn.functional.pad(new.long().cumsum(-1), (1, 0))[:, : keys.shape[1]])


class PlaceSampler(OneFactorSampler):
    """A sampler of the factor that permutes. Its elements take the places of an order back to its items.

    Args:
        symmetry: the contract, with one factor S().

    Raises:
        GroupError: the group does not permute one set.
    """

    def __init__(self, symmetry: Symmetry) -> None:
        super().__init__(symmetry, one_factor(symmetry, lambda factor: isinstance(factor, S), "that permute: an order needs one S()"))

    def valid(self, inputs: Mapping[str, Any]) -> Bool[Tensor, "b n"]:
        """Which places hold an item."""
        mask = inputs.get(self.symmetry.mask) if self.symmetry.mask is not None else None
        if mask is not None:
            valid: Tensor = mask
            return valid
        for name, actions in self.symmetry.inputs.items():
            axes = permuted_axes(actions[self.factor] if isinstance(actions, tuple) else actions)
            if axes and inputs.get(name) is not None:
                x = inputs[name]
                return torch.ones(len(x), x.shape[axes[0]], dtype=torch.bool, device=x.device)
        raise GroupError("no input given has places to permute: give one that the contract permutes")


class OrderSampler(PlaceSampler):
    """A sampler of orders by what tells the items apart.

    Args:
        symmetry: the contract, with one factor S().
        keys: what tells the items apart.

    Raises:
        GroupError: the group does not permute one set.
    """

    def __init__(self, symmetry: Symmetry, keys: NodeKeys) -> None:
        super().__init__(symmetry)
        self.keys = keys

    def ranks(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n"]:
        """The block of each item; those of places that are not valid do not matter."""
        return ranks(self.keys(inputs, valid))


class OrderFrame(OrderSampler):
    """The average over all orders of the frame: as many as the product of the factorials of the sizes of the blocks, and exact.

    Items of a batch with fewer orders than others repeat one with weight zero.

    Args:
        symmetry: the contract, with one factor S().
        keys: what tells the items apart: `LaplacianKeys()` for graphs, `DistanceKeys()` for clouds.
        largest: most orders of an item of the batch.

    Raises:
        GroupError: the group does not permute one set; or, when called, an item has more orders than `largest`.
    """

    exactness = "exact"

    def __init__(self, symmetry: Symmetry, keys: NodeKeys, largest: int = LARGEST_LISTED) -> None:
        super().__init__(symmetry, keys)
        self.largest = largest

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """All orders, whatever number of samples is asked for."""
        valid = self.valid(inputs)
        rank = self.ranks(inputs, valid)
        each = [self._orders(*row) for row in zip(rank.tolist(), valid.tolist(), strict=True)]
        most = max((len(orders) for orders in each), default=1)
        elements = torch.stack([torch.cat((orders, orders[-1:].expand(most - len(orders), -1))) for orders in each])
        weights = torch.stack([(torch.arange(most) < len(orders)).double() / len(orders) for orders in each])
        return self.of_factor(inputs, elements.to(rank.device), weights.to(rank.device, noise_dtype(inputs)))

    def _orders(self, rank: Sequence[int], valid: Sequence[bool]) -> Int64[Tensor, "k n"]:
        """All orders of one item of the batch; places that are not valid stay where they are."""
        places = [place for place, flag in enumerate(valid) if flag]
        blocks = [[place for place in places if rank[place] == r] for r in sorted({rank[place] for place in places})]
        count = prod(factorial(len(block)) for block in blocks)
        if count > self.largest:
            raise GroupError(f"an input has {count} orders, more than {self.largest}, too many to average over: use 'sampled-frame'")
        orders = torch.arange(len(rank)).repeat(count, 1)
        choices = product(*(permutations(block) for block in blocks))
        orders[:, places] = torch.tensor([[i for block in choice for i in block] for choice in choices], dtype=torch.int64)
        return orders


class RandomOrderFrame(OrderSampler):
    """Orders of the frame at random: ties are broken by uniform numbers that are permuted with the items.

    Args:
        symmetry: the contract, with one factor S().
        keys: what tells the items apart.

    Raises:
        GroupError: the group does not permute one set.
    """

    def __init__(self, symmetry: Symmetry, keys: NodeKeys) -> None:
        super().__init__(symmetry, keys)
        self.noise = {"order": for_factor(symmetry, self.factor, Permuted(2), Trivial())}

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """A uniform number for each item, `[b, k, n]`."""
        valid = self.valid(inputs)
        return {"order": source.uniform("order", (len(valid), samples, valid.shape[1]), valid.device)}

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """One order for each row of numbers."""
        tie, valid = noise["order"], self.valid(inputs)
        rank = self.ranks(inputs, valid).unsqueeze(1).expand(tie.shape)
        return self.of_factor(inputs, descending_order(-rank.double(), tie, valid.unsqueeze(1).expand(tie.shape)))
