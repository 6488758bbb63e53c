"""Contracts: validation, moving inputs and outputs, drawing elements that fit the inputs."""

from copy import deepcopy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from torsor.errors import GroupError, RepresentationError, ShapeError, UnknownNameError
from torsor.groups import SE, SO, C, S
from torsor.representations import Pairs, Permuted, Points, Trivial, Vectors
from torsor.symmetry import Symmetry

CLOUDS = Symmetry(
    SE(3) * S(),
    {"positions": (Points(), Permuted(1)), "features": (Vectors(), Permuted(1)), "edges": (Trivial(), Pairs(1, 2))},
    (Vectors(), Permuted(1)),
)


def clouds(generator, batch=3, points=5, dtype=torch.float64):
    shapes = {"positions": (batch, points, 3), "features": (batch, points, 3), "edges": (batch, points, points, 2)}
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}


MASK = torch.tensor([[True] * 5, [False, True, True, False, True], [False] * 5])


# -- moving ----------------------------------------------------------------------------------------------------------------------------


def test_each_input_moves_as_its_entry_says(generator):
    inputs = clouds(generator) | {"time": torch.ones(3)}
    g, p = CLOUDS.sample(inputs, generator)
    moved = CLOUDS.transform((g, p), inputs)
    for b in range(3):
        for i in range(5):
            expected = g[b, :3, :3] @ inputs["positions"][b, i] + g[b, :3, 3]
            assert torch.allclose(moved["positions"][b, p[b, i]], expected, atol=1e-12)
            assert torch.allclose(moved["features"][b, p[b, i]], g[b, :3, :3] @ inputs["features"][b, i], atol=1e-12)
            for j in range(5):
                assert torch.equal(moved["edges"][b, p[b, i], p[b, j]], inputs["edges"][b, i, j])
    assert moved["time"] is inputs["time"]


def test_the_mask_moves_with_the_places(generator):
    inputs = clouds(generator) | {"mask": MASK}
    p = torch.tensor([1, 2, 3, 4, 0]).expand(3, 5)
    moved = CLOUDS.transform((SE(3).identity(3, dtype=torch.float64), p), inputs)
    assert torch.equal(moved["mask"], MASK.roll(1, dims=1))
    assert torch.equal(moved["positions"][moved["mask"]], inputs["positions"].roll(1, dims=1)[MASK.roll(1, dims=1)])


def test_inputs_that_are_none_stay_none(generator):
    inputs = clouds(generator)
    moved = CLOUDS.transform(CLOUDS.sample(inputs, generator), inputs | {"features": None, "mask": None})
    assert moved["features"] is None
    assert moved["mask"] is None


def test_moving_twice_is_moving_by_the_product_and_the_inverse_moves_back(generator):
    inputs = clouds(generator)
    a, b = CLOUDS.sample(inputs, generator), CLOUDS.sample(inputs, generator)
    twice = CLOUDS.transform(a, CLOUDS.transform(b, inputs))
    once = CLOUDS.transform(CLOUDS.group.compose(a, b), inputs)
    back = CLOUDS.transform(CLOUDS.group.inverse(a), CLOUDS.transform(a, inputs))
    for name, x in inputs.items():
        assert torch.allclose(twice[name], once[name], atol=1e-12)
        assert torch.allclose(back[name], x, atol=1e-12)


class Pair(NamedTuple):
    vectors: Tensor
    energy: Tensor


def test_outputs_may_be_dicts_tuples_and_named_tuples(generator):
    contract = Symmetry(SO(3), {"x": Vectors()}, {"vectors": Vectors(), "energy": Trivial()})
    vectors, energy = torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator)
    g = contract.sample({"x": vectors}, generator)
    expected = torch.einsum("bij,bj->bi", g, vectors)
    for output in ((vectors, energy), Pair(vectors, energy)):
        moved = contract.transform_output(g, output)
        assert type(moved) is type(output)
        assert torch.allclose(moved[0], expected, atol=1e-6)
        assert torch.equal(moved[1], energy)
    moved = contract.transform_output(g, {"energy": energy, "vectors": vectors, "other": energy})
    assert torch.allclose(moved["vectors"], expected, atol=1e-6)
    assert torch.equal(moved["other"], energy)


def test_outputs_of_another_structure_are_refused():
    one = Symmetry(SO(3), {"x": Vectors()}, Vectors())
    two = Symmetry(SO(3), {"x": Vectors()}, {"vectors": Vectors(), "energy": Trivial()})
    x, g = torch.zeros(2, 3), SO(3).identity(2)
    with pytest.raises(RepresentationError, match="returns 2 tensors"):
        one.transform_output(g, (x, x))
    with pytest.raises(RepresentationError, match="returns vectors but the contract names one output"):
        one.transform_output(g, {"vectors": x})
    with pytest.raises(RepresentationError, match="returns vectors but the contract names vectors, energy"):
        two.transform_output(g, {"vectors": x})
    with pytest.raises(RepresentationError, match="returns one tensor"):
        two.transform_output(g, x)


# -- drawing ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 2, 7])
def test_permutations_get_their_size_from_the_input(generator, points):
    g, p = CLOUDS.sample(clouds(generator, points=points), generator)
    assert g.shape == (3, 4, 4)
    assert g.dtype == torch.float64
    assert torch.equal(p.sort(-1).values, torch.arange(points).expand(3, points))


def test_masked_places_stay_in_samples_and_probes(generator):
    inputs = clouds(generator) | {"mask": MASK}
    probes = CLOUDS.probes(inputs, samples=20, generator=generator)
    draws = [CLOUDS.sample(inputs, generator)] + [e for probe in probes for e in probe.elements]
    places = torch.arange(5).expand(3, 5)
    for _, p in draws:
        assert torch.equal(p[~MASK], places[~MASK])
        assert torch.equal(p.sort(-1).values, places)
    swaps = next(probe for probe in probes if probe.kind == "transposition")
    assert all(int((p[item] != places[item]).sum()) == 2 for _, p in swaps.elements for item in (0, 1))


def test_an_unbatched_contract_draws_one_element(generator):
    contract = Symmetry(SO(3) * S(), {"x": (Vectors(), Permuted(0))}, (Vectors(), Permuted(0)), batched=False)
    inputs = {"x": torch.randn(6, 3, generator=generator), "mask": torch.tensor([True, True, False, True, True, False])}
    g, p = contract.sample(inputs, generator)
    assert g.shape == (3, 3)
    assert p.shape == (6,)
    assert p[2] == 2
    assert p[5] == 5
    for probe in contract.probes(inputs, 3, generator):
        for h, q in probe.elements:
            assert h.shape == (3, 3)
            assert q.shape == (6,)
    assert torch.equal(contract.transform((g, p), inputs)["x"][p[0]], g @ inputs["x"][0])


def test_probes_move_one_factor_at_a_time_and_then_all(generator):
    inputs = clouds(generator)
    probes = CLOUDS.probes(inputs, samples=4, generator=generator)
    rest, places = SE(3).identity(3, dtype=torch.float64), torch.arange(5).expand(3, 5)
    for probe in probes:
        assert len(probe.elements) == (1 if probe.kind == "identity" else 4)
        for g, p in probe.elements:
            assert torch.equal(g, rest) == (probe.factor == "S()" or probe.kind == "identity")
            if probe.factor == "SE(3)" or probe.kind == "identity":
                assert torch.equal(p, places)
    found = {(probe.factor, probe.kind) for probe in probes}
    assert {
        ("SE(3)", "generic"),
        ("SE(3)", "half turn"),
        ("SE(3)", "far translation"),
        ("S()", "generic"),
        ("S()", "transposition"),
    } <= found
    assert {("SE(3) x S()", "identity"), ("SE(3) x S()", "generic")} <= found


def test_the_probes_of_a_batch_differ_from_item_to_item(generator):
    probe = next(p for p in CLOUDS.probes(clouds(generator), 2, generator) if (p.factor, p.kind) == ("SE(3)", "half turn"))
    first = probe.elements[0][0]
    assert not torch.allclose(first[0], first[1])
    assert torch.allclose(first[:, :3, :3] @ first[:, :3, :3], torch.eye(3, dtype=torch.float64).expand(3, 3, 3), atol=1e-12)


def test_equal_factors_are_told_apart_by_number(generator):
    contract = Symmetry(C(4) * C(4), {"x": (Trivial(), Trivial())}, (Trivial(), Trivial()))
    assert {probe.factor for probe in contract.probes({"x": torch.zeros(2, 3)}, 2, generator)} == {"C(4) x C(4)", "C(4) [0]", "C(4) [1]"}


def test_two_sets_have_sizes_of_their_own(generator):
    contract = Symmetry(S() * S(), {"x": (Permuted(1), Permuted(2))}, (Permuted(1), Permuted(2)))
    x = torch.randn(2, 3, 4, generator=generator)
    p, q = contract.sample({"x": x}, generator)
    assert (p.shape, q.shape) == ((2, 3), (2, 4))
    with pytest.raises(GroupError, match="permutes several sets"):
        contract.transform((p, q), {"x": x, "mask": torch.ones(2, 3, dtype=torch.bool)})


def test_the_same_seed_draws_the_same_elements():
    inputs = clouds(torch.Generator().manual_seed(1))
    draws = [CLOUDS.sample(inputs, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_inputs_that_do_not_fit_are_refused(generator):
    with pytest.raises(ShapeError, match="give one of them"):
        CLOUDS.sample({"coordinates": torch.zeros(2, 3)}, generator)
    with pytest.raises(ShapeError, match="positions has 5 items, features has 4 items"):
        CLOUDS.sample(clouds(generator) | {"features": torch.zeros(3, 4, 3)}, generator)


# -- behind the mask -------------------------------------------------------------------------------------------------------------------


def test_repadding_changes_what_is_behind_the_mask_and_nothing_else(generator):
    inputs = clouds(generator) | {"mask": MASK}
    other = CLOUDS.repad(inputs, generator)
    pair = MASK.unsqueeze(1) & MASK.unsqueeze(2)
    for name, valid in (("positions", MASK), ("features", MASK), ("edges", pair)):
        assert torch.equal(other[name][valid], inputs[name][valid])
        assert not (other[name][~valid] == inputs[name][~valid]).any()
    assert torch.equal(other["mask"], MASK)


def test_outputs_are_zero_behind_the_mask(generator):
    inputs = clouds(generator) | {"mask": MASK}
    seen = CLOUDS.at_valid(inputs, inputs["features"])["output"]
    assert torch.equal(seen[MASK], inputs["features"][MASK])
    assert not seen[~MASK].any()


# -- validation ------------------------------------------------------------------------------------------------------------------------


def test_a_product_needs_one_action_for_each_factor():
    with pytest.raises(RepresentationError, match=r"input 'x' has 1 action but SE\(3\) x S\(\) has 2 factors"):
        Symmetry(SE(3) * S(), {"x": Points()}, (Vectors(), Permuted(1)))
    with pytest.raises(RepresentationError, match=r"output has 2 actions but SE\(3\) has 1 factor:"):
        Symmetry(SE(3), {"x": Points()}, (Vectors(), Permuted(1)))
    with pytest.raises(RepresentationError, match="output 'energy' has 1 action"):
        Symmetry(SE(3) * S(), {"x": (Points(), Permuted(1))}, {"energy": Trivial()})


@pytest.fixture
def unhooked(request):
    if request.config.getoption("jaxtyping_packages"):
        pytest.skip("the import hook refuses the type before we do")


@pytest.mark.usefixtures("unhooked")
def test_what_is_not_an_action_is_refused_with_the_remedy():
    with pytest.raises(RepresentationError, match=r"write Points\(\)"):
        Symmetry(SE(3), {"x": Points}, Vectors())
    with pytest.raises(GroupError, match="give a group"):
        Symmetry("SE(3)", {"x": Points()}, Vectors())


@pytest.mark.usefixtures("unhooked")
def test_an_unknown_guarantee_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'coupled'"):
        Symmetry(SE(3), {"x": Points()}, Vectors(), exactness="couple")


def test_a_contract_is_its_own_after_it_is_made():
    entries = {"x": Points()}
    contract = Symmetry(SE(3), entries, Vectors())
    entries["y"] = Points()
    assert set(contract.inputs) == {"x"}
    assert deepcopy(contract).group == contract.group


def test_a_contract_reads_as_a_table():
    lines = str(CLOUDS).splitlines()
    assert lines[0] == "SE(3) x S(), exact"
    assert lines[1].split(maxsplit=1)[0] == "positions"
    assert lines[-1].startswith("  -> output")
    assert len(lines) == 5
