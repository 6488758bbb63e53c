"""The registry is light to look at, and every line of it works."""

import subprocess
import sys

import pytest
import torch

from torsor import models
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
"""One signature of each family, with three outputs, of each point or node where it has them."""

CHEAP = {"cloned": {"regime": "scratch"}}
"""What models do not do here: imitating takes minutes."""


def test_looking_at_the_registry_imports_no_model() -> None:
    heavy = "[name for name in sys.modules if name.startswith('torsor.models.') or name == 'torch']"
    code = f"import sys, torsor.models as models; list(models.REGISTRY); print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", REGISTRY)
def test_default_config_builds_a_model_for_every_family_it_serves(name: str) -> None:
    config = REGISTRY.load(name)(**CHEAP.get(name, {}))
    assert config.families
    for family in config.families:
        places = () if family is FeatureVectors else (4,)
        output = config.build(SIGNATURES[family])(**SIGNATURES[family].example(2, *places))
        assert output.shape == (2, *places, 3)
        assert torch.isfinite(output).all()


@pytest.mark.parametrize("name", [name for name in models.__all__ if name != "REGISTRY"])
def test_every_name_is_there(name: str) -> None:
    assert getattr(models, name).__name__ == name


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="Perceptron"):
        _ = models.Perceptron
