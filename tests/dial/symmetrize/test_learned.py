"""Learned laws: elements that move with input and noise, whatever the input; symmetrised networks that are equivariant with them."""

import pytest
import torch
from torch import nn

from tests.dial.symmetrize.laws import (
    CLOUDS,
    GRAPHS,
    IN_PLANE,
    IN_SPACE,
    LENGTHS,
    PLANE,
    contract_of,
    elements_of,
    example,
    law,
    require_moved,
    require_valid,
    signature_of,
    symmetrized,
)
from torsor import groups
from torsor.check import assert_equivariant
from torsor.dial.symmetrize.learned import Learned, LearnedConfig, published_law
from torsor.dial.symmetrize.module import Symmetrized
from torsor.errors import ConfigError, GroupError
from torsor.groups import SO, S
from torsor.models import MLP
from torsor.nn.noise_sources import DrawnNoise
from torsor.representations import Vectors
from torsor.signatures import FeatureVectors, Graphs, PointClouds

# -- elements move with input and noise, and the average with them ----------------------------------------------------------------------


@pytest.mark.parametrize("rotation", ["gram-schmidt", "polar"])
@pytest.mark.parametrize("group", [None, *IN_SPACE, *IN_PLANE])
def test_elements_move_with_input_and_noise(group, rotation, generator):
    sampler, inputs = law(group, rotation=rotation), example(group, generator)
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    require_valid(sampler, elements_of(sampler, inputs, noise))
    require_moved(sampler, inputs, noise, generator)


@pytest.mark.parametrize(("group", "settings"), [(None, {"walk": 16}), *((group, {}) for group in (None, *IN_SPACE, *IN_PLANE))])
def test_symmetrised_network_is_equivariant_when_noise_moves_along(group, settings, generator):
    sampler, inputs = law(group, **settings), example(group, generator)
    module = symmetrized(sampler, signature_of(group))
    assert module.symmetry.exactness == "coupled"
    everything = {**inputs, **module.draw(inputs, generator)}
    h = module.symmetry.sample(everything, generator)
    moved = module(**module.symmetry.transform(h, everything))
    assert (moved - module.symmetry.transform_output(h, module(**everything))).abs().max() < 1e-10
    assert moved.abs().max() > 1e-2


@pytest.mark.parametrize("group", [None, "S() x SE(3)"])
def test_symmetrised_network_fulfils_its_contract_for_every_kind_of_element(group, generator):
    sampler, inputs = law(group), example(group, generator)
    module = symmetrized(sampler, signature_of(group))
    assert_equivariant(module, {**inputs, **module.draw(inputs, generator)}, 1e-10, samples=1)


def test_the_network_alone_is_not_equivariant(generator):
    """What the tests above see is the sampler's doing."""
    base = symmetrized(law("O(3)"), CLOUDS).base
    inputs, contract = example("O(3)", generator), contract_of("O(3)")
    h = contract.sample(inputs, generator)
    assert (base(**contract.transform(h, inputs)) - contract.transform_output(h, base(**inputs))).abs().max() > 1e-2


@pytest.mark.parametrize("group", ["O(3)", "S() x SE(3)"])
def test_samples_differ_and_depend_on_the_input(group, generator):
    sampler, inputs = law(group), example(group, generator)
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    for drawn, other in zip(elements_of(sampler, inputs, noise), elements_of(sampler, example(group, generator), noise), strict=True):
        assert (drawn[0, 0] != drawn[0, 1]).any()
        assert (drawn != other).any()


def test_factors_that_do_not_move_rest(generator):
    """For a network that is equivariant to permutations by itself: the rotation does not depend on the order of the points."""
    contract = contract_of("S() x E(3)")
    sampler = LearnedConfig(hidden=12).build(CLOUDS, contract, (False, True)).double().eval()
    inputs = example("S() x E(3)", generator)
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    p, motion = elements_of(sampler, inputs, noise)
    assert torch.equal(p, torch.arange(5).expand(3, 3, 5))
    h = S(5).sample(3, generator=generator, mask=inputs["mask"])
    everything = Symmetrized(nn.Linear(1, 1), sampler).symmetry.transform(
        (h, torch.eye(4, dtype=torch.float64).expand(3, 4, 4)), inputs | noise
    )
    again = elements_of(sampler, {k: everything[k] for k in inputs}, {k: everything[k] for k in noise})[1]
    assert (again - motion).abs().max() < 1e-10


# -- without noise: a learned canonical pose --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [None, "S()", "S() x E(3)", "SO(3)"])
def test_without_noise_there_is_one_element_that_moves_with_the_input(group, generator):
    sampler, inputs = law(group, eta=0.0), example(group, generator)
    assert sampler.noise == {}
    assert sampler.draw(inputs, 4, DrawnNoise(generator)) == {}
    assert sampler.exactness == "relaxed"
    drawn = elements_of(sampler, inputs, {}, 4)
    assert all(e.shape[1] == 1 for e in drawn)
    for first, second in zip(drawn, elements_of(sampler, inputs, {}, 1), strict=True):
        assert torch.equal(first, second)
    require_valid(sampler, drawn)
    if group != "SO(3)":  # the item with one point has the symmetries of its only vectors: a turn about them stays open
        inputs = {name: x[:2] for name, x in inputs.items()}
    require_moved(sampler, {name: x[:2] for name, x in inputs.items()}, {}, generator)


def test_canonical_order_is_that_of_the_scores_and_the_output_one_term(generator):
    """Noise 0 and one sample: g f(g^-1 x) with the g of the scores."""
    sampler, inputs = law(None, eta=0.0), GRAPHS.example(2, 5, generator, torch.float64)
    scores = sampler.interface(inputs, {}).scores[:, 0]
    order = scores.argsort(-1, descending=True)
    assert torch.equal(sampler(inputs, {}, 1).elements[:, 0], order)
    module = symmetrized(sampler, GRAPHS)
    contract = contract_of(None)
    by_hand = contract.transform_output(order, module.base(**contract.transform(S().inverse(order), inputs)))
    assert torch.equal(module(**inputs), by_hand)


@pytest.mark.parametrize("group", [None, "S() x E(3)"])
def test_noise_that_is_zero_is_no_noise(group, generator):
    inputs, noisy = example(group, generator), law(group)
    noise = {name: torch.zeros_like(x) for name, x in noisy.draw(inputs, 1, DrawnNoise(generator)).items()}
    for ours, theirs in zip(elements_of(noisy, inputs, noise), elements_of(law(group, eta=0.0), inputs, {}), strict=True):
        assert torch.equal(ours, theirs)


def test_ties_may_have_noise_where_the_interface_has_none(generator):
    sampler, inputs = law("S() x O(3)", eta=0.0, break_ties=True), example("S() x O(3)", generator)
    assert set(sampler.noise) == {"ties", "completion"}
    assert sampler.exactness == "coupled"
    inputs = {name: torch.zeros_like(x) if x.is_floating_point() else x for name, x in inputs.items()}
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    require_valid(sampler, elements_of(sampler, inputs, noise))
    require_moved(sampler, inputs, noise, generator)


# -- symmetric inputs: a law may not choose, a canonical pose has to --------------------------------------------------------------------


def edges(pairs, n):
    adjacency = torch.zeros(n, n, dtype=torch.float64)
    for i, j in pairs:
        adjacency[i, j] = adjacency[j, i] = 1
    return adjacency


GRID = [
    (5 * r + c, 5 * r + c + step) for r in range(5) for c in range(5) for step in (1, 5) if (c < 4 or step == 5) and (r < 4 or step == 1)
]
SYMMETRIC = {
    "star": (edges([(0, i) for i in range(1, 7)], 7), [(1, 2), (3, 6), (1, 5)], (0, 1)),
    "tree": (edges([(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6)], 7), [(2, 3), (3, 4), (5, 6)], (2, 5)),
    "cycle": (edges([(i, (i + 1) % 7) for i in range(7)], 7), [(0, 1), (0, 3), (2, 5)], None),
    "grid": (edges(GRID, 25), [(0, 4), (0, 24), (1, 9), (2, 10), (7, 11)], None),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_automorphic_nodes_have_equal_embeddings_on_average_and_not_in_a_canonical_pose(name):
    adjacency, automorphic, different = SYMMETRIC[name]
    n = len(adjacency)
    signature = Graphs(0, 0, 1, "node", nodes=n)
    generator, samples = torch.Generator().manual_seed(777), 2000
    module = symmetrized(law(None, signature), signature)
    inputs = {"adjacency": adjacency[None]}
    with torch.no_grad():
        noise = module.noise(inputs, samples, DrawnNoise(generator))
        terms = module.terms(**inputs, **noise)[0][0, :, :, 0]
        canonical = symmetrized(law(None, signature, eta=0.0), signature)(**inputs)[0, :, 0]

    def errors(i, j):
        """The difference of the mean embeddings, in standard errors."""
        difference = terms[:, i] - terms[:, j]
        return (difference.mean().abs() / (difference.std() / samples**0.5)).item()

    assert all(errors(i, j) < 5 for i, j in automorphic)
    assert max((canonical[i] - canonical[j]).abs().item() for i, j in automorphic) > 1e-3
    if different is not None:  # the test can tell embeddings apart
        assert errors(*different) > 5


# -- padding ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "settings"), [(None, {}), (None, {"walk": 5}), ("S() x E(3)", {})])
def test_padding_changes_no_element(group, settings, generator):
    sampler, inputs = law(group, **settings), example(group, generator)
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    together = elements_of(sampler, inputs, noise)
    for i, n in enumerate(LENGTHS):
        pairs = ("adjacency", "edge_features")
        alone = {k: x[i : i + 1, :n, :n] if k in pairs else x[i : i + 1, :n] for k, x in inputs.items() if k != "mask"}
        own = {k: x[i : i + 1] if k == "completion" else x[i : i + 1, :, :n] for k, x in noise.items()}
        for padded, element in zip(together, elements_of(sampler, alone, own), strict=True):
            if element.dtype == torch.int64:
                assert torch.equal(padded[i, :, :n], element[0])
                assert torch.equal(padded[i, :, n:], torch.arange(n, 5).expand(3, -1))
            else:
                assert (padded[i] - element[0]).abs().max() < 1e-10


@pytest.mark.parametrize("group", [None, "S() x E(3)"])
def test_training_ignores_what_is_behind_the_mask(group, generator):
    """Statistics, soft orders and the penalty of training mode; what is behind the mask is not even a number."""
    sampler, inputs = law(group), example(group, generator)
    noise = sampler.draw(inputs, 2, DrawnNoise(generator))
    mask = inputs["mask"]
    pairs = mask[:, :, None] & mask[:, None]
    spoiled = {}
    for name, x in inputs.items():
        valid = pairs if name in ("adjacency", "edge_features") else mask
        spoiled[name] = x if name == "mask" else x.masked_fill(~valid.reshape(*valid.shape, *(1,) * (x.ndim - valid.ndim)), torch.nan)
    found = [sampler.train()(x, noise, 2) for x in (inputs, spoiled)]
    assert found[0].penalty == found[1].penalty
    for a, b in zip(found[0].soft, found[1].soft, strict=True):
        assert a is b is None or torch.equal(a, b)


# -- training ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [None, "S() x SO(3)"])
def test_losses_teach_the_interface(group, generator):
    module, inputs = symmetrized(law(group), signature_of(group)).train(), example(group, generator)
    noise = module.draw(inputs, generator)
    module(**inputs, **noise).square().sum().backward()
    choices = ("pools", "over_points")
    for name, p in module.sampler.interface.named_parameters():
        assert any(choice in name for choice in choices) or p.grad.abs().max() > 0, name
    assert module.penalty().item() > 0
    soft = module.sampler(inputs, noise, 3).soft
    assert [s is None for s in soft] == [not isinstance(f, S) for f in module.symmetry.factors]
    assert module.eval().sampler(inputs, noise, 3).soft == ()


def test_entropy_weight_scales_the_penalty(generator):
    inputs = example(None, generator)
    found = []
    for weight in (0.0, 0.1, 0.2):
        sampler = law(None, entropy=weight).train()
        found.append(sampler(inputs, sampler.draw(inputs, 2, DrawnNoise(torch.Generator().manual_seed(1))), 2).penalty)
    assert found[0] is None
    assert abs(found[2] - 2 * found[1]) < 1e-12


def test_frozen_interface_keeps_its_weights(generator):
    module, inputs = symmetrized(law(None, frozen=True), GRAPHS).train(), example(None, generator)
    module(**inputs, **module.draw(inputs, generator)).square().sum().backward()
    assert all(p.grad is None for p in module.sampler.parameters())
    assert all(p.grad is not None for p in module.base.parameters())


@pytest.mark.parametrize("rotation", ["gram-schmidt", "polar"])
@pytest.mark.parametrize("group", ["E(3)", "S() x SE(3)"])
def test_forces_of_a_symmetrised_energy_can_be_trained(group, rotation, generator):
    """The gradient of squared forces by the weights of the interface is that of finite differences."""
    signature = PointClouds("1x1o", "1x0e", pool="sum", points=4)
    sampler = law(group, signature, rotation=rotation, statistics="none")
    torch.manual_seed(6)
    base = MLP("1x1o", "1x0e", points=4, pool="sum", output_scale=1.0, hidden=16, layers=1).double()
    module = Symmetrized(base, sampler, samples=2).eval()
    inputs = signature.example(2, 4, generator, torch.float64)
    noise = module.draw(inputs, generator)

    def squared_forces():
        positions = inputs["positions"].clone().requires_grad_()
        (forces,) = torch.autograd.grad(module(**inputs | {"positions": positions}, **noise).sum(), positions, create_graph=True)
        return forces.square().sum()

    weight = sampler.interface.network.axes.weight
    (analytic,) = torch.autograd.grad(squared_forces(), weight)
    direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    sides = []
    for shift in (1e-5, -2e-5):
        weight.data.add_(direction, alpha=shift)
        sides.append(squared_forces().item())
    expected = (analytic * direction).sum().item()
    assert abs(expected) > 1e-6
    assert abs((sides[0] - sides[1]) / 2e-5 - expected) < 1e-5 * abs(expected)


# -- interfaces -------------------------------------------------------------------------------------------------------------------------

EGNN = {"name": "egnn", "hidden": 8, "layers": 2}
SE3 = {"name": "se3-transformer", "depth": 1, "channels": 4, "heads": 1}


@pytest.mark.parametrize(
    ("group", "network"),
    [
        ("S() x O(3)", EGNN),
        ("S() x SE(3)", EGNN),
        ("E(3)", EGNN),
        ("S()", EGNN),
        ("S() x SO(3)", SE3),
        ("S()", {"name": "transformer", "layers": 1}),
    ],
    ids=str,
)
def test_any_equivariant_model_can_be_the_interface(group, network, generator):
    sampler, inputs = law(group, network=network), example(group, generator)
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    require_valid(sampler, elements_of(sampler, inputs, noise))
    require_moved(sampler, inputs, noise, generator)
    assert (elements_of(sampler, inputs, noise)[-1].diff(dim=1) != 0).any()


def test_a_graph_model_can_be_the_interface(generator):
    sampler, inputs = law(None, network={"name": "gin", "width": 8, "layers": 2}), example(None, generator)
    noise = sampler.draw(inputs, 3, DrawnNoise(generator))
    require_moved(sampler, inputs, noise, generator)
    assert (elements_of(sampler, inputs, noise)[0].diff(dim=1) != 0).any()


@pytest.mark.parametrize(("group", "signature"), [(None, GRAPHS), ("S() x E(3)", CLOUDS)])
def test_features_of_edges_are_seen_unless_as_published(group, signature, generator):
    inputs = example(group, generator)
    for invariants in (True, False):
        sampler = law(group, invariants=invariants)
        noise = sampler.draw(inputs, 3, DrawnNoise(torch.Generator().manual_seed(0)))
        scores = [sampler.interface(x, noise).scores for x in (inputs, inputs | {"edge_features": 3 * inputs["edge_features"]})]
        assert torch.equal(*scores) != invariants


def test_published_interfaces_have_their_parameters():
    nbody = PointClouds("1x0e + 1x1o", "1x1o", edge_features=2, points=5)
    cloud = published_law(nbody).build(nbody, nbody.symmetry(groups.parse("S() x E(3)")))
    assert sum(p.numel() for p in cloud.parameters()) == 6897
    graphs = Graphs(2)
    graph = published_law(graphs).build(graphs, graphs.symmetry())
    layers = (2 * 64 + 64) + 5 * (64 * 64 + 64) + 3 * 2 * 2 * 64 + 3
    assert sum(p.numel() for p in graph.parameters()) == layers + 2 + 65


@pytest.mark.parametrize(
    ("settings", "group", "signature", "message"),
    [
        ({"network": {"name": "mlp"}}, "O(3)", CLOUDS, "promises its symmetry as 'none'"),
        ({"network": {"name": "transformer"}}, "O(3)", CLOUDS, r"not to O\(3\)"),
        ({"network": {"name": "se3-transformer"}}, "O(3)", CLOUDS, r"not to O\(3\)"),
        ({"network": EGNN}, "O(2)", PLANE, "vector neurons"),
        ({}, "C(4)", PLANE, r"C\(4\) has no learned law"),
        ({}, "T(3)", CLOUDS, "nothing of"),
        ({}, "S(5) x S(5)", CLOUDS, "one of each"),
    ],
)
def test_what_cannot_be_learned_is_refused(settings, group, signature, message):
    with pytest.raises(GroupError, match=message):
        law(group, signature, **settings)


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="rounds is 0"):
        LearnedConfig(rounds=0)
    with pytest.raises(ConfigError, match="temperature is 0"):
        LearnedConfig(temperature=0.0)
    signature = FeatureVectors(SO(3), Vectors(), Vectors())
    with pytest.raises(GroupError, match="no interface"):
        LearnedConfig().build(signature, signature.symmetry())


@pytest.mark.compile
@pytest.mark.parametrize("group", [None, "S() x SE(3)"])
def test_sampler_compiles_whole(group, generator):
    sampler, inputs = law(group), example(group, generator)
    noise = sampler.draw(inputs, 2, DrawnNoise(generator))
    compiled = torch.compile(lambda i, n: elements_of(sampler, i, n), fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(compiled(inputs, noise), elements_of(sampler, inputs, noise), strict=True):
        assert (ours - theirs).abs().max() < 1e-12


def test_learned_is_a_sampler_of_the_contract():
    sampler = law("S() x E(3)")
    assert isinstance(sampler, Learned)
    assert sampler.symmetry == contract_of("S() x E(3)")
    assert set(sampler.noise) == {"pose", "ties", "completion"}
