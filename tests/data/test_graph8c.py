"""Connected graphs up to isomorphism: their known numbers, classes of colour refinement, and McKay's collection."""

from pathlib import Path

import numpy as np
import pytest
import torch

from torsor.data import expressivity
from torsor.data.canonical_forms import canonical_form, indistinguishable
from torsor.data.graph8c import CONNECTED, connected_graphs, fingerprints
from torsor.errors import DataError


@pytest.mark.parametrize("nodes", range(1, 8))
def test_numbers_of_connected_graphs_are_the_known_ones(nodes: int) -> None:
    graphs = connected_graphs(nodes)
    assert len(graphs) == CONNECTED[nodes - 1]
    assert torch.equal(graphs, graphs.mT)
    assert not graphs.diagonal(dim1=1, dim2=2).any()
    reached = torch.linalg.matrix_power((graphs | torch.eye(nodes, dtype=torch.bool)).double(), nodes)
    assert (reached > 0).all()
    if nodes < 7:
        assert len({canonical_form(graph) for graph in graphs}) == len(graphs)


def test_there_are_11117_graphs_of_eight_nodes_and_colour_refinement_leaves_312_pairs_of_them_together() -> None:
    graphs = connected_graphs(8)
    assert graphs.shape == (11_117, 8, 8)
    sizes = indistinguishable(graphs).bincount()
    assert len(sizes) == 10_897
    assert int((sizes * (sizes - 1) // 2).sum()) == 312


def test_fingerprints_do_not_depend_on_the_names_of_nodes(generator: torch.Generator) -> None:
    graphs = connected_graphs(6)
    order = torch.randperm(6, generator=generator)
    assert np.array_equal(fingerprints(graphs.numpy()), fingerprints(graphs[:, order][:, :, order].numpy()))


def test_sizes_that_are_not_enumerated_are_refused() -> None:
    with pytest.raises(DataError, match="for 1 to 8 nodes"):
        connected_graphs(9)


@pytest.mark.slow
def test_the_graphs_are_those_of_the_published_collection(shared_data: Path) -> None:
    published = expressivity.graph8c(shared_data).graphs
    assert {canonical_form(graph) for graph in published} == {canonical_form(graph) for graph in connected_graphs(8)}
