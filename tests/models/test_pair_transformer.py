"""The transformer over pairs knows points by their learned places, and by nothing else."""

import pytest
import torch

from torsor.check import assert_equivariant, equivariance_error
from torsor.errors import ShapeError, SignatureError
from torsor.groups import S, T
from torsor.models import PairTransformer, PairTransformerConfig
from torsor.signatures import PointClouds

CHARGED = PointClouds("1x1o", "1x1o", edge_features=1, points=5)
SMALL = {"width": 16, "heads": 2, "layers": 2}


@pytest.mark.parametrize(("layers", "parameters"), [(8, 208_387), (4, 107_523)])
def test_the_published_networks_have_their_parameters(layers: int, parameters: int) -> None:
    assert sum(p.numel() for p in PairTransformerConfig(layers=layers).build(CHARGED).parameters()) == parameters


def test_points_that_take_their_places_along_take_their_outputs_along(generator) -> None:
    """Nothing but the learned places tells the points apart."""
    torch.manual_seed(0)
    model = PairTransformerConfig(**SMALL).build(CHARGED).double()
    inputs = CHARGED.example(2, 5, generator, torch.float64)
    p = torch.tensor([3, 0, 4, 1, 2])
    before = model(**inputs)[:, p]
    moved = {name: x[:, p][:, :, p] if name == "edge_features" else x[:, p] for name, x in inputs.items()}
    assert (model(**moved) - before).abs().max() > 1e-4
    with torch.no_grad():
        model.places.copy_(model.places[p][:, p])
    torch.testing.assert_close(model(**moved), before, rtol=0, atol=1e-12)


def test_translations_are_known_and_permutations_are_not(generator) -> None:
    torch.manual_seed(0)
    model = PairTransformerConfig(**SMALL).build(CHARGED).double()
    inputs = CHARGED.example(2, 5, generator, torch.float64)
    assert model.symmetry.group == T(3)
    assert_equivariant(model, inputs)
    assert equivariance_error(model, inputs, CHARGED.symmetry(S())).max_relative > 1e-2
    assert PairTransformerConfig(centre=False, **SMALL).build(CHARGED).symmetry.exactness == "none"


def test_features_of_a_point_stand_on_the_diagonal_alone(generator) -> None:
    model = PairTransformerConfig(**SMALL).build(CHARGED).double()
    inputs = CHARGED.example(1, 5, generator, torch.float64)
    seen = []
    model.embed.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    model(**inputs)
    nodes, off_diagonal = seen[0][..., 2:], ~torch.eye(5, dtype=torch.bool)
    assert not nodes[0, off_diagonal].any()
    assert torch.equal(nodes[0].diagonal().T[:, 3:], inputs["features"][0])


def test_clouds_without_bound_and_larger_ones_are_refused() -> None:
    with pytest.raises(SignatureError, match=r"places are learned.*points=.*egnn"):
        PairTransformerConfig().build(PointClouds("", "1x0e"))
    with pytest.raises(ShapeError, match="4 points, but this model was built for 3"):
        PairTransformer("", "1x0e", points=3, **SMALL)(torch.zeros(1, 4, 3))
    with pytest.raises(SignatureError, match="width 15 does not divide by 2 heads"):
        PairTransformer("", "1x0e", points=3, width=15, heads=2)
