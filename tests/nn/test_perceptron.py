import pytest
import torch
from torch.nn.functional import gelu, relu, silu

from torsor.nn.perceptron import ACTIVATIONS, hidden_layers, output_layer


@pytest.mark.parametrize(("name", "function"), [("gelu", gelu), ("relu", relu), ("silu", silu), ("tanh", torch.tanh)])
def test_hidden_layers_alternate_linear_maps_and_the_nonlinearity(name, function, generator) -> None:
    layers = hidden_layers((3, 5, 2), name).double()
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    expected = x
    for weight, bias in zip(*(iter(layers.parameters()),) * 2, strict=True):
        expected = function(expected @ weight.T + bias)
    torch.testing.assert_close(layers(x), expected, rtol=0, atol=1e-12)
    assert name in ACTIVATIONS


def test_one_width_has_no_layer() -> None:
    x = torch.ones(2, 3)
    assert torch.equal(hidden_layers((3,), "relu")(x), x)


def test_a_last_layer_starts_small_and_not_at_zero() -> None:
    torch.manual_seed(0)
    usual = torch.nn.Linear(5, 3)
    torch.manual_seed(0)
    layer = output_layer(5, 3, 0.01)
    torch.testing.assert_close(layer.weight, 0.01 * usual.weight)
    assert not layer.bias.any()
