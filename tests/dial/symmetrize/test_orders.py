import math

import pytest
import torch

from tests.dial.symmetrize.scenes import (
    AUTOMORPHIC,
    DOUBLE,
    GRAPHS,
    Plain,
    PlainGraph,
    cloud,
    drawn,
    graph_contract,
    moved_call,
    set_contract,
    sorted_rows,
    times,
)
from torsor.check import assert_equivariant
from torsor.dial.symmetrize.averages import Enumerated
from torsor.dial.symmetrize.chain import Chained
from torsor.dial.symmetrize.frames import PCAFrame, RandomPCAFrame
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.node_keys import DistanceKeys, LaplacianKeys, ValueKeys
from torsor.dial.symmetrize.orders import OrderFrame, RandomOrderFrame, ranks
from torsor.errors import GroupError, ShapeError
from torsor.groups import SO, E, O, S
from torsor.nn.noise_sources import DrawnNoise
from torsor.representations import Permuted, Trivial, Vectors
from torsor.signatures import Graphs
from torsor.symmetry import Symmetry

ORDERS = {"asymmetric": 1, "star": 720, "tree": 12, "cycle": 5040}
"""The product of the factorials of the sizes of the orbits of the automorphism group."""


def permuted(p, adjacency):
    return graph_contract(S()).transform(p, {"adjacency": adjacency})["adjacency"]


@pytest.mark.parametrize("name", ORDERS)
def test_frame_has_every_order_of_nodes_that_look_alike(name):
    sampler = OrderFrame(graph_contract(S()), LaplacianKeys())
    elements = sampler({"adjacency": GRAPHS[name]}, {}, 1).elements
    assert elements.shape[1] == ORDERS[name]
    assert len(torch.unique(elements[0], dim=0)) == ORDERS[name]
    places = torch.arange(elements.shape[-1])
    assert bool((elements.sort(-1).values == places).all())


def test_automorphic_nodes_of_the_grid_share_a_block():
    sampler = OrderFrame(graph_contract(S()), LaplacianKeys())
    rank = sampler.ranks({"adjacency": GRAPHS["grid"]}, torch.ones(1, 25, dtype=torch.bool))[0]
    square = rank.reshape(5, 5)
    for turned in (square.rot90(), square.T):
        assert torch.equal(turned, square)
    assert sorted(rank.bincount().tolist()) == [1, 4, 4, 4, 4, 8]
    with pytest.raises(GroupError, match=f"{math.factorial(4) ** 4 * math.factorial(8)} orders"):
        sampler({"adjacency": GRAPHS["grid"]}, {}, 1)


@pytest.mark.parametrize("name", GRAPHS)
def test_random_orders_move_with_the_graph_and_their_noise(name, generator):
    sampler, x = RandomOrderFrame(graph_contract(S()), LaplacianKeys()), GRAPHS[name]
    noise, here = drawn(sampler, {"adjacency": x}, 6)
    for _ in range(3):
        p = S(x.shape[1]).sample(1, generator=generator)
        there = sampler({"adjacency": permuted(p, x)}, {"order": Permuted(2).apply(S(), p, noise["order"])}, 6)
        assert torch.equal(there.elements, times(S(), p, here.elements))


@pytest.mark.parametrize("name", ["asymmetric", "star", "tree"])
def test_frame_moves_with_the_graph_as_a_set(name, generator):
    sampler, x = OrderFrame(graph_contract(S()), LaplacianKeys()), GRAPHS[name]
    p = S(x.shape[1]).sample(1, generator=generator)
    here, there = (sampler({"adjacency": a}, {}, 1).elements for a in (x, permuted(p, x)))
    assert torch.equal(sorted_rows(S(), there), sorted_rows(S(), times(S(), p, here)))


@pytest.mark.parametrize("level", ["node", "graph"])
@pytest.mark.parametrize("name", ["asymmetric", "star", "tree"])
def test_average_over_orders_is_exact_on_symmetric_graphs(name, level):
    x = GRAPHS[name]
    module = Symmetrized(PlainGraph(x.shape[1], level), OrderFrame(graph_contract(S(), level), LaplacianKeys()))
    assert_equivariant(module, {"adjacency": x}, samples=3)


@pytest.mark.parametrize("name", ["star", "tree"])
def test_average_over_orders_gives_automorphic_nodes_equal_outputs(name):
    x, (i, j) = GRAPHS[name], AUTOMORPHIC[name]
    output = Symmetrized(PlainGraph(x.shape[1]), OrderFrame(graph_contract(S()), LaplacianKeys()))(x)[0]
    torch.testing.assert_close(output[i], output[j], rtol=0, atol=1e-10)
    assert output.std() > 1e-3


@pytest.mark.parametrize("name", AUTOMORPHIC)
def test_sampled_orders_give_automorphic_nodes_equal_outputs_within_five_standard_errors(name, generator):
    x, (i, j) = GRAPHS[name], AUTOMORPHIC[name]
    module = Symmetrized(PlainGraph(x.shape[1]), RandomOrderFrame(graph_contract(S()), LaplacianKeys()))
    noise = module.noise({"adjacency": x}, 2000, DrawnNoise(generator))
    terms, _ = module.terms(adjacency=x, **noise)
    difference = terms[0, :, i, 0] - terms[0, :, j, 0]
    assert abs(difference.mean()) < 5 * difference.std() / 2000**0.5
    assert difference.std() > 1e-3


def test_frame_that_is_the_group_is_the_average_over_the_group(generator):
    """Where all items look alike, the frame holds all permutations; the average of a linear map has a closed form."""
    n = 4
    weight = torch.randn(n, n, generator=generator, **DOUBLE)

    class Linear(torch.nn.Module):
        def forward(self, x, kind):
            return (weight @ x.unsqueeze(-1)).squeeze(-1)

    contract = Symmetry(S(), {"x": Permuted(1), "kind": Permuted(1)}, Permuted(1))
    module = Symmetrized(Linear(), OrderFrame(contract, ValueKeys("kind")))
    x = torch.randn(3, n, generator=generator, **DOUBLE)
    off = (weight.sum() - weight.trace()) / (n * (n - 1))
    wanted = (weight.trace() / n - off) * x + off * x.sum(1, keepdim=True)
    torch.testing.assert_close(module(x=x, kind=torch.ones(3, n, 1)), wanted, rtol=0, atol=1e-12)
    everything = Symmetrized(Linear(), Enumerated(contract))
    torch.testing.assert_close(everything(x=x, kind=torch.ones(3, n, 1)), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("group", [E(3), SO(3), E(2)], ids=str)
def test_distances_tell_points_apart_whatever_the_position_and_order(group, generator):
    keys, contract = DistanceKeys(), set_contract(group * S())
    x = {"positions": cloud(generator, batch=2, points=5, dimension=group.space_dim)}
    valid = torch.ones(2, 5, dtype=torch.bool)
    g, p = group.sample(2, generator=generator, dtype=torch.float64), S(5).sample(2, generator=generator)
    moved = contract.transform((g, p), x)
    assert torch.equal(keys(moved, valid), Permuted(1).apply(S(), p, keys(x, valid)))
    assert sorted(ranks(keys(x, valid))[0].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("group", [SO(3), E(2)], ids=str)
def test_frames_of_space_and_of_places_are_exact_together(group, generator):
    contract = set_contract(group * S())
    x = {"positions": cloud(generator, batch=2, points=4, dimension=group.space_dim)}
    module = Symmetrized(Plain(4, group.space_dim), Chained(PCAFrame(contract), OrderFrame(contract, DistanceKeys())))
    assert module.symmetry.exactness == "exact"
    assert_equivariant(module, x, samples=2)


def test_coordinates_in_a_frame_of_space_order_points(generator):
    """The second stage sees the cloud upright, and may sort by coordinates that no invariant would show."""
    contract = set_contract(E(3) * S())
    chain = Chained(PCAFrame(contract), OrderFrame(contract, ValueKeys("positions")))
    module = Symmetrized(Plain(5, 3), chain)
    assert_equivariant(module, {"positions": cloud(generator, batch=2, points=5)}, samples=1)


@pytest.mark.parametrize("group", [SO(3), E(3)], ids=str)
def test_chains_of_random_frames_move_with_symmetric_clouds(group, generator):
    contract = set_contract(group * S())
    chain = Chained(RandomPCAFrame(contract), RandomOrderFrame(contract, DistanceKeys()))
    square = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]], **DOUBLE)
    module = Symmetrized(Plain(4, 3), chain, samples=3)
    noise = module.noise({"positions": square}, 3, DrawnNoise(generator))
    draws = chain({"positions": square}, noise, 3)
    assert draws.elements[1].shape == (1, 3, 4)
    for _ in range(3):
        h = (group.sample(1, generator=generator, dtype=torch.float64), S(4).sample(1, generator=generator))
        left, right = moved_call(module, {"positions": square}, h, noise)
        torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


def test_mixed_chains_list_one_factor_and_draw_the_other(generator):
    contract = set_contract(O(3) * S())
    chain = Chained(PCAFrame(contract), RandomOrderFrame(contract, DistanceKeys()))
    x = {"positions": cloud(generator, batch=2, points=5)}
    module = Symmetrized(Plain(5, 3), chain, samples=2)
    assert module.symmetry.exactness == "coupled"
    noise, draws = drawn(chain, x, 2)
    assert draws.elements[0].shape == (2, 16, 3, 3)
    torch.testing.assert_close(draws.weights, torch.full((2, 16), 1 / 16, **DOUBLE))
    h = (O(3).sample(2, generator=generator, dtype=torch.float64), S(5).sample(2, generator=generator))
    left, right = moved_call(module, x, h, noise)
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["listed", "random"])
def test_padding_and_neighbours_do_not_change_an_output(kind, generator):
    signature = Graphs(nodes=9, level="node")
    sampler = (OrderFrame if kind == "listed" else RandomOrderFrame)(signature.symmetry(), LaplacianKeys())
    module = Symmetrized(PlainGraph(9), sampler, samples=3)
    small = GRAPHS["tree"]
    wide = torch.zeros(2, 9, 9, **DOUBLE)
    wide[0, :8, :8], wide[1, :7, :7] = small[0], GRAPHS["asymmetric"][0]
    mask = torch.arange(9) < torch.tensor([[8], [7]])
    alone = module(adjacency=small, mask=torch.ones(1, 8, dtype=torch.bool))
    together = module(adjacency=wide, mask=mask)
    torch.testing.assert_close(together[:1, :8], alone, rtol=0, atol=1e-10)


def test_places_behind_the_mask_stay(generator):
    signature = Graphs(nodes=7, level="node")
    mask = torch.tensor([[True, False, True, True, False, True, True]])
    x = torch.where(mask.unsqueeze(-1) & mask.unsqueeze(-2), GRAPHS["cycle"], 0)
    for kind in (OrderFrame, RandomOrderFrame):
        elements = drawn(kind(signature.symmetry(), LaplacianKeys()), {"adjacency": x, "mask": mask}, 4)[1].elements[0]
        assert bool((elements[:, [1, 4]] == torch.tensor([1, 4])).all())
    assert_equivariant(
        Symmetrized(PlainGraph(7), OrderFrame(signature.symmetry(), LaplacianKeys())), {"adjacency": x, "mask": mask}, samples=3
    )


def test_batches_of_different_counts_of_orders_average_each_item_alone():
    signature = Graphs(nodes=7, level="node")
    module = Symmetrized(PlainGraph(7), OrderFrame(signature.symmetry(), LaplacianKeys()))
    together = module(torch.cat((GRAPHS["star"], GRAPHS["asymmetric"])))
    for row, name in enumerate(("star", "asymmetric")):
        torch.testing.assert_close(together[row : row + 1], module(GRAPHS[name]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("nodes", [1, 5])
def test_empty_graphs_and_single_nodes_have_frames(nodes):
    x = torch.zeros(2, nodes, nodes, **DOUBLE)
    module = Symmetrized(PlainGraph(nodes), OrderFrame(graph_contract(S()), LaplacianKeys()))
    assert module(x).isfinite().all()
    assert_equivariant(module, {"adjacency": x}, samples=2)


def test_all_places_masked_gives_the_identity():
    sampler = OrderFrame(Graphs(nodes=4).symmetry(), LaplacianKeys())
    mask = torch.zeros(1, 4, dtype=torch.bool)
    assert sampler({"adjacency": torch.zeros(1, 4, 4), "mask": mask}, {}, 1).elements.tolist() == [[[0, 1, 2, 3]]]


def test_coincident_points_have_every_order(generator):
    contract = set_contract(E(3) * S())
    x = {"positions": torch.ones(1, 4, 3, **DOUBLE)}
    assert OrderFrame(contract, DistanceKeys())(x, {}, 1).elements[1].shape == (1, 24, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_orders_of_low_precision_inputs_are_those_of_double_precision(dtype):
    """Keys are computed in double precision, so that ties stay ties."""
    frame = OrderFrame(graph_contract(S()), LaplacianKeys())
    exact, coarse = (frame({"adjacency": GRAPHS["tree"].to(kind)}, {}, 1) for kind in (torch.float64, dtype))
    assert torch.equal(exact.elements, coarse.elements)
    assert coarse.weights.dtype == torch.float32


def test_ranks_are_places_among_distinct_rows():
    keys = torch.tensor([[[1, 0], [0, 5], [1, 0], [0, 2]]])
    assert ranks(keys).tolist() == [[2, 1, 2, 0]]


def test_what_cannot_be_ordered_is_refused(generator):
    contract = set_contract(E(3) * S())
    with pytest.raises(GroupError, match="0 factors that permute"):
        OrderFrame(Symmetry(O(3), {"x": Vectors()}, Vectors()), DistanceKeys())
    with pytest.raises(GroupError, match="needs the input 'adjacency'"):
        OrderFrame(contract, LaplacianKeys())({"positions": cloud(generator)}, {}, 1)
    with pytest.raises(ShapeError, match=r"a Laplacian needs \[b, n, n\]"):
        OrderFrame(contract, LaplacianKeys("positions"))({"positions": cloud(generator)}, {}, 1)
    with pytest.raises(GroupError, match="drawn by several samplers"):
        Chained(PCAFrame(contract), RandomPCAFrame(contract))
    with pytest.raises(GroupError, match="samplers of one contract"):
        Chained(PCAFrame(contract), OrderFrame(set_contract(E(3) * S(), (Trivial(), Trivial())), DistanceKeys()))
