"""The perceptron sees the whole padded cloud and knows no symmetry."""

import pytest
import torch

from torsor.errors import ConfigError, ShapeError, SignatureError
from torsor.groups import O
from torsor.models import MLP, MLPConfig
from torsor.representations import Vectors
from torsor.signatures import FeatureVectors, Graphs, PointClouds

SIGNATURE = PointClouds("2x0e", "1x1o + 1x0e", edge_features=2, points=6)


def test_fewer_places_are_padded_places() -> None:
    torch.manual_seed(0)
    model = MLPConfig().build(SIGNATURE).double()
    inputs = SIGNATURE.example(2, 6, dtype=torch.float64)
    mask = (torch.arange(6) < 4).expand(2, 6)
    few = {name: x[:, :4, :4] if name == "edge_features" else x[:, :4] for name, x in inputs.items()}
    torch.testing.assert_close(model(**inputs, mask=mask)[:, :4], model(**few))
    assert not model(**inputs, mask=mask)[:, 4:].any()


def test_places_that_are_empty_differ_from_points_at_the_origin() -> None:
    torch.manual_seed(0)
    model = MLP("", "1x0e", points=3, pool="sum")
    positions = torch.zeros(1, 3, 3)
    assert model(positions) != model(positions[:, :2])


def test_unbounded_clouds_are_refused_and_models_that_serve_them_named() -> None:
    with pytest.raises(SignatureError, match=r"points=.*egnn"):
        MLPConfig().build(PointClouds("1x0e", "1x0e"))


def test_larger_clouds_are_refused() -> None:
    with pytest.raises(ShapeError, match="7 points"):
        MLP("", "1x0e", points=6)(torch.zeros(1, 7, 3))


GRAPHS = Graphs(2, 1, outputs=3, level="pair", nodes=6)


def test_smaller_graphs_are_padded_graphs(generator) -> None:
    torch.manual_seed(0)
    model = MLPConfig().build(GRAPHS).double()
    padded = GRAPHS.example(2, 6, generator, torch.float64, lengths=(4, 4))
    small = {name: x[:, :4] if name == "features" else x[:, :4, :4] for name, x in padded.items() if name != "mask"}
    output = model(**padded)
    torch.testing.assert_close(output[:, :4, :4], model(**small))
    assert not output[:, 4:].any()
    assert not output[:, :, 4:].any()


def test_a_graph_enters_as_one_row_mask_first() -> None:
    signature = Graphs(1, outputs=1, nodes=3)
    model = MLPConfig(layers=0, output_scale=1.0).build(signature)
    with torch.no_grad():
        model.output.weight.copy_(2.0 ** torch.arange(15))
    adjacency = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    features = torch.tensor([[[3.0], [5.0]]])
    # places 0 and 1 are taken; the edges stand at 3 + 1 and 3 + 3; the features at 12 and 13
    assert model(adjacency, features).item() == 1 + 2 + 2**4 + 2**6 + 3 * 2**12 + 5 * 2**13


def test_published_widths_have_the_published_parameters() -> None:
    """4,224 numbers of an EXP graph, 2048, 4096, 2048 and 10; here 64 more, the mask."""
    config = MLPConfig(widths=(2048, 4096, 2048), activation="tanh", output_activation="tanh", output_scale=1.0)
    with torch.device("meta"):
        model = config.build(Graphs(2, outputs=10, nodes=64))
    layers = ((4224 + 64, 2048), (2048, 4096), (4096, 2048), (2048, 10))
    assert sum(p.numel() for p in model.parameters()) == sum((i + 1) * o for i, o in layers)


def test_the_last_activation_bounds_the_output() -> None:
    signature = FeatureVectors(O(2), Vectors(), Vectors())
    bounded = MLPConfig(output_activation="tanh", output_scale=100.0).build(signature)
    assert bounded(torch.randn(50, 2)).abs().max() <= 1
    assert MLPConfig(output_scale=100.0).build(signature)(torch.randn(50, 2)).abs().max() > 1


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"x is \[4, 3\], but this model was built for 2 numbers"):
        MLPConfig().build(FeatureVectors(O(2), Vectors(), Vectors()))(torch.zeros(4, 3))


def test_unbounded_and_larger_graphs_are_refused() -> None:
    with pytest.raises(SignatureError, match=r"mlp cannot serve graphs.*nodes="):
        MLPConfig().build(Graphs(1))
    with pytest.raises(ShapeError, match="adjacency has 7 nodes, but this model was built for 6"):
        MLPConfig().build(Graphs(nodes=6))(torch.zeros(1, 7, 7))


def test_widths_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hidden layers of widths \[4, 0\]"):
        MLPConfig(widths=(4, 0))
