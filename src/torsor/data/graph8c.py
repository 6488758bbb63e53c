"""All connected graphs of a few nodes up to isomorphism; with eight nodes they are the benchmark GRAPH8c.

Every connected graph is a connected graph of one node less, and a node joined to some of it. So the list grows node by node, with one
graph kept of each class. Classes are told apart by a fingerprint that is the same for isomorphic graphs: colour refinement (hashed) after
each node in turn has been singled out. Fingerprints that differ prove graphs to be different, and their known number proves that none is
missing: the enumeration is exact, although nobody has shown the fingerprint to be complete in general.

Balcilar et al.: Breaking the limits of message passing graph neural networks (2021) take the same graphs from McKay's collection.

Axes: g graphs, n nodes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from torsor.errors import DataError

CONNECTED = (1, 1, 2, 6, 21, 112, 853, 11_117)
"""How many connected graphs of 1, 2, ... nodes there are (OEIS A001349)."""
ROUNDS = 2
"""Rounds of refinement in the fingerprint."""
_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@lru_cache(maxsize=len(CONNECTED))
def connected_graphs(nodes: int) -> Bool[Tensor, "g n n"]:
    """One graph of every class of connected graphs; those of eight nodes take a few seconds, once a process.

    Args:
        nodes: from 1 to 8.

    Raises:
        DataError: there are too many of that size.
    """
    if not 1 <= nodes <= len(CONNECTED):
        raise DataError(f"nodes is {nodes}: connected graphs are enumerated for 1 to {len(CONNECTED)} nodes")
    if nodes == 1:
        return torch.zeros(1, 1, 1, dtype=torch.bool)
    candidates = _extended(connected_graphs(nodes - 1).numpy())
    _, kept = np.unique(fingerprints(candidates), return_index=True)
    if len(kept) != CONNECTED[nodes - 1]:
        raise DataError(f"{len(kept)} connected graphs of {nodes} nodes were found: there are {CONNECTED[nodes - 1]}")
    return torch.from_numpy(candidates[np.sort(kept)])


def fingerprints(adjacency: NDArray[Any]) -> NDArray[Any]:
    """A number for each graph that does not depend on the names of its nodes.

    Args:
        adjacency: boolean, [g, n, n].
    """
    graphs, nodes = adjacency.shape[:2]
    colours = np.broadcast_to(_mixed(np.eye(nodes, dtype=np.uint64)), (graphs, nodes, nodes))  # singled node, node
    for _ in range(ROUNDS):
        around = np.zeros((graphs, nodes, nodes), dtype=np.uint64)
        scattered = _mixed(colours)
        for other in range(nodes):
            around += adjacency[:, None, :, other] * scattered[:, :, other, None]
        colours = _mixed(colours * np.uint64(_ODD[0]) + around)
    found: NDArray[Any] = _mixed(_mixed(colours).sum(-1)).sum(-1)
    return found


def _extended(parents: NDArray[Any]) -> NDArray[Any]:
    """Every graph joined to one more node in every way."""
    graphs, nodes = parents.shape[:2]
    subsets = (np.arange(1, 1 << nodes)[:, None] >> np.arange(nodes) & 1).astype(bool)
    grown = np.zeros((graphs, len(subsets), nodes + 1, nodes + 1), dtype=bool)
    grown[:, :, :nodes, :nodes] = parents[:, None]
    grown[:, :, nodes, :nodes] = grown[:, :, :nodes, nodes] = subsets
    return grown.reshape(-1, nodes + 1, nodes + 1)


def _mixed(numbers: NDArray[Any]) -> NDArray[Any]:
    """Scattered over all 64 bits, one to one, modulo 2^64 (the finaliser of SplitMix64)."""
    mixed: NDArray[Any] = numbers + np.uint64(_ODD[0])
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_ODD[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_ODD[2])
    mixed ^= mixed >> np.uint64(31)
    return mixed
