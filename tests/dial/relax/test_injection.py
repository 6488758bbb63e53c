import math
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load, save

from tests.dial.relax.common import SIGNATURES, SMALL, example, relaxed, vector_model
from torsor.check import assert_equivariant, equivariance_error
from torsor.config import named_from_mapping
from torsor.dial.relax import Box, FixedInputs, PixelInputs, Port, WithFixedInputs, set_strength, strict
from torsor.errors import ConfigError, SignatureError
from torsor.groups import D, S
from torsor.models import REGISTRY
from torsor.nn.penalties import total_penalty
from torsor.representations import GridRotated, Trivial
from torsor.symmetry import Symmetry
from torsor.testing import optimise, outputs, require_close, require_equal

KINDS = list(SIGNATURES)
CASES = [(kind, injection) for kind in KINDS for injection in ("concat", "add") if (kind, injection) != ("positions only", "add")]


def unrelaxed(kind, seed=0):
    """The model by itself, with the weights that `relaxed(kind, injection="add")` has."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        signature = SIGNATURES[kind]
        model = vector_model(signature) if kind == "vectors" else named_from_mapping(REGISTRY, SMALL[kind], "test").build(signature)
    return model.double().eval()


def call(model, inputs, **more):
    with torch.no_grad():
        return model(**inputs, **more)


# -- the joint statement -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "injection"), CASES)
def test_data_and_fixed_inputs_together_are_equivariant(kind, injection):
    model, inputs = relaxed(kind, injection=injection), example(kind)
    fixed = model.fixed(inputs).detach()
    assert fixed.abs().max() > 0
    report = assert_equivariant(model, {**inputs, "fixed": fixed}, 1e-10, model.joint, samples=2)
    assert any("fixed" in line for line in str(model.joint).splitlines())
    # and it is the fixed inputs staying behind that breaks it
    assert equivariance_error(model, {**inputs, "fixed": fixed}, model.symmetry, samples=2).max_relative > 1e4 * report.max_relative


def test_fixed_vectors_turn_along_in_the_joint_statement():
    model, inputs = relaxed("points", inputs=2, vectors=2), example("points")
    assert model.fixed(inputs).shape[-1] == 2 + 2 * 3
    fixed = model.fixed(inputs).detach()
    assert_equivariant(model, {**inputs, "fixed": fixed}, 1e-10, model.joint, samples=2)


class Moved(torch.nn.Module):
    """t'(x) = t(g^-1 x): the functions moved, their box along with them."""

    def __init__(self, source, group, g):
        super().__init__()
        self.source, self.group, self.g = source, group, g

    def forward(self, places, keep=None, mask=None):
        return self.source(self.group.act(self.group.inverse(self.g), places), keep, mask)


@pytest.mark.parametrize("kind", ["points", "positions only", "plane"])
def test_moving_data_and_the_functions_themselves_changes_nothing(kind, generator):
    """The box cuts through the data, and moves along."""
    model, inputs = relaxed(kind, box=1.0, injection="concat"), example(kind)
    contract = model.kept
    space = contract.factors[0]
    g = space.sample(1, generator=generator, dtype=torch.float64)[0]
    element = (g.expand(3, *g.shape), contract.identity(inputs)[1])
    expected = contract.transform_output(element, call(model, inputs))
    moved_inputs = contract.transform(element, inputs)
    left_behind = call(model, moved_inputs)
    model.source = Moved(model.source, space, g)
    found = call(model, moved_inputs)
    require_close({"y": found}, {"y": expected}, 1e-10)
    assert (left_behind - expected).norm() > 1e-3 * expected.norm()


# -- the strict branch -------------------------------------------------------------------------------------------------------------------


def silent(model, inputs, how):
    """The output with the fixed inputs silenced in one of the ways there are."""
    if how == "strict":
        with model.strict():
            return call(model, inputs)
    if how == "strength 0":
        set_strength(model, 0.0)
    if how == "outside":
        model.source.box = Box(1e3, 2e3, model.source.dimension)
    keep = torch.zeros(3, dtype=torch.float64) if how == "dropped" else None
    return call(model, inputs, keep=keep)


@pytest.mark.parametrize("how", ["strict", "strength 0", "dropped", "outside"])
@pytest.mark.parametrize("kind", ["points", "plane", "particles", "graphs", "vectors"])
def test_without_fixed_inputs_an_added_model_is_the_unrelaxed_one_bit_by_bit(kind, how):
    if how == "outside" and kind in ("graphs", "vectors"):
        pytest.skip("these have no box")
    model, inputs = relaxed(kind, injection="add"), example(kind)
    expected = call(unrelaxed(kind), inputs)
    assert not torch.equal(call(model, inputs), expected)
    assert torch.equal(silent(model, inputs, how), expected)


@pytest.mark.parametrize("how", ["strict", "strength 0", "dropped", "outside"])
def test_without_fixed_inputs_a_concatenated_model_sees_zeros(how):
    model, inputs = relaxed("points", inputs=3), example("points")
    features = torch.cat((inputs["features"][..., :5], torch.zeros(3, 5, 3, dtype=torch.float64)), -1)
    expected = call(model.module, {**inputs, "features": features})
    assert torch.equal(silent(model, inputs, how), expected)


def test_no_fixed_inputs_at_all_is_the_model_itself():
    model, inputs = relaxed("points", inputs=0), example("points")
    assert torch.equal(call(model, inputs), call(model.module, inputs))


def test_a_whole_batch_dropped_is_the_strict_batch_and_half_a_batch_is_half():
    model, inputs = relaxed("points"), example("points")
    full = call(model, inputs)
    with model.strict():
        bare = call(model, inputs)
    found = call(model, inputs, keep=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    assert torch.equal(found[0], full[0])
    assert torch.equal(found[2], full[2])
    torch.testing.assert_close(found[1], bare[1], rtol=0, atol=1e-14)
    assert not torch.allclose(full[1], bare[1])


@pytest.mark.parametrize("kind", KINDS)
def test_training_breaks_the_symmetry_and_strict_brings_it_back(kind):
    model, inputs = relaxed(kind), example(kind)
    if kind in ("points", "positions only", "plane", "particles"):
        with torch.no_grad():
            model.source.network[-1].weight.zero_()
            model.source.network[-1].bias.zero_()
        assert equivariance_error(model, inputs, samples=2).max_relative < 1e-10
    optimise(model, inputs, steps=5, rate=1e-2)
    assert model.symmetry.exactness == "approximate"
    assert equivariance_error(model, inputs, samples=2).max_relative > 1e-4
    with model.strict():
        assert model.symmetry.exactness == "exact"
        assert_equivariant(model, inputs, 1e-10, samples=2)
    assert model.symmetry.exactness == "approximate"


def test_strict_reaches_a_relaxed_model_inside_another_module():
    model, inputs = relaxed("points"), example("points")

    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, **inputs):
            return 2 * self.inner(**inputs)

    with model.strict():
        expected = 2 * call(model, inputs)
    with strict(Holder()) as holder:
        assert torch.equal(call(holder, inputs), expected)


def test_far_outside_of_the_training_region_the_error_is_rounding():
    model, inputs = relaxed("points", box=4.0), example("points")
    far = {**inputs, "positions": inputs["positions"] + 1e4}
    assert equivariance_error(model, inputs, samples=2).max_relative > 1e-3
    assert_equivariant(model, far, 1e-10, samples=2)


# -- noise, penalties, and being a module ------------------------------------------------------------------------------------------------


def test_dropout_is_drawn_in_training_alone_and_its_action_is_in_the_contract(generator):
    model, inputs = relaxed("points"), example("points")
    assert model.draw(inputs, generator) == {}
    noise = model.train().draw(inputs, generator)
    assert list(noise) == ["keep"]
    assert "keep" in model.symmetry.inputs
    with model.strict():
        assert model.draw(inputs, generator) == {}


def test_evaluation_hears_all_fixed_inputs_and_repeats_bit_by_bit():
    model, inputs = relaxed("points"), example("points")
    first = call(model, inputs)
    assert torch.equal(first, call(model, inputs))
    assert torch.equal(first, call(model, inputs, keep=torch.ones(3, dtype=torch.float64)))


def test_noise_of_the_model_inside_is_drawn_too(generator):
    lie = {"name": "lie-transformer", "hidden": 8, "heads": 2, "layers": 1, "kernel_dim": 4, "group": "SE(3)", "lift": "sampled"}
    model, inputs = relaxed("points", model=lie), example("points")
    assert set(model.draw(inputs, generator)) == set(model.module.draw(model.fed(inputs), generator))
    assert set(model.train().draw(inputs, generator)) >= {"keep", "lifts"}
    model.eval()
    with model.strict():
        assert model.symmetry.exactness == "coupled"
        assert_equivariant(model, inputs, 1e-10, samples=1)


def test_the_penalty_is_the_mean_square_of_the_fixed_inputs_and_is_asked_once():
    model, inputs = relaxed("points", penalty=0.5), example("points")
    model(**inputs)
    assert total_penalty(model) is None  # evaluation
    model.train()(**inputs)
    expected = 0.5 * model.fixed(inputs).square().mean()
    torch.testing.assert_close(total_penalty(model), expected)
    assert total_penalty(model) is None
    deepcopy(model)


def test_a_copy_and_saved_weights_give_the_same_bits():
    inputs = example("points")
    first, second = relaxed("points", seed=0, box="seen"), relaxed("points", seed=1, box="seen")
    optimise(first, inputs, steps=2)
    second.load_state_dict(load(save(first.state_dict())))
    require_equal(outputs(second, inputs), outputs(first, inputs))
    require_equal(outputs(deepcopy(first), inputs), outputs(first, inputs))
    with second.strict(), first.strict():
        require_equal(outputs(second, inputs), outputs(first, inputs))


@pytest.mark.compile
@pytest.mark.parametrize("injection", ["concat", "add"])
def test_compiles_as_one_graph_free_and_strict(injection):
    model, inputs = relaxed("points", injection=injection, strength=0.5, box=2.0), example("points")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    keep = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(call(compiled, inputs, keep=keep), call(model, inputs, keep=keep), rtol=0, atol=1e-12)
    with model.strict():
        torch.testing.assert_close(call(compiled, inputs), call(model, inputs), rtol=0, atol=1e-12)
        assert_equivariant(compiled, inputs, 1e-10, samples=1)


@pytest.mark.compile
def test_a_growing_box_compiles_in_training_mode():
    model, inputs = relaxed("points", box="seen").train(), example("points")
    twin = deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(**inputs), twin(**inputs), rtol=0, atol=1e-12)
    assert torch.equal(model.source.box.high, twin.source.box.high)


# -- images ------------------------------------------------------------------------------------------------------------------------------


class SymmetricConvolution(torch.nn.Module):
    """A convolution with a filter that quarter turns and reflections leave alone."""

    symmetry = Symmetry(D(4), {"image": GridRotated()}, GridRotated(), mask=None)

    def __init__(self, channels):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(2, channels, 3))

    def forward(self, image):
        corner, edge, centre = self.weight.unbind(-1)
        rows = torch.stack((corner, edge, corner, edge, centre, edge, corner, edge, corner), -1)
        return torch.nn.functional.conv2d(image, rows.unflatten(-1, (3, 3)), padding=1).tanh()


@pytest.mark.parametrize("injection", ["concat", "add"])
def test_images_on_grids_take_fixed_inputs_of_their_pixels(injection, generator):
    torch.manual_seed(0)
    image = torch.randn(2, 3, 6, 6, generator=generator, dtype=torch.float64)
    width = 4 if injection == "concat" else 3
    source = PixelInputs(FixedInputs(2, width, hidden=8, box=Box(-2.0, 2.0, 2)))
    inner = SymmetricConvolution(3 + width if injection == "concat" else 3)
    model = WithFixedInputs(inner, source, Port("image", "image", 1), injection, Trivial(3), Trivial(width)).double().eval()
    fixed = model.fixed({"image": image}).detach()
    assert not fixed[:, :, 0].any()  # the box leaves the border out
    assert_equivariant(model, {"image": image, "fixed": fixed}, 1e-10, model.joint, samples=2)
    assert equivariance_error(model, {"image": image}, samples=2).max_relative > 1e-3
    with model.strict():
        assert_equivariant(model, {"image": image}, 1e-10, samples=2)


# -- refusals ----------------------------------------------------------------------------------------------------------------------------


def test_nothing_to_add_to_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="no features to add fixed inputs to"):
        relaxed("positions only", injection="add")


def test_vectors_outside_of_space_are_refused():
    with pytest.raises(SignatureError, match="has no fixed vectors"):
        relaxed("plane", vectors=1)


def test_points_behind_the_mask_may_be_anything():
    model, inputs = relaxed("points", box=3.0), example("points")
    spoiled = {**inputs, "positions": inputs["positions"].where(inputs["mask"].unsqueeze(-1), math.nan)}
    assert torch.equal(call(model, spoiled), call(model, inputs))


def test_permutations_of_points_stay_exact(generator):
    model, inputs = relaxed("points"), example("points")
    permuted = SIGNATURES["points"].symmetry(S())
    assert_equivariant(model, inputs, 1e-10, permuted, generator=generator)
