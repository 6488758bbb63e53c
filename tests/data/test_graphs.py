"""Graphs of different sizes: sparse, padded and taken in batches."""

import pytest
import torch
from torch import Tensor

from torsor.data.graphs import GraphSamples, Ragged, SparseGraphs, sparse
from torsor.errors import DataError, UnknownNameError


@pytest.fixture
def matrices(generator: torch.Generator) -> list[Tensor]:
    uppers = [(torch.rand(n, n, generator=generator) < 0.5).triu(1) for n in (3, 5, 1, 4)]
    return [upper | upper.T for upper in uppers]


def test_batches_are_the_padded_matrices(matrices: list[Tensor]) -> None:
    samples = GraphSamples(sparse(matrices), 6, {"target": torch.arange(4.0)})
    batch = samples.take(torch.tensor([3, 0, 3]))
    assert set(batch) == set(samples) == {"adjacency", "features", "mask", "target"}
    for row, which in enumerate((3, 0, 3)):
        n = len(matrices[which])
        assert torch.equal(batch["adjacency"][row, :n, :n], matrices[which].float())
        assert torch.equal(batch["features"][row, :n, 0], matrices[which].sum(1).float())
        assert batch["mask"][row].tolist() == [True] * n + [False] * (6 - n)
        assert not batch["adjacency"][row, n:].any()
        assert not batch["adjacency"][row, :, n:].any()
    assert batch["target"].tolist() == [3.0, 0.0, 3.0]


def test_slices_prefixes_subsets_and_dtypes(matrices: list[Tensor]) -> None:
    samples = GraphSamples(sparse(matrices), 5, {"target": torch.arange(4.0)})
    whole = samples.take(slice(None))
    assert torch.equal(samples.prefix(2)["adjacency"], whole["adjacency"][:2])
    assert torch.equal(samples.subset(torch.tensor([2, 1]))["mask"], whole["mask"][[2, 1]])
    double = samples.to(torch.float64)
    assert double.take(slice(1))["adjacency"].dtype == double.take(slice(1))["target"].dtype == torch.float64
    assert torch.equal(samples.to(device="cpu")["adjacency"], whole["adjacency"])
    assert len(samples) == 4
    assert "mask" in samples
    assert "charges" not in samples
    assert "4 graphs of at most 5 nodes" in repr(samples)
    with pytest.raises(UnknownNameError, match="'mask'"):
        samples["masks"]
    with pytest.raises(DataError, match="give 1 to 4"):
        samples.prefix(5)


def test_edge_features_relations_and_node_targets_go_where_their_edges_and_nodes_are() -> None:
    edges = Ragged.of([torch.tensor([[0, 1], [1, 0]]), torch.tensor([[2, 0]])])
    nodes = {"labels": Ragged.of([torch.tensor([4, 5]), torch.tensor([6, 7, 8])])}
    contacts = Ragged.of([torch.zeros(0, 2, dtype=torch.int64), torch.tensor([[1, 2]])])
    graphs = SparseGraphs(edges, nodes, torch.tensor([[1, 2], [3, 4], [5, 6]]), {"contacts": contacts})
    dense = graphs.take(torch.tensor([1, 0])).dense(3)
    assert dense["edge_features"][0, 2, 0].tolist() == [5, 6]
    assert dense["edge_features"][1, 1, 0].tolist() == [3, 4]
    assert dense["edge_features"].abs().sum() == 21
    assert dense["labels"].tolist() == [[6, 7, 8], [4, 5, 0]]
    assert dense["labels"].dtype == torch.int64
    assert dense["contacts"].nonzero().tolist() == [[0, 1, 2]]


def test_ragged_rows_know_their_owner_and_place() -> None:
    ragged = Ragged(torch.arange(6), torch.tensor([2, 0, 3, 1]))
    assert ragged.owners.tolist() == [0, 0, 2, 2, 2, 3]
    assert ragged.places.tolist() == [0, 1, 0, 1, 2, 0]
    taken = ragged.take(torch.tensor([3, 1, 2, 2]))
    assert taken.rows.tolist() == [5, 2, 3, 4, 2, 3, 4]
    assert taken.counts.tolist() == [1, 0, 3, 3]
    with pytest.raises(DataError, match="6 rows for counts that add up to 5"):
        Ragged(torch.arange(6), torch.tensor([5]))


def test_parts_that_do_not_belong_together_are_refused(matrices: list[Tensor]) -> None:
    graphs = sparse(matrices)
    with pytest.raises(DataError, match="a graph has 5 nodes: more than the 4 places"):
        GraphSamples(graphs, 4)
    with pytest.raises(DataError, match="names a node that its graph does not have"):
        SparseGraphs(Ragged(torch.tensor([[0, 3]]), torch.tensor([1, 0, 0, 0])), graphs.nodes)
    with pytest.raises(DataError, match="other numbers of nodes"):
        SparseGraphs(graphs.edges, {**graphs.nodes, "labels": Ragged(torch.zeros(4), torch.ones(4, dtype=torch.int64))})
    with pytest.raises(DataError, match="give one row an edge"):
        SparseGraphs(graphs.edges, graphs.nodes, torch.zeros(1, 2))
    with pytest.raises(DataError, match=r"give \[r, 2\] for 4"):
        SparseGraphs(Ragged(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([1])), graphs.nodes)
    with pytest.raises(DataError, match="there is none"):
        SparseGraphs(graphs.edges, {})
