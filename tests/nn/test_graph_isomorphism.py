"""Graph isomorphism layers: the sum over neighbours written out, permutations, padding, and what a virtual node sees."""

import pytest
import torch
from torch.nn.functional import pad

from torsor.groups import S
from torsor.nn.graph_isomorphism import GraphIsomorphismLayer, GraphIsomorphismStack
from torsor.representations import Pairs, Permuted
from torsor.signatures import Graphs

LENGTHS = (6, 3, 1)


def graphs(generator, edge_features=2):
    return Graphs(4, edge_features).example(3, 6, generator, torch.float64, lengths=LENGTHS)


def stack(statistics="batch", edge_features=2, **settings):
    torch.manual_seed(3)
    return GraphIsomorphismStack(4, 8, 3, edge_features=edge_features, statistics=statistics, **settings).double()


def spoiled(inputs):
    """The same graphs with NaN behind the mask."""
    mask = inputs["mask"]
    pairs = mask[:, :, None] & mask[:, None]
    broken = {
        name: x.masked_fill(~(pairs if x.shape[1:3] == pairs.shape[1:] else mask)[..., None], torch.nan)
        for name, x in inputs.items()
        if name in ("features", "edge_features")
    }
    return inputs | broken | {"adjacency": inputs["adjacency"].masked_fill(~pairs, torch.nan)}


def test_layer_is_the_sum_over_incoming_edges(generator):
    torch.manual_seed(0)
    layer = GraphIsomorphismLayer(4, 5).double()
    adjacency = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    h = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    for b in range(2):
        for j in range(3):
            received = sum(adjacency[b, i, j] * h[b, i] for i in range(3))
            expected = layer.last((1 + layer.epsilon) * h[b, j] + received)
            assert (layer(h, adjacency)[b, j] - expected).abs().max() < 1e-13


def test_features_of_edges_join_the_messages(generator):
    torch.manual_seed(0)
    layer = GraphIsomorphismLayer(4, 5, edge_features=2).double()
    inputs = Graphs(4, 2).example(1, 3, generator, torch.float64)
    h, edges, adjacency = inputs["features"], inputs["edge_features"], inputs["adjacency"]
    for j in range(3):
        received = sum(adjacency[0, i, j] * (h[0, i] + layer.edges(edges[0, i, j])).relu() for i in range(3))
        assert (layer(h, adjacency, None, edges)[0, j] - layer.last((1 + layer.epsilon) * h[0, j] + received)).abs().max() < 1e-13


@pytest.mark.parametrize("statistics", ["batch", "item", "none"])
@pytest.mark.parametrize("training", [False, True])
def test_channels_move_with_the_nodes(statistics, training, generator):
    network = stack(statistics).train(training)
    inputs = graphs(generator)
    p = S(6).sample(3, generator=generator, mask=inputs["mask"])
    moved = {
        name: (Permuted if name == "features" else lambda axis: Pairs(axis, 2))(1).apply(S(6), p, x)
        for name, x in inputs.items()
        if name != "mask"
    }
    expected = Permuted(1).apply(S(6), p, network(**inputs))
    assert (network(**moved, mask=inputs["mask"]) - expected).abs().max() < 1e-11
    assert expected.abs().max() > 0.1


@pytest.mark.parametrize("statistics", ["batch", "item", "none"])
def test_padding_changes_nothing(statistics, generator):
    network, inputs = stack(statistics).eval(), graphs(generator)
    together = network(**spoiled(inputs))
    for i, n in enumerate(LENGTHS):
        alone = network(
            inputs["adjacency"][i : i + 1, :n, :n], inputs["features"][i : i + 1, :n], inputs["edge_features"][i : i + 1, :n, :n]
        )
        assert (together[i, :n] - alone[0]).abs().max() < 1e-12
        assert not together[i, n:].any()


def test_batch_statistics_in_training_ignore_padding(generator):
    inputs = spoiled(graphs(generator))
    first, second = stack().train(), stack().train()
    wider = {
        "adjacency": pad(inputs["adjacency"], (0, 2, 0, 2)),
        "features": pad(inputs["features"], (0, 0, 0, 2)),
        "edge_features": pad(inputs["edge_features"], (0, 0, 0, 2, 0, 2)),
        "mask": pad(inputs["mask"], (0, 2)),
    }
    assert (first(**inputs) - second(**wider)[:, :6]).abs().max() < 1e-12
    for ours, theirs in zip(first.buffers(), second.buffers(), strict=True):
        assert (ours - theirs).abs().max() < 1e-13


def test_virtual_node_joins_components(generator):
    """Without it a node knows nothing of a component that it has no edge to."""
    adjacency = torch.zeros(1, 4, 4, dtype=torch.float64)
    adjacency[0, 0, 1] = adjacency[0, 1, 0] = 1
    features = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64)
    changed = features.clone()
    changed[0, 3] += 1
    for virtual_node in (False, True):
        network = stack("none", 0, virtual_node=virtual_node)
        difference = (network(adjacency, features) - network(adjacency, changed))[0, 0].abs().max()
        assert (difference > 1e-6) == virtual_node


def test_parameters_of_the_published_stack():
    """Per layer: epsilon, two linear layers, two norms; and the virtual node's features."""
    f = 2
    linear = (f * 64 + 64) + 5 * (64 * 64 + 64)
    assert sum(p.numel() for p in GraphIsomorphismStack(f).parameters()) == 3 + linear + 6 * 2 * 64 + f


def test_epsilon_starts_between_zero_and_one():
    torch.manual_seed(0)
    starts = torch.stack([GraphIsomorphismLayer(1, 1).epsilon.detach() for _ in range(200)])
    assert starts.min() >= 0
    assert starts.max() < 1
    assert abs(starts.mean() - 0.5) < 0.1
