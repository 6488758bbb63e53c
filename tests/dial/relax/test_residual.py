from copy import deepcopy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from tests.dial.relax.common import example, relaxed
from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.relax import ParallelResidual, ResidualLayer, relax, set_strength
from torsor.dial.relax.free_twins import FreeIrreps, FreePlaces, free_twin
from torsor.errors import ConfigError, ShapeError
from torsor.groups import O
from torsor.models import EGNN, EquivariantMLP
from torsor.models.equivariant_mlp import EquivariantLinear
from torsor.nn.fiber import Fiber
from torsor.nn.irreps_linear import IrrepsLinear
from torsor.nn.multivector_linear import MultivectorLinear
from torsor.nn.penalties import total_penalty
from torsor.nn.permutation_linear import PermutationLinear
from torsor.representations import PROJECTIVE, Trivial, Vectors
from torsor.testing import optimise, outputs, require_equal

MODELS = {
    "se3-transformer": ("points", {"degrees": 2, "channels": 4, "depth": 1, "heads": 2, "radial_width": 4}),
    "gatr": ("points", {"channels": 4, "scalars": 8, "blocks": 1, "heads": 2}),
    "deep-set": ("points", {"width": 8, "layers": 2}),
    "egnn": ("points", {"hidden": 8, "layers": 1}),
    "lgatr": ("particles", {"channels": 4, "scalars": 8, "blocks": 1, "heads": 2, "mlp_factor": 2}),
    "gin": ("graphs", {"width": 8, "layers": 1, "update": 8}),
    "": ("vectors", {}),
}
FREE = {"name": "transformer", "width": 8, "heads": 2, "layers": 1, "output_scale": 1.0}


def residual(name, **settings):
    kind, sizes = MODELS[name]
    free = FREE if name == "egnn" else {"name": "mlp", "hidden": 8, "output_scale": 1.0} if name == "gin" else {}
    if name:
        settings = {"model": {"name": name, **sizes}, "free": free, **settings}
    model = relaxed(kind, method="residual", **settings)
    return model, example(kind)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# -- whole models ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_free_weight_breaks_the_symmetry_and_strict_restores_it(name):
    model, inputs = residual(name)
    assert model.symmetry.exactness == "approximate"
    assert equivariance_error(model, inputs, samples=1).max_relative > 1e-3
    with model.strict():
        assert model.symmetry.exactness == "exact"
        assert_equivariant(model, inputs, 1e-10, samples=1)


def test_at_strength_zero_layers_are_the_unrelaxed_ones_bit_by_bit(generator):
    torch.manual_seed(0)
    plain = EquivariantMLP(O(3), 2 * Vectors(), Vectors(), hidden=4).double()
    x = normal(generator, 5, 6)
    model = relax(plain, method="residual", strength=1.0)
    assert not torch.allclose(model(x), plain(x))
    with model.strict():
        assert torch.equal(model(x), plain(x))
    set_strength(model, 0.0)
    assert torch.equal(model(x), plain(x))


def test_the_module_that_went_in_is_left_alone(generator):
    torch.manual_seed(0)
    plain = EquivariantMLP(O(3), Vectors(), Vectors(), hidden=4).double()
    before = {name: p.clone() for name, p in plain.state_dict().items()}
    model = relax(plain, method="residual")
    optimise(model, {"x": normal(generator, 4, 3)}, steps=2)
    assert list(plain.state_dict()) == list(before)
    assert all(torch.equal(p, before[name]) for name, p in plain.state_dict().items())


def test_training_a_few_steps_and_strict_again(generator):
    model, inputs = residual("")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".free." in name:
                p.zero_()
    assert_equivariant(model, inputs, 1e-10, samples=2)
    optimise(model, inputs, steps=5, rate=1e-2)
    assert equivariance_error(model, inputs, samples=2).max_relative > 1e-4
    with model.strict():
        assert_equivariant(model, inputs, 1e-10, samples=2)


def test_the_error_grows_with_the_strength():
    model, inputs = residual("")
    errors = []
    for strength in (0.0, 0.01, 1.0):
        set_strength(model, strength)
        errors.append(equivariance_error(model, inputs, samples=1).rms_relative)
    assert errors[0] < 1e-12
    assert errors == sorted(errors)
    assert errors[1] < 0.2 * errors[2]


def test_models_without_such_layers_get_a_plain_network_beside_them():
    model, inputs = residual("egnn", strength=0.5)
    assert isinstance(model, ParallelResidual)
    expected = model.module(**inputs) + 0.5 * model.free(**inputs)
    torch.testing.assert_close(model(**inputs), expected, rtol=0, atol=1e-14)
    with model.strict():
        assert torch.equal(model(**inputs), model.module(**inputs))


def test_outputs_that_are_named_are_added_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.symmetry = None

        def forward(self, x):
            return {"a": self.linear(x), "b": x}

    strict, free = Two(), Two()
    layer = ResidualLayer(strict, free, 0.5)
    x = torch.ones(4, 3)
    assert torch.equal(layer(x)["b"], 1.5 * x)
    assert torch.equal(layer(x)["a"], strict(x)["a"] + 0.5 * free(x)["a"])


# -- priors ------------------------------------------------------------------------------------------------------------------------------


def test_the_prior_is_that_of_two_gaussians():
    """Minus log N(theta; 0, sigma^2) summed over both weights, with the free one narrower by the ratio; constants left out."""
    strict, free = nn.Linear(3, 4).double(), nn.Linear(3, 4).double()
    sigma, ratio, strength = 2.0, 5.0, 0.5
    layer = ResidualLayer(strict, free, strength, ratio, penalty=sigma**-2)
    wide, narrow = (torch.distributions.Normal(torch.zeros((), dtype=torch.float64), s) for s in (sigma, sigma / ratio))
    constants = 16 * (wide.log_prob(torch.zeros(())) + narrow.log_prob(torch.zeros(())))
    expected = constants - sum(wide.log_prob(p).sum() for p in strict.parameters())
    expected = expected - sum(narrow.log_prob(strength * p).sum() for p in free.parameters())
    torch.testing.assert_close(layer.penalty(), expected, rtol=1e-12, atol=0)


def test_priors_of_all_layers_join_the_loss_and_the_strict_branch_leaves_the_free_out():
    model, _ = residual("", penalty=0.1, prior=3.0)
    free = sum(p.square().sum() for name, p in model.named_parameters() if ".free." in name)
    rest = sum(p.square().sum() for name, p in model.named_parameters() if ".free." not in name)
    torch.testing.assert_close(total_penalty(model), 0.05 * (rest + 9 * free))
    with model.strict():
        torch.testing.assert_close(total_penalty(model), 0.05 * rest)
    assert total_penalty(residual("", penalty=0.0)[0]) is None


# -- free twins against the dense matrix -------------------------------------------------------------------------------------------------


def matrix_of(function, size):
    """The dense matrix of a linear function on flat vectors."""
    return torch.stack([function(row) for row in torch.eye(size, dtype=torch.float64)], -1)


def test_twins_of_vectors_have_every_entry(generator):
    layer = EquivariantLinear((2 * Vectors()).on(O(3)), (Vectors() + Trivial()).on(O(3))).double()
    twin = free_twin(layer, {}).double()
    assert twin.dense.weight.shape == (4, 6)
    x = normal(generator, 5, 6)
    torch.testing.assert_close(twin(x), x @ twin.dense.weight.T, rtol=0, atol=1e-14)


def test_twins_of_irreps_fill_what_has_a_channel_and_nothing_else(generator):
    layer = IrrepsLinear((Fiber((3, 2)), Fiber((1, 1, 1))), Fiber((2, 4))).double()
    twin = FreeIrreps(layer).double()
    first, second = normal(generator, 5, 4, 3), normal(generator, 5, 9, 1)
    found = twin(first, second)
    assert found.shape == layer(first, second).shape
    used = torch.zeros(4, 4, dtype=torch.bool)
    used[0, :2], used[1:] = True, True
    assert (found[:, used] != 0).all()
    assert not found[:, ~used].any()


def test_twins_of_multivectors_mix_grades_and_scalars(generator):
    layer = MultivectorLinear(PROJECTIVE, 2, 3, 4, 5).double()
    twin = free_twin(layer, {}).double()
    x, s = normal(generator, 16, 6, 2), normal(generator, 6, 4)
    multivectors, scalars = twin(x, s)
    assert (multivectors.shape, scalars.shape) == tuple(y.shape for y in layer(x, s))
    flat = torch.cat((x.permute(1, 0, 2).flatten(1), s), -1) @ twin.dense.weight.T
    torch.testing.assert_close(multivectors.permute(1, 0, 2).flatten(1), flat[:, :48], rtol=0, atol=1e-13)
    torch.testing.assert_close(scalars, flat[:, 48:], rtol=0, atol=1e-13)
    without, _ = twin(x)
    torch.testing.assert_close(without, twin(x, torch.zeros_like(s))[0], rtol=0, atol=1e-14)


def test_twins_of_permuted_places_have_a_weight_for_each_pair_of_places(generator):
    layer = PermutationLinear("n n -> n", 2, 3)
    twin = FreePlaces(layer, {"n": 4}).double()
    x = normal(generator, 5, 4, 4, 2)
    torch.testing.assert_close(twin(x), (x.flatten(1) @ twin.dense.weight.T).unflatten(1, (4, 3)), rtol=0, atol=1e-13)


def test_smaller_sets_are_padded_sets(generator):
    layer = PermutationLinear("n n -> n n", 1, 2)
    twin = FreePlaces(layer, {"n": 5}).double()
    x = normal(generator, 2, 3, 3, 1)
    padded = nn.functional.pad(x, (0, 0, 0, 2, 0, 2))
    mask = torch.tensor([True, True, True, False, False]).expand(2, -1)
    spoiled = padded.where(mask[:, :, None, None] & mask[:, None, :, None], torch.nan)
    found = twin(spoiled, mask)
    torch.testing.assert_close(twin(x), found[:, :3, :3], rtol=0, atol=1e-13)
    assert not found[:, 3:].any()
    assert not found[:, :, 3:].any()


def test_named_tensors_and_fixed_axes_are_joined(generator):
    layer = PermutationLinear("w: h i=2, b: h -> b: h", {"w": 1, "b": 3}, 4)
    twin = FreePlaces(layer, {"h": 3}).double()
    w, b = normal(generator, 2, 3, 2, 1), normal(generator, 2, 3, 3)
    found = twin({"w": w, "b": b})
    rows = torch.cat((w.flatten(1), b.flatten(1)), -1) @ twin.dense.weight.T
    torch.testing.assert_close(found["b"], rows.unflatten(1, (3, 4)), rtol=0, atol=1e-13)
    assert {name: y.shape for name, y in found.items()} == {name: y.shape for name, y in layer.double()({"w": w, "b": b}).items()}


def test_a_set_that_only_the_output_has_needs_its_size_at_the_call(generator):
    layer = PermutationLinear("-> n", 2, 3).double()
    twin = FreePlaces(layer, {"n": 4}).double()
    x = normal(generator, 5, 2)
    assert twin(x, None, {"n": 3}).shape == layer(x, None, {"n": 3}).shape == (5, 3, 3)


def test_sizes_that_are_missing_or_exceeded_are_errors(generator):
    layer = PermutationLinear("n -> n", 1, 1)
    with pytest.raises(ConfigError, match="needs the size of its largest set"):
        FreePlaces(layer, {})
    with pytest.raises(ShapeError, match="at most"):
        FreePlaces(layer, {"n": 3}).double()(normal(generator, 1, 4, 1))


def test_nothing_to_relax_is_an_error():
    with pytest.raises(ConfigError, match="no layer that this method can relax"):
        relax(EGNN("1x0e", "1x0e", hidden=4, layers=1), method="residual")


# -- being a module ----------------------------------------------------------------------------------------------------------------------


def test_saved_weights_and_copies_give_the_same_bits():
    first, inputs = residual("se3-transformer", seed=0)
    second, _ = residual("se3-transformer", seed=1)
    second.load_state_dict(load(save(first.state_dict())))
    require_equal(outputs(second, inputs), outputs(first, inputs))
    require_equal(outputs(deepcopy(first), inputs), outputs(first, inputs))


@pytest.mark.compile
@pytest.mark.parametrize("name", ["se3-transformer", "deep-set", ""])
def test_compiles_as_one_graph_free_and_strict(name):
    model, inputs = residual(name, strength=0.3)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(**inputs), model(**inputs), rtol=0, atol=1e-12)
    with model.strict():
        torch.testing.assert_close(compiled(**inputs), model(**inputs), rtol=0, atol=1e-12)
