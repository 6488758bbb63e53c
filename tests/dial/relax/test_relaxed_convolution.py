import pytest
import torch
from torch import nn

from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.relax import Box, FixedInputs, GridWeights, PositionWeights, RelaxedConvolution, relax, set_strength
from torsor.errors import ConfigError
from torsor.groups import C
from torsor.representations.base import Action
from torsor.symmetry import Symmetry
from torsor.testing import optimise


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


CONVOLUTIONS = {
    "1d": lambda: nn.Conv1d(3, 4, 5, padding=2),
    "2d": lambda: nn.Conv2d(3, 4, 3, padding="same"),
    "strided, dilated": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2, bias=False),
    "grouped": lambda: nn.Conv1d(4, 6, 3, groups=2),
    "circular": lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
    "reflecting": lambda: nn.Conv1d(2, 2, 3, padding=1, padding_mode="reflect"),
}


def layer(name, filters=3, strength=1.0):
    torch.manual_seed(0)
    convolution = CONVOLUTIONS[name]()
    dimension = convolution.weight.ndim - 2
    weights = PositionWeights(FixedInputs(dimension, filters, hidden=8, dropout=0.0))
    made = RelaxedConvolution(convolution, weights, filters, strength).double()
    with torch.no_grad():
        made.filters.normal_(generator=torch.Generator().manual_seed(1))
    return made


def image(name, generator):
    made = layer(name)
    return normal(generator, 2, made.convolution.in_channels, *(7, 8)[: made.convolution.weight.ndim - 2])


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_without_mixing_it_is_the_ordinary_convolution_bit_by_bit(name, generator):
    made, z = layer(name), image(name, generator)
    plain = made.convolution(z)
    assert not torch.allclose(made(z), plain)
    made.is_strict = True
    assert torch.equal(made(z), plain)
    made.is_strict = False
    set_strength(made, 0.0)
    assert torch.equal(made(z), plain)
    set_strength(made, 1.0)
    made.keep = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(made(z), plain)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_it_is_the_formula_with_one_convolution_for_each_filter(name, generator):
    made, z = layer(name, strength=0.7), image(name, generator)
    like = made.convolution
    expected = like(z)
    mixing = made.weights(expected, like.stride)
    for psi, w in zip(made.filters, mixing, strict=True):
        one = CONVOLUTIONS[name]().double()
        one.weight, one.bias = nn.Parameter(psi), None
        expected = expected + 0.7 / 3 * w * one(z)
    torch.testing.assert_close(made(z), expected, rtol=0, atol=1e-12)


def test_with_the_mean_of_the_filters_for_the_convolution_it_is_the_published_mixture(generator):
    """1/(3 L) sum_l (1 + w_l(x)) (psi_l * z)(x), and with w = 0 an ordinary convolution with the filter 1/(3 L) sum_l psi_l."""
    made, z = layer("1d"), image("1d", generator)
    psi = [nn.functional.conv1d(z, 3 * filters, padding=2) for filters in made.filters]
    with torch.no_grad():
        made.convolution.weight.copy_(made.filters.mean(0))
        made.convolution.bias.zero_()
    mixing = made.weights(psi[0], (1,))
    published = sum((1 + w) * y for w, y in zip(mixing, psi, strict=True)) / (3 * 3)
    torch.testing.assert_close(made(z), published, rtol=0, atol=1e-12)
    made.is_strict = True
    torch.testing.assert_close(made(z), sum(psi) / (3 * 3), rtol=0, atol=1e-12)


def test_every_filter_starts_as_the_ordinary_one():
    convolution = nn.Conv2d(2, 3, 3)
    made = RelaxedConvolution(convolution, GridWeights(4, (5, 5)), 4, 1.0)
    assert all(torch.equal(psi, convolution.weight) for psi in made.filters)


def test_weights_on_a_grid_belong_to_its_places(generator):
    made = RelaxedConvolution(nn.Conv1d(1, 1, 3, padding=1), GridWeights(1, (6,)), 1, 1.0).double()
    with torch.no_grad():
        made.weights.weights.zero_()
        made.weights.weights[0, 2] = 1.0
    z = normal(generator, 1, 1, 6)
    without = made.convolution(z)
    expected = without.clone()
    expected[..., 2] += without[..., 2] - made.convolution.bias
    torch.testing.assert_close(made(z), expected, rtol=0, atol=1e-13)
    with pytest.raises(ConfigError, match="made for"):
        made(normal(generator, 1, 1, 7))


# -- a network ---------------------------------------------------------------------------------------------------------------------------


class Rolled(Action):
    """Signals on a circle, rolled along their last axis by the turns of C(n)."""

    def apply(self, group, g, x):
        turns = g.reshape(-1, 2)[:, 0].tolist()
        if g.ndim == 1:
            return x.roll(turns[0], -1)
        return torch.stack([item.roll(turn, -1) for item, turn in zip(x, turns, strict=True)])


class Circular(nn.Module):
    """Two convolutions on a circle of eight places: exactly equivariant to its shifts."""

    symmetry = Symmetry(C(8), {"z": Rolled()}, Rolled(), mask=None)

    def __init__(self):
        super().__init__()
        circular = {"padding": 1, "padding_mode": "circular"}
        self.layers = nn.Sequential(nn.Conv1d(2, 4, 3, **circular), nn.ReLU(), nn.Conv1d(4, 1, 3, **circular))

    def forward(self, z):
        return self.layers(z)


def network(**settings):
    torch.manual_seed(0)
    plain = Circular().double()
    return plain, relax(plain, method="relaxed-convolution", hidden=8, **settings).double().eval()


def test_a_relaxed_network_is_strict_again_on_demand(generator):
    plain, model = network()
    inputs = {"z": normal(generator, 3, 2, 8)}
    assert model.symmetry.exactness == "approximate"
    assert equivariance_error(model, inputs).max_relative > 1e-3
    with model.strict():
        assert model.symmetry.exactness == "exact"
        assert torch.equal(model(**inputs), plain(**inputs))
        assert_equivariant(model, inputs, 1e-10)


def test_training_uses_the_freedom_and_strict_takes_it_away(generator):
    _, model = network()
    inputs = {"z": normal(generator, 3, 2, 8)}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".weights.inputs.network.1" in name:
                p.zero_()
    assert_equivariant(model, inputs, 1e-10)
    optimise(model, inputs, steps=5, rate=1e-2)
    assert equivariance_error(model, inputs).max_relative > 1e-4
    with model.strict():
        assert_equivariant(model, inputs, 1e-10)


def test_all_layers_share_what_is_dropped(generator):
    plain, model = network()
    z = normal(generator, 4, 2, 8)
    noise = model.train().draw({"z": z}, generator)
    assert list(noise) == ["keep"]
    assert noise["keep"].shape == (4,)
    model.eval()
    keep = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    mixed, full, none = model(z, keep=keep), model(z), plain(z)
    torch.testing.assert_close(mixed[::2], full[::2], rtol=0, atol=0)
    torch.testing.assert_close(mixed[1::2], none[1::2], rtol=0, atol=1e-13)
    assert all(part.keep is None for part in model.modules() if isinstance(part, RelaxedConvolution))


def test_outside_of_the_box_filters_do_not_change(generator):
    plain, model = network(box=1.0)
    z = normal(generator, 1, 2, 8)
    changed = (model(z) - plain(z)).abs().flatten() > 0
    assert changed.tolist() == [False] * 2 + [True] * 4 + [False] * 2  # places at +-1/2, and what the second layer sees of them


def test_networks_without_convolutions_are_refused():
    class Plain(nn.Module):
        symmetry = Circular.symmetry

        def forward(self, z):
            return z

    with pytest.raises(ConfigError, match="no layer"):
        relax(Plain(), method="relaxed-convolution")


def test_fourier_features_are_measured_by_the_box(generator):
    _, model = network(box=4.0, fourier=2)
    assert model(normal(generator, 1, 2, 8)).isfinite().all()
    assert Box.everywhere(1)(torch.zeros(1, 1)).item() == 1


@pytest.mark.compile
def test_compiles_as_one_graph_with_and_without_dropout(generator):
    _, model = network()
    z, keep = normal(generator, 4, 2, 8), torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(z), model(z), rtol=0, atol=1e-12)
    torch.testing.assert_close(compiled(z, keep=keep), model(z, keep=keep), rtol=0, atol=1e-12)
    with model.strict():
        torch.testing.assert_close(compiled(z), model(z), rtol=0, atol=1e-12)
