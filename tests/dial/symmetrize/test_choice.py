"""Frames by name: drawn and weighted ones move with the input, and drawn ones agree with listed ones on average."""

import pytest
import torch

import torsor
from tests.dial.symmetrize.networks import COMPACT, MOVING, cloud, cloud_contract, coupled_error, dense, dimension
from tests.dial.symmetrize.scenes import DOUBLE, GRAPHS, PlainGraph, graph_contract
from torsor.dial.symmetrize.config import SymmetrizedConfig
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.orders import RandomOrderFrame
from torsor.dial.symmetrize.phases import PhaseFrame
from torsor.dial.symmetrize.weighted import WeightedFrame
from torsor.errors import GroupError
from torsor.groups import SO, E, O, S
from torsor.models.transformer import Transformer
from torsor.nn.noise_sources import DrawnNoise
from torsor.representations import BinaryForms, Trivial, Vectors
from torsor.signatures import Graphs, PointClouds
from torsor.symmetry import Symmetry

GROUPS = (*COMPACT, *MOVING)
UNWEIGHTED = (SO(4), S())
"""Groups without weighted frames: of space beyond three dimensions, and of a set that a matrix of pairs describes."""
FINITE = {"C(5)", "D(4)", "T(3)", "TC(4)"}
"""Groups that a frame lists, up to translations."""


def symmetrized(group, method, **settings):
    return torsor.symmetrize(dense(dimension(group)), cloud_contract(group), method, **settings)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_drawn_frames_move_with_every_input_and_their_noise(group, generator):
    module = symmetrized(group, "sampled-frame", samples=3)
    inputs = cloud(generator, dimension(group))
    assert module.symmetry.exactness == ("exact" if str(group) in FINITE else "coupled")
    assert module(**inputs).abs().max() > 1e-2
    assert coupled_error(module, inputs, generator) < 1e-10


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in UNWEIGHTED], ids=str)
def test_weighted_frames_move_with_every_input(group, generator):
    module = symmetrized(group, "weighted-frame")
    assert module.symmetry.exactness == "exact"
    assert not module.sampler.noise
    assert coupled_error(module, cloud(generator, dimension(group), points=4), generator) < 1e-10


def require_mean(drawn, listed, inputs, generator, count=3000):
    """The mean of so many drawn terms is the listed average within five standard errors, in every entry, and not by lack of spread."""
    noise = drawn.noise(inputs, count, DrawnNoise(generator))
    with torch.no_grad():
        terms, _ = drawn.terms(**inputs, **noise)
        exact = listed(**inputs)
    error = terms.std(1) / count**0.5
    assert error.max() > 1e-5
    assert bool(((terms.mean(1) - exact).abs() <= 5 * error + 1e-12).all())


@pytest.mark.parametrize("group", [SO(2), O(2), SO(3), O(3), E(3)], ids=str)
def test_drawn_principal_axes_are_the_listed_ones_on_average(group, generator):
    drawn, listed = (symmetrized(group, method) for method in ("sampled-frame", "frame"))
    require_mean(drawn, listed, cloud(generator, dimension(group)), generator)


@pytest.mark.parametrize("name", ["star", "tree"])
def test_drawn_orders_are_the_listed_ones_on_average(name, generator):
    x = GRAPHS[name]
    network, contract = PlainGraph(x.shape[1]), graph_contract(S())
    drawn, listed = (torsor.symmetrize(network, contract, method) for method in ("sampled-frame", "frame"))
    require_mean(drawn, listed, {"adjacency": x}, generator)


def test_drawn_frames_of_space_and_places_are_the_listed_ones_on_average(generator):
    inputs = cloud(generator, batch=1, points=4)
    inputs["positions"][0, 1] = inputs["positions"][0, 0]  # two orders
    drawn, listed = (symmetrized(O(3) * S(), method) for method in ("sampled-frame", "frame"))
    assert listed.sampler(inputs, {}, 1).leading == (1, 16)
    require_mean(drawn, listed, inputs, generator)


def test_every_order_of_the_frame_is_drawn_equally_often(generator):
    """Twelve orders of a tree; the 0.999 quantile of chi square with eleven degrees of freedom is 31.3."""
    x, count = GRAPHS["tree"], 6000
    module = torsor.symmetrize(PlainGraph(8), graph_contract(S()), "sampled-frame")
    noise = module.noise({"adjacency": x}, count, DrawnNoise(generator))
    orders, found = torch.unique(module.sampler({"adjacency": x}, noise, count).elements[0], dim=0, return_counts=True)
    assert len(orders) == 12
    assert float(((found - count / 12).square() / (count / 12)).sum()) < 31.3


def test_a_graph_with_too_many_orders_to_list_has_a_drawn_frame(generator):
    x = {"adjacency": GRAPHS["grid"]}
    with pytest.raises(GroupError, match="too many to average over: use 'sampled-frame'"):
        torsor.symmetrize(PlainGraph(25), graph_contract(S()), "frame")(**x)
    module = torsor.symmetrize(PlainGraph(25), graph_contract(S()), "sampled-frame", samples=10)
    assert coupled_error(module, x, generator) < 1e-10


def test_a_recipe_names_drawn_frames_and_how_many(generator):
    signature = Graphs(2, outputs=3, nodes=5)
    config = SymmetrizedConfig(method="sampled-frame", model={"name": "gin", "identifiers": True}, samples=4, evaluation_samples=7)
    module, inputs = config.build(signature).double(), signature.example(2, 5, generator, torch.float64)
    assert isinstance(module.sampler, RandomOrderFrame)
    counts = [module.train(training).terms(**inputs)[1].leading for training in (True, False)]
    assert counts == [(2, 4), (2, 7)]


def test_forms_make_a_weighted_frame_of_phases_and_vectors_one_of_points(generator):
    forms = Symmetry(SO(2), {"input": BinaryForms(4) + Vectors()}, Trivial())
    network = torch.nn.Linear(7, 2).double()
    module = torsor.symmetrize(network, forms, "weighted-frame")
    assert isinstance(module.sampler, PhaseFrame)
    assert coupled_error(module, {"input": torch.randn(3, 7, generator=generator, **DOUBLE)}, generator) < 1e-10
    vectors = Symmetry(SO(2), {"input": 3 * Vectors()}, Trivial())
    assert isinstance(torsor.symmetrize(network, vectors, "weighted-frame").sampler, WeightedFrame)


def test_what_a_network_promises_is_what_is_promised_without_symmetrisation():
    own = graph_contract(S())
    network = PlainGraph(4)
    network.symmetry = Symmetry(S(), own.inputs, own.output, exactness="relaxed")
    assert torsor.symmetrize(network, method="none").symmetry.exactness == "relaxed"
    assert torsor.symmetrize(network, own, "none").symmetry.exactness == "none"


def test_weighted_frames_that_are_not_known_are_refused():
    with pytest.raises(GroupError, match="orders items by their numbers, and 'adjacency' has none of one item: use 'sampled-frame'"):
        torsor.symmetrize(PlainGraph(4), graph_contract(S()), "weighted-frame")
    with pytest.raises(GroupError, match=r"O\(4\) is not known"):
        symmetrized(O(4), "weighted-frame")
    signature = PointClouds("1x0e", "1x0e", pool="mean")
    turned = Transformer("1x0e", "1x0e", pool="mean", width=16, heads=2, layers=1)
    turned.symmetry = signature.symmetry(O(3))
    with pytest.raises(GroupError, match=r"orders 'positions', which O\(3\) moves, and O\(3\) is left to the network: use 'sampled-frame'"):
        torsor.symmetrize(turned, signature.symmetry(O(3) * S()), "weighted-frame")


def test_a_prior_asks_for_something_that_learns():
    with pytest.raises(GroupError, match=r"prior is 0\.5 but RandomOrderFrame learns nothing"):
        Symmetrized(PlainGraph(8), torsor.symmetrize(PlainGraph(8), graph_contract(S()), "sampled-frame").sampler, prior=0.5)
