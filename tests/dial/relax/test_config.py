import pytest
import torch

from torsor.config import from_mapping, to_mapping
from torsor.dial.relax import EquivariancePenalized, ParallelResidual, RelaxedConfig, WithFixedInputs
from torsor.dial.relax.base import Exchanged
from torsor.errors import ConfigError, SignatureError
from torsor.groups import O
from torsor.models import REGISTRY
from torsor.representations import Vectors
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds

SIGNATURES = {
    PointClouds: PointClouds("2x0e + 1x1o", "1x1o", edge_features=1, points=4),
    Particles: Particles(scalars_in=2, scalars_out=3),
    Graphs: Graphs(node_features=2, outputs=3, level="node", nodes=4),
    FeatureVectors: FeatureVectors(O(3), 2 * Vectors(), Vectors()),
}


def test_it_is_registered():
    assert REGISTRY.load("relaxed") is RelaxedConfig


@pytest.mark.parametrize(
    ("family", "method", "kind"),
    [
        (PointClouds, "residual", ParallelResidual),
        (PointClouds, "penalty", EquivariancePenalized),
        (Particles, "fixed-inputs", WithFixedInputs),
        (Particles, "residual", ParallelResidual),
        (Graphs, "residual", ParallelResidual),
        (FeatureVectors, "projection", Exchanged),
    ],
)
def test_every_method_builds_from_nothing_but_its_name_for_the_families_it_serves(family, method, kind):
    signature = SIGNATURES[family]
    model = RelaxedConfig(method=method).build(signature)
    assert type(model) is kind
    assert model.symmetry.exactness == "approximate"
    places = () if family is FeatureVectors else (4,)
    assert model(**signature.example(2, *places)).shape == (2, *places, 3)


def test_a_model_with_equivariant_layers_keeps_them_and_gets_the_sizes_of_the_signature():
    config = RelaxedConfig(method="residual", model={"name": "deep-set", "width": 4, "layers": 1})
    assert isinstance(config.build(SIGNATURES[PointClouds]), Exchanged)
    with pytest.raises(ConfigError, match="needs the size of its largest set"):
        config.build(PointClouds("1x0e", "1x0e"))


def test_settings_survive_the_way_through_a_file():
    config = RelaxedConfig(method="residual", strength=0.25, box=2.0, places={"n": 5}, model={"name": "deep-set", "width": 4})
    assert from_mapping(RelaxedConfig, to_mapping(config)) == config
    everywhere = RelaxedConfig(box=float("inf"))
    assert from_mapping(RelaxedConfig, to_mapping(everywhere)) == everywhere
    assert RelaxedConfig().box == "seen"


def test_what_the_model_inside_cannot_serve_is_its_own_error():
    with pytest.raises(SignatureError, match="lgatr cannot serve"):
        RelaxedConfig(model={"name": "lgatr"}).build(SIGNATURES[PointClouds])
    with pytest.raises(SignatureError, match="needs nodes="):
        RelaxedConfig(model={"name": "gin", "width": 4}).build(Graphs(node_features=2))


def test_the_initial_weights_come_from_the_global_generator_alone():
    first, second = (seeded(0) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    other = seeded(1)
    assert not all(torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters(), strict=True))


def seeded(seed):
    torch.manual_seed(seed)
    return RelaxedConfig().build(SIGNATURES[PointClouds])
