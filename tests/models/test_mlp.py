"""The perceptron sees the whole padded cloud and knows no symmetry."""

import pytest
import torch

from torsor.errors import ShapeError, SignatureError
from torsor.models import MLP, MLPConfig
from torsor.signatures import PointClouds

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
