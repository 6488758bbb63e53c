"""The kernels: every combination, closed forms, the fast forms against the naive path, and the numbers of parameters."""

from itertools import product

import pytest
import torch
from torch import nn

from torsor.errors import ConfigError, GroupError, UnknownNameError
from torsor.models.lie_transformer import (
    LieSelfAttention,
    LieTransformer,
    LieTransformerConfig,
    Scene,
    pair_networks,
    published_constellations,
    published_dynamics,
    published_kernel,
    published_qm9,
)
from torsor.models.lie_transformer.layers import activate, back_through
from torsor.models.lie_transformer.naive import naive_attention
from torsor.models.lie_transformer.neighbourhood import everyone, nearest

CODES = ["".join(digits) for digits in product("12", "123", "123", "12")]
SCALAR_ONLY = [code for code in CODES if code[1] != "2" and (code[2] != "1" or code[3] == "2")]
SMALL = {"hidden": 16, "heads": 2, "layers": 2, "kernel_dim": 3, "content_dim": 4}
LENGTHS = (5, 1, 4)


def twins(group, kernel, **settings):
    """One model twice, the second on the naive path."""
    torch.manual_seed(1)
    made = [LieTransformer(group, 2, 3, pool="mean", path=path, **(SMALL | kernel | settings)).double() for path in ("fast", "naive")]
    made[1].load_state_dict(made[0].state_dict())
    return made


def differences(fast, naive):
    """Relative errors of the output, and of all gradients together."""
    inputs = fast.signature.example(3, 5, torch.Generator().manual_seed(2), torch.float64, lengths=LENGTHS)
    found = []
    for model in (fast, naive):
        y = model(**inputs)
        slopes = torch.autograd.grad(y.square().sum(), list(model.parameters()), allow_unused=True, materialize_grads=True)
        found.append((y.detach(), torch.cat([slope.flatten() for slope in slopes])))
    return [float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True)]


@pytest.mark.parametrize("code", [code for code in CODES if code not in SCALAR_ONLY])
def test_every_kernel_that_makes_sense_equals_its_naive_form(code, monkeypatch):
    monkeypatch.setattr(pair_networks, "CHUNK", 400)
    assert max(differences(*twins("SE(2)", published_kernel(code), lift="data"))) < 1e-12


@pytest.mark.parametrize("code", SCALAR_ONLY)
def test_a_vector_where_a_scalar_is_needed_is_refused(code):
    with pytest.raises(GroupError, match=r"is a vector.* needs a scalar: take"):
        LieTransformer("SE(2)", 2, 3, **SMALL, **published_kernel(code))


@pytest.mark.parametrize("code", ["1112", "2112", "1312", "2312"])
def test_one_coordinate_is_a_scalar(code):
    """The remaining kernels of a plain location: on the line a pair has one coordinate."""
    assert max(differences(*twins("T(1)", published_kernel(code)))) < 1e-12


@pytest.mark.parametrize("attention", ["softmax", "dot_product", "norm_exp"])
@pytest.mark.parametrize("name", ["mlp", "dot_product_only", "location_only", "relative_position"])
def test_the_named_kernels_equal_their_naive_form(name, attention):
    assert max(differences(*twins("T(2)", published_kernel(name, attention)))) < 1e-12


@pytest.mark.parametrize("code", ["1111", "2232", "1221", "2311"])
@pytest.mark.parametrize(
    "settings", [{"neighbours": 4, "samples": 2}, {"activation": "softplus", "final_activation": True}, {"activation": "relu"}]
)
def test_neighbourhoods_and_activations_equal_their_naive_form(code, settings, monkeypatch):
    monkeypatch.setattr(pair_networks, "CHUNK", 400)
    assert max(differences(*twins("SE(2)", published_kernel(code), **settings))) < 1e-12


@pytest.mark.parametrize("kind", ["layer", "batch", "none"])
@pytest.mark.parametrize("position", ["pre", "post"])
@pytest.mark.parametrize("head", ["elementwise", "pooled"])
def test_norms_and_heads_equal_their_naive_form(kind, position, head):
    # a sample of each point in the first block: batch statistics must not notice
    assert max(differences(*twins("TC(2)", {}, norm=kind, norm_position=position, head=head))) < 1e-12


@pytest.mark.parametrize("name", ["swish", "relu", "softplus"])
def test_slopes_are_those_of_autograd(name, generator):
    x = torch.randn(50, generator=generator, dtype=torch.float64).requires_grad_()
    value = activate(name, x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert (back_through(name, torch.ones_like(x), x.detach()) - slope).abs().max() < 1e-15


def test_published_names_and_digits_are_read():
    assert published_kernel("2232") == {"normalisation": "constant", "combination": "mlp", "content": "linear_concat", "location": "plain"}
    assert published_kernel("mlp", "dot_product")["normalisation"] == "constant"
    with pytest.raises(UnknownNameError, match="published kernel 'mpl': did you mean 'mlp'"):
        published_kernel("mpl")
    with pytest.raises(UnknownNameError, match="published attention"):
        published_kernel("mlp", "sparsemax")
    with pytest.raises(ConfigError, match="kernel '2432' names nothing: give four digits, normalisation 1 to 2"):
        published_kernel("2432")
    with pytest.raises(ConfigError, match="leave out attention"):
        published_kernel("1111", "norm_exp")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 10, "heads": 4}, "hidden 10 does not divide by 4 heads"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"fill": 0.0}, "fill is 0.0"),
        ({"samples": 0}, "samples is 0"),
        ({"content": "none", "location": "none"}, "attention needs one of them"),
        ({"combination": "relative", "location": "mlp"}, "takes content 'dot' and location 'plain'"),
        ({"combination": "mlp", "content": "concat", "content_dim": 3}, "an even number for 'concat'"),
        ({"combination": "product", "location": "none"}, "needs content and location"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        LieTransformer("T(2)", 2, 1, **settings)


# -- closed forms ----------------------------------------------------------------------------------------------------------------------


def scene_of(pairs, mask=None):
    return Scene(pairs, everyone(pairs[:, :, 0], mask), mask, 1, plain=True, recompute=True)


def zeroed(layer, *modules):
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.zero_()
    return layer


def test_without_a_location_term_it_is_multi_head_attention(generator):
    config = LieTransformerConfig(hidden=16, heads=4)
    layer = LieSelfAttention(config, 2).double()
    zeroed(layer, layer.location)
    peer = nn.MultiheadAttention(16, 4, batch_first=True).double()
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([part.weight for part in (layer.query, layer.key, layer.value)]))
        peer.in_proj_bias.copy_(torch.cat([part.bias for part in (layer.query, layer.key, layer.value)]))
        peer.out_proj.load_state_dict(layer.merge.state_dict())
    x = torch.randn(2, 6, 16, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    pairs = torch.randn(2, 6, 6, 2, generator=generator, dtype=torch.float64)
    expected = peer(x, x, x, key_padding_mask=~mask, need_weights=False)[0]
    assert (layer(x, scene_of(pairs, mask)) - expected).abs().max() < 1e-12


def test_without_content_it_is_a_mean_over_a_network_of_relative_positions(generator):
    config = LieTransformerConfig(hidden=8, heads=2, content_dim=4, kernel_dim=5, **published_kernel("2222"))
    layer = LieSelfAttention(config, 3).double()
    zeroed(layer, layer.query, layer.key)
    x = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    pairs = torch.randn(2, 5, 5, 3, generator=generator, dtype=torch.float64)
    rows = torch.cat((torch.zeros(2, 5, 5, 4, dtype=torch.float64), pairs), -1)
    weights = layer.combine(rows[..., None, :].expand(-1, -1, -1, 2, -1)) / 5
    expected = layer.merge(torch.einsum("bijh, bjhc -> bihc", weights, layer.value(x).unflatten(-1, (2, 4))).flatten(2))
    assert (layer(x, scene_of(pairs)) - expected).abs().max() < 1e-13


def test_linear_concat_linear_of_elements_equals_that_of_pairs(generator):
    config = LieTransformerConfig(hidden=16, heads=2, content_dim=6, kernel_dim=5, **published_kernel("1231"))
    layer = LieSelfAttention(config, 3).double()
    x = torch.randn(2, 5, 16, generator=generator, dtype=torch.float64)
    scene = scene_of(torch.randn(2, 5, 5, 3, generator=generator, dtype=torch.float64))
    assert (layer(x, scene) - naive_attention(layer, x, scene)).abs().max() < 1e-13


# -- neighbourhoods --------------------------------------------------------------------------------------------------------------------


def test_as_many_neighbours_as_elements_is_full_attention(generator):
    torch.manual_seed(0)
    full = LieTransformer("SE(2)", 2, 1, samples=2, **SMALL).double()
    inputs = full.signature.example(3, 5, generator, torch.float64, lengths=LENGTHS)
    for neighbours in (10, 40):
        few = LieTransformer("SE(2)", 2, 1, samples=2, neighbours=neighbours, **SMALL).double()
        few.load_state_dict(full.state_dict())
        assert torch.equal(few(**inputs), full(**inputs))


def test_neighbours_are_the_nearest_valid_ones(generator):
    distance = torch.rand(2, 6, 6, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [2]])
    found = nearest(distance, mask, 3, 1.0, None)
    assert torch.equal(found.index[0].sort(-1).values, distance[0].argsort(-1)[:, :3].sort(-1).values)
    assert found.visible[1].sum(-1).tolist() == [2] * 6
    assert found.count[1].flatten().tolist() == [2] * 6


def test_thinned_neighbours_are_drawn_from_the_nearest_for_each_query_by_itself(generator):
    distance = torch.rand(1, 12, 12, generator=generator, dtype=torch.float64)
    thinning = torch.rand(1, 12, 6, generator=generator, dtype=torch.float64)
    index = nearest(distance, None, 3, 0.5, thinning).index[0]
    candidates = distance[0].argsort(-1)[:, :6]
    assert (index[:, :, None] == candidates[:, None]).any(-1).all()
    ranks = (index[:, :, None] == candidates[:, None]).long().argmax(-1).sort(-1).values
    assert len({tuple(row.tolist()) for row in ranks}) > 1


def test_evaluation_takes_the_nearest_and_repeats(generator):
    torch.manual_seed(0)
    model = LieTransformer("T(2)", 2, 1, neighbours=3, fill=0.5, **SMALL).double()
    inputs = model.signature.example(2, 8, generator, torch.float64)
    assert torch.equal(model(**inputs), model(**inputs))
    noise = model.draw(inputs, generator)
    assert noise["thinning"].shape == (2, 8, 6)
    assert not torch.equal(model(**inputs), model(**inputs, **noise))
    assert model.symmetry.exactness == "coupled"


# -- parameters ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (published_dynamics, 841_641),
        (lambda: published_dynamics("TC(2)", hidden=80, layers=3), 139_353),
        (published_qm9, 101_819_921),
        (lambda: published_qm9(layers=6), 55_549_761),
        (published_constellations, 10_033_724),
    ],
    ids=["dynamics", "dynamics-C2", "qm9-11", "qm9-6", "constellations"],
)
def test_the_published_networks_have_the_published_numbers_of_parameters(make, count):
    with torch.device("meta"):
        model = make()
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_networks_of_heads_start_within_their_fan_in():
    layer = LieTransformer("T(2)", 2, 1, kernel_dim=64).blocks[0].attention.location
    assert layer.first.weight.abs().max() <= 2**-0.5
    assert layer.second.weight.abs().max() <= 64**-0.5
    assert layer.second.weight.abs().max() > 0.99 * 64**-0.5
