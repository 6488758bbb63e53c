"""Planarity: Kuratowski's graphs, and networkx as the oracle."""

import pytest
import torch
from torch import Tensor

from torsor.data.graph8c import connected_graphs
from torsor.data.planarity import blocks, is_planar


def bipartite(rows: int, columns: int) -> Tensor:
    matrix = torch.zeros(rows + columns, rows + columns, dtype=torch.bool)
    matrix[:rows, rows:] = matrix[rows:, :rows] = True
    return matrix


def subdivided(matrix: Tensor) -> Tensor:
    """A node in the middle of every edge."""
    edges = matrix.triu().nonzero().tolist()
    longer = torch.zeros(len(matrix) + len(edges), len(matrix) + len(edges), dtype=torch.bool)
    for middle, (a, b) in enumerate(edges, len(matrix)):
        longer[[a, b], middle] = longer[middle, [a, b]] = True
    return longer


def test_kuratowski() -> None:
    complete = ~torch.eye(5, dtype=torch.bool)
    for matrix in (complete, bipartite(3, 3)):
        assert not is_planar(matrix)
        assert not is_planar(subdivided(matrix))
        first, second = matrix.nonzero()[0].tolist()
        without = matrix.clone()
        without[first, second] = without[second, first] = False
        assert is_planar(without)
        assert is_planar(subdivided(without))


def test_graphs_of_six_nodes_agree_with_networkx() -> None:
    networkx = pytest.importorskip("networkx")
    graphs = connected_graphs(6)
    found = [is_planar(matrix) for matrix in graphs]
    assert found == [networkx.check_planarity(networkx.from_numpy_array(matrix.numpy()))[0] for matrix in graphs]
    assert sum(found) == 99  # OEIS A003094


@pytest.mark.parametrize("nodes", [12, 25, 40])
def test_larger_graphs_agree_with_networkx(nodes: int, generator: torch.Generator) -> None:
    networkx = pytest.importorskip("networkx")
    answers = set()
    for trial in range(12):
        upper = (torch.rand(nodes, nodes, generator=generator) < (1.5 + 0.25 * trial) / nodes).triu(1)
        matrix = upper | upper.T
        answers.add(is_planar(matrix))
        assert is_planar(matrix) == networkx.check_planarity(networkx.from_numpy_array(matrix.numpy()))[0]
    assert answers == {True, False}


def test_blocks_share_no_edge_and_hang_together_at_single_nodes() -> None:
    """Two triangles with a node in common, a bridge, and a node by itself."""
    edges = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4), (4, 5)]
    graph = {node: {b for a, b in edges if a == node} | {a for a, b in edges if b == node} for node in range(7)}
    assert sorted(sorted(block) for block in blocks(graph)) == [[0, 1, 2], [2, 3, 4], [4, 5]]


def test_graphs_without_edges_and_loops_are_planar() -> None:
    assert is_planar(torch.zeros(3, 3, dtype=torch.bool))
    assert is_planar(torch.eye(6, dtype=torch.bool))
