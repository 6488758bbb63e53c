"""Patterns hidden in random graphs: the benchmark PATTERN.

Dwivedi et al.: Benchmarking graph neural networks (2020). A graph has five communities of random size; two of its nodes are joined with
probability 1/2 within a community and 0.35 between two. One of a hundred patterns, random graphs of twenty nodes, is joined to it: each
node of the pattern to each of the others with probability 1/2. Nodes of the communities carry one of three values at random, those of a
pattern always the same. Which nodes are the pattern's?

Axes: n nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from torsor.data.graphs import GraphSamples, Ragged, SparseGraphs

COMMUNITIES, SIZES = 5, (5, 35)
"""Communities of a graph, and the least size and the first that is too large."""
INSIDE, BETWEEN, JOINED = 0.5, 0.35, 0.5
"""Probabilities of an edge within a community (and within a pattern), between two, and from a pattern to the rest."""
PATTERNS, PATTERN_SIZE, VALUES = 100, 20, 3
LARGEST = 188
"""Nodes of the largest graph of the published set; what comes out larger is drawn anew."""


class Pattern(NamedTuple):
    """What is to be found.

    Args:
        adjacency: its edges.
        values: of its nodes.
    """

    adjacency: Bool[Tensor, "k k"]
    values: Int64[Tensor, "k"]


class BlockGraph(NamedTuple):
    """A graph with a pattern in it.

    Args:
        adjacency: its edges.
        values: of its nodes.
        labels: 1 for nodes of the pattern.
    """

    adjacency: Bool[Tensor, "n n"]
    values: Int64[Tensor, "n"]
    labels: Int64[Tensor, "n"]


def patterns(seed: int) -> tuple[Pattern, ...]:
    """The hundred patterns of a seed."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(PATTERNS):
        adjacency = _undirected(torch.full((PATTERN_SIZE, PATTERN_SIZE), INSIDE), generator)
        made.append(Pattern(adjacency, torch.randint(VALUES, (PATTERN_SIZE,), generator=generator)))
    return tuple(made)


def block_graph(pattern: Pattern, generator: torch.Generator) -> BlockGraph:
    """A graph with the pattern in it, its nodes in random order.

    Args:
        pattern: what is hidden.
        generator: where the numbers come from.
    """
    sizes = torch.randint(*SIZES, (COMMUNITIES,), generator=generator)
    while int(sizes.sum()) + PATTERN_SIZE > LARGEST:
        sizes = torch.randint(*SIZES, (COMMUNITIES,), generator=generator)
    block = torch.cat((torch.arange(COMMUNITIES).repeat_interleave(sizes), torch.full((PATTERN_SIZE,), COMMUNITIES)))
    labels = (block == COMMUNITIES).long()
    odds = torch.full((len(block), len(block)), BETWEEN)
    odds[block[:, None] == block] = INSIDE
    odds[labels[:, None] != labels] = JOINED
    adjacency = _undirected(odds, generator)
    hidden = labels.bool()
    adjacency[hidden[:, None] & hidden] = pattern.adjacency.flatten()
    values = torch.randint(VALUES, (len(block),), generator=generator)
    values[hidden] = pattern.values
    order = torch.randperm(len(block), generator=generator)
    return BlockGraph(adjacency[order][:, order], values[order], labels[order])


def generate(count: int, hidden: tuple[Pattern, ...], generator: torch.Generator) -> GraphSamples:
    """Graphs with one pattern after another in them: features are the values of nodes, one-hot, and node targets the labels.

    Args:
        count: how many; a smaller number is a prefix of a larger one.
        hidden: the patterns.
        generator: where the numbers come from.
    """
    edges, features, labels = [], [], []
    for index in range(count):
        graph = block_graph(hidden[index % len(hidden)], generator)
        edges.append(graph.adjacency.nonzero().to(torch.int16))
        features.append(torch.nn.functional.one_hot(graph.values, VALUES).bool())
        labels.append(graph.labels)
    return GraphSamples(SparseGraphs(Ragged.of(edges), {"features": Ragged.of(features), "target": Ragged.of(labels)}), LARGEST)


def _undirected(odds: Tensor, generator: torch.Generator) -> Bool[Tensor, "n n"]:
    """Each pair joined with its probability."""
    upper = (torch.rand(odds.shape, generator=generator) < odds).triu(1)
    return upper | upper.T
