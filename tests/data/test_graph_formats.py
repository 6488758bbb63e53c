"""graph6 and sparse6: known strings, networkx as the oracle, and damaged lines."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from torsor.data.graph_formats import graph6, parse_graph, read_graphs
from torsor.errors import DataError


def random_graph(nodes: int, generator: torch.Generator, p: float = 0.4) -> Tensor:
    upper = (torch.rand(nodes, nodes, generator=generator) < p).triu(1)
    return upper | upper.T


def test_the_example_of_the_format_description_is_read() -> None:
    """n = 5 with the edges 0-2, 0-4, 1-3 and 3-4 is "DQc"."""
    matrix = parse_graph("DQc")
    assert {(int(i), int(j)) for i, j in matrix.triu().nonzero()} == {(0, 2), (0, 4), (1, 3), (3, 4)}
    assert graph6(matrix) == "DQc"
    sparse = parse_graph(":Fa@x^")
    assert {(int(i), int(j)) for i, j in sparse.triu().nonzero()} == {(0, 1), (0, 2), (1, 2), (5, 6)}
    assert len(sparse) == 7


@pytest.mark.parametrize("nodes", [0, 1, 2, 7, 62, 63, 100])
def test_graphs_are_written_and_read_as_networkx_does(nodes: int, generator: torch.Generator) -> None:
    networkx = pytest.importorskip("networkx")
    matrix = random_graph(nodes, generator)
    graph = networkx.from_numpy_array(matrix.numpy())
    written = networkx.to_graph6_bytes(graph, header=False).decode().strip()
    assert graph6(matrix) == written
    assert torch.equal(parse_graph(written), matrix)
    assert torch.equal(parse_graph(">>graph6<<" + written), matrix)
    thin = random_graph(nodes, generator, 0.05)
    line = networkx.to_sparse6_bytes(networkx.from_numpy_array(thin.numpy())).decode()
    assert torch.equal(parse_graph(line), thin)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("D", "has 0 bits: a graph of 5 nodes has 10"),
        ("DQcc", "has 18 bits"),
        ("D\x7f!", "is neither graph6 nor sparse6"),
        (" ", "is neither graph6 nor sparse6"),
        ("~?", "breaks off in its number of nodes"),
        (":~~?~~~~~", "its matrix is too large"),
    ],
)
def test_a_damaged_line_is_named(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_graph(line)


def test_what_is_no_simple_graph_is_not_written() -> None:
    with pytest.raises(DataError, match="symmetric"):
        graph6(torch.tensor([[False, True], [False, False]]))
    with pytest.raises(DataError, match="symmetric"):
        graph6(torch.eye(2, dtype=torch.bool))


def test_a_file_has_one_graph_a_line_and_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "some.g6"
    path.write_text("DQc\n\nA_\n")
    assert [len(graph) for graph in read_graphs(path)] == [5, 2]
    path.write_text("DQc\nD\n")
    with pytest.raises(DataError, match="line 2"):
        read_graphs(path)
    with pytest.raises(DataError, match="no file"):
        read_graphs(tmp_path / "none.g6")
