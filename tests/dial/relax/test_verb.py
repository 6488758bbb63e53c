import pytest
import torch

import torsor
from tests.dial.relax.common import example
from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.relax import Relaxed, RelaxSettings, extended, fixed_representation, set_strength
from torsor.errors import ConfigError, GroupError, UnknownNameError
from torsor.models import EGNN
from torsor.representations import Irreps
from torsor.signatures import Graphs, Particles, PointClouds


def egnn(rep_in="2x0e + 1x1o"):
    torch.manual_seed(0)
    return EGNN(rep_in, "1x0e + 1x1o", hidden=8, layers=2).double().eval()


def test_the_verb_adds_fixed_inputs_to_a_model_that_stands():
    plain, inputs = egnn(), example("points")
    model = torsor.relax(plain, method="fixed-inputs", box=2.0).eval()
    assert isinstance(model, Relaxed)
    assert model.module is plain
    assert equivariance_error(model, inputs, samples=2).max_relative > 1e-3
    with torch.no_grad(), model.strict():
        assert torch.equal(model(**inputs), plain(**inputs))


def test_the_verb_feeds_them_to_a_model_that_was_built_for_them():
    signature = PointClouds("2x0e + 1x1o", "1x0e + 1x1o", points=5)
    inner = extended(signature, fixed_representation(signature, 3, 1))
    assert inner.rep_in == Irreps("2x0e + 1x1o + 3x0e + 1x1o")
    model = torsor.relax(egnn(inner.rep_in), signature=signature, inputs=3, vectors=1, box=float("inf")).eval()
    assert equivariance_error(model, example("points"), samples=2).max_relative > 1e-3
    with model.strict():
        assert_equivariant(model, example("points"), 1e-10, samples=2)


def test_extended_signatures_have_the_fixed_inputs_behind_the_features():
    jets, graphs = Particles(scalars_in=1, scalars_out=1), Graphs(node_features=2)
    assert extended(jets, fixed_representation(jets, 4)).scalars_in == 5
    assert extended(graphs, fixed_representation(graphs, 4)).node_features == 6
    assert extended(jets, fixed_representation(jets, 0)) == jets


def test_fixed_axes_have_the_parity_that_is_asked_for():
    signature = PointClouds("1x0e", "1x1o")
    assert fixed_representation(signature, 2, 1, "e") == Irreps("2x0e + 1x1e")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 2.0}, "from 0, strict, to 1, free"),
        ({"prior": 0.0}, "give a positive ratio"),
        ({"penalty": -1.0}, "weight of 0 or more"),
        ({"box": -1.0}, "half its width"),
        ({"injection": "concat"}, "has to be built for the fixed inputs"),
        ({"method": "projection"}, "no layer that this method can relax"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        torsor.relax(egnn(), **settings)


def test_unknown_settings_are_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'strength'"):
        torsor.relax(egnn(), strenght=1.0)


def test_modules_without_a_contract_are_refused():
    with pytest.raises(GroupError, match="has no contract"):
        torsor.relax(torch.nn.Linear(2, 2), method="penalty")


def test_each_method_has_its_own_default_of_the_dial():
    assert {method: RelaxSettings(method=method).dial for method in ("fixed-inputs", "residual", "relaxed-convolution")} == {
        "fixed-inputs": 1.0,
        "residual": 1.0,
        "relaxed-convolution": 1.0,
    }
    assert RelaxSettings(method="projection").dial == RelaxSettings(method="penalty").dial == 0.5
    assert RelaxSettings(method="penalty").loss_weight == 1.0
    assert RelaxSettings(method="residual").loss_weight == 1e-5
    assert RelaxSettings().loss_weight == 0.0
    assert RelaxSettings(method="residual", penalty=0.0).loss_weight == 0.0


def test_a_trained_model_can_be_made_stricter():
    model = torsor.relax(egnn(), box=float("inf")).eval()
    errors = []
    for strength in (1.0, 0.1, 0.0):
        set_strength(model, strength)
        errors.append(equivariance_error(model, example("points"), samples=1).rms_relative)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-12
    with pytest.raises(ConfigError, match="has no dial"):
        set_strength(egnn(), 0.5)
