"""Which graphs are the same up to the names of their nodes: colour refinement, which decides it nearly always, and canonical forms, always.

Colour refinement (the 1-dimensional Weisfeiler-Leman test): nodes of one colour are told apart by the colours of their neighbours, until
none are. No message passing network without identifiers separates graphs that it does not. Canonical forms by individualisation and
refinement, pruned by automorphisms, after McKay: Practical graph isomorphism (1981).

Axes: g graphs, n nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from numpy.typing import NDArray
from torch import Tensor

Form = tuple[tuple[int, ...], tuple[int, ...]]
"""Colours and rows of the adjacency matrix, bit j for column j, of a graph whose nodes are in canonical order."""


def colour_refinement(
    adjacency: Bool[Tensor, "g n n"], mask: Bool[Tensor, "g n"] | None = None, colours: Int64[Tensor, "g n"] | None = None
) -> Int64[Tensor, "g n"]:
    """The stable colours of all nodes, comparable between graphs; -1 behind the mask. Exact: no hashing.

    Args:
        adjacency: undirected graphs.
        mask: which places are nodes, all if not given.
        colours: initial ones, not negative; all equal if not given.
    """
    graphs, nodes = adjacency.shape[:2]
    valid = np.ones((graphs, nodes), dtype=bool) if mask is None else mask.numpy()
    start = np.zeros((graphs, nodes), dtype=np.int64) if colours is None else colours.numpy()
    current = np.where(valid, start, -1)
    joined = adjacency.numpy() & valid[:, None, :]
    most = int(joined.sum(-1).max(initial=0))
    found = len(np.unique(current))
    while True:
        around = np.sort(np.where(joined, current[:, None, :], -1), -1)[..., nodes - most :]
        rows = np.concatenate([current[..., None], around], -1).reshape(graphs * nodes, -1)
        refined = _ranks(rows).reshape(graphs, nodes)
        current = np.where(valid, refined, -1)
        count = len(np.unique(current))
        if count == found:
            return torch.from_numpy(current)
        found = count


def indistinguishable(
    adjacency: Bool[Tensor, "g n n"], mask: Bool[Tensor, "g n"] | None = None, colours: Int64[Tensor, "g n"] | None = None
) -> Int64[Tensor, "g"]:
    """A number for each graph, equal for graphs that colour refinement does not tell apart; the arguments are those of it."""
    stable = colour_refinement(adjacency, mask, colours).numpy()
    return torch.from_numpy(_ranks(np.sort(stable, -1)))


def canonical_order(adjacency: Bool[Tensor, "n n"], colours: Sequence[int] | None = None) -> tuple[int, ...]:
    """The nodes in an order that relabelling does not change, up to automorphisms: graphs that are isomorphic are equal in it."""
    return _Search(adjacency, colours).run()


def canonical_form(adjacency: Bool[Tensor, "n n"], colours: Sequence[int] | None = None) -> Form:
    """The graph in canonical order: equal for two graphs if, and only if, they are isomorphic.

    Args:
        adjacency: an undirected graph.
        colours: of the nodes; isomorphisms keep them.
    """
    search = _Search(adjacency, colours)
    order = search.run()
    return tuple(search.start[node] for node in order), search.relabelled(order)


def isomorphic(first: Bool[Tensor, "n n"], second: Bool[Tensor, "m m"]) -> bool:
    """Whether two undirected graphs are the same up to the names of their nodes."""
    return canonical_form(first) == canonical_form(second)


class _Search:
    """The tree of individualisations: its leaves are orders of the nodes, the least relabelled graph is the canonical one."""

    def __init__(self, adjacency: Bool[Tensor, "n n"], colours: Sequence[int] | None) -> None:
        self.size = len(adjacency)
        self.neighbours = [[int(j) for j in row.nonzero().flatten()] for row in adjacency]
        self.start = [0] * self.size if colours is None else [int(colour) for colour in colours]
        self.automorphisms: list[list[int]] = []
        self.first: tuple[tuple[int, ...], tuple[int, ...], list[int]] | None = None
        self.best: tuple[tuple[int, ...], tuple[int, ...], list[int]] | None = None

    def run(self) -> tuple[int, ...]:
        """The canonical order."""
        self.descend(self.refine(self.start), [])
        assert self.best is not None
        return self.best[1]

    def relabelled(self, order: Sequence[int]) -> tuple[int, ...]:
        """Rows of the adjacency matrix in an order of the nodes."""
        place = {node: i for i, node in enumerate(order)}
        return tuple(sum(1 << place[other] for other in self.neighbours[node]) for node in order)

    def refine(self, colours: list[int]) -> list[int]:
        """Stable colours, numbered from 0 by what they are and not by which nodes have them."""
        count = len(set(colours))
        while True:
            keys = [(colours[i], *sorted(colours[j] for j in self.neighbours[i])) for i in range(self.size)]
            rank = {key: number for number, key in enumerate(sorted(set(keys)))}
            colours = [rank[key] for key in keys]
            if len(rank) == count:
                return colours
            count = len(rank)

    def descend(self, colours: list[int], path: list[int]) -> int:
        """Search below a node of the tree; gives the depth at which the search goes on."""
        cell = self.target(colours)
        if not cell:
            return self.leaf(colours, path)
        tried: list[int] = []
        for node in cell:
            if tried and self.equivalent(node, tried, path):
                continue
            tried.append(node)
            singled = [2 * colour + 1 for colour in colours]
            singled[node] -= 1
            depth = self.descend(self.refine(singled), [*path, node])
            if depth < len(path):
                return depth
        return len(path)

    def target(self, colours: list[int]) -> list[int]:
        """The nodes of the first colour that more than one has; none where all differ."""
        cells: dict[int, list[int]] = {}
        for node, colour in enumerate(colours):
            cells.setdefault(colour, []).append(node)
        return next((cells[colour] for colour in sorted(cells) if len(cells[colour]) > 1), [])

    def leaf(self, colours: list[int], path: list[int]) -> int:
        """Take note of an order; where it is an earlier one moved by an automorphism, go back to where the two paths part."""
        order = tuple(sorted(range(self.size), key=colours.__getitem__))
        graph = self.relabelled(order)
        for known in (self.first, self.best):
            if known is not None and known[0] == graph:
                moved = dict(zip(known[1], order, strict=True))
                self.automorphisms.append([moved[node] for node in range(self.size)])
                return next(i for i, (a, b) in enumerate(zip(known[2], path, strict=True)) if a != b)
        if self.first is None:
            self.first = (graph, order, path)
        if self.best is None or graph < self.best[0]:
            self.best = (graph, order, path)
        return len(path)

    def equivalent(self, node: int, tried: list[int], path: list[int]) -> bool:
        """Whether known automorphisms that fix the path take the node to one that was tried."""
        fixing = [a for a in self.automorphisms if all(a[fixed] == fixed for fixed in path)]
        orbit, fresh = set(tried), list(tried)
        while fresh:
            reached = {a[member] for member in fresh for a in fixing} - orbit
            orbit |= reached
            fresh = list(reached)
        return node in orbit


def _ranks(rows: NDArray[Any]) -> NDArray[Any]:
    """The rank of each row among the different ones."""
    packed = np.ascontiguousarray(rows.astype(np.int64)).view(np.dtype((np.void, rows.shape[-1] * 8))).reshape(-1)
    ranks: NDArray[Any] = np.unique(packed, return_inverse=True)[1].reshape(-1)
    return ranks
