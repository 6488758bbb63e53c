import pytest
import torch

from tests.dial.symmetrize.scenes import DOUBLE, Plain, cloud, cloud_contract, drawn, set_contract, sorted_rows, times
from torsor.check import assert_equivariant
from torsor.dial.continuity import eigenvalue_crossing, exchange, probe
from torsor.dial.symmetrize.chain import Chained
from torsor.dial.symmetrize.frames import PCAFrame
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.node_keys import ValueKeys
from torsor.dial.symmetrize.orders import OrderFrame
from torsor.dial.symmetrize.weighted import WeightedFrame, WeightedOrderFrame, directions_in_general_position
from torsor.errors import GroupError, ShapeError
from torsor.groups import SE, SO, E, O, S
from torsor.representations import Permuted, Trivial
from torsor.symmetry import Symmetry

GROUPS = [SO(2), O(2), SE(2), E(2), SO(3), O(3), SE(3), E(3)]
PERMUTED = Symmetry(S(), {"positions": Permuted(1)}, Permuted(1))


def counted(group, points):
    pairs = points if group.space_dim == 2 else points * (points - 1)
    return pairs if isinstance(group, SO | SE) else 2 * pairs


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_weighted_frame_moves_with_the_input(group, generator):
    sampler = WeightedFrame(cloud_contract(group))
    x = cloud(generator, points=4, dimension=group.space_dim)
    h = group.sample(len(x), generator=generator, dtype=torch.float64)
    here, there = (sampler({"positions": p}, {}, 1) for p in (x, group.act(h, x)))
    assert here.elements.shape[1] == counted(group, 4)
    torch.testing.assert_close(there.weights, here.weights, rtol=0, atol=1e-12)
    torch.testing.assert_close(here.weights.sum(1), torch.ones(3, **DOUBLE), rtol=0, atol=1e-12)
    torch.testing.assert_close(sorted_rows(group, there.elements), sorted_rows(group, times(group, h, here.elements)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_elements_are_in_the_group(group, generator):
    draws = WeightedFrame(cloud_contract(group))({"positions": cloud(generator, points=4, dimension=group.space_dim)}, {}, 1)
    linear = group.linear(draws.elements)
    torch.testing.assert_close(linear.mT @ linear, torch.eye(group.space_dim, **DOUBLE).expand(linear.shape), rtol=0, atol=1e-12)
    if isinstance(group, SO | SE):
        torch.testing.assert_close(torch.linalg.det(linear), torch.ones(linear.shape[:2], **DOUBLE), rtol=0, atol=1e-12)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_weighted_average_is_exact(group, generator):
    x = cloud(generator, batch=2, points=4, dimension=group.space_dim)
    assert_equivariant(Symmetrized(Plain(4, group.space_dim), WeightedFrame(cloud_contract(group))), {"positions": x}, samples=2)


def test_weighted_frame_does_not_depend_on_the_order_of_points(generator):
    contract = set_contract(O(3) * S())

    class Equivariant(torch.nn.Module):
        def forward(self, positions):
            bent = (positions @ torch.arange(9, **DOUBLE).reshape(3, 3)).tanh()
            return bent - bent.mean(1, keepdim=True)

    module = Symmetrized(Equivariant(), WeightedFrame(contract))
    assert_equivariant(module, {"positions": cloud(generator, batch=2, points=4)}, samples=2)


@pytest.mark.parametrize("group", [E(3), SO(2)], ids=str)
def test_unweighted_frame_jumps_where_eigenvalues_cross_and_the_weighted_does_not(group, generator):
    positions = cloud(generator, batch=1, points=5, dimension=group.space_dim)
    path = eigenvalue_crossing({"positions": positions - positions.mean(1, keepdim=True)}, "positions")
    network = Plain(5, group.space_dim)
    unweighted, weighted = (probe(Symmetrized(network, kind(cloud_contract(group))), path) for kind in (PCAFrame, WeightedFrame))
    assert unweighted.jump > 1e-2
    assert abs(unweighted.position - 0.5) < 1e-6
    assert abs(unweighted.order) < 0.3
    assert weighted.jump < 1e-6
    assert weighted.order > 0.9


@pytest.mark.parametrize("group", [SO(2), O(3)], ids=str)
def test_weight_vanishes_where_a_point_passes_the_centre(group, generator):
    """The element of a point turns by half a circle there; the average does not notice."""
    start = cloud(generator, batch=1, points=4, dimension=group.space_dim)
    end = start.clone()
    end[0, 0] = -start[0, 0]
    module = Symmetrized(Plain(4, group.space_dim), WeightedFrame(cloud_contract(group)))

    def path(t):
        return {"positions": torch.lerp(start, end, t)}

    assert probe(module, path).jump < 1e-6


def test_invariant_output_is_continuous_where_points_come_onto_one_line(generator):
    """There the second axis of space has no limit, but a network that sees the cloud upright cannot tell."""
    line = torch.linspace(-1, 2, 4, **DOUBLE).reshape(1, 4, 1) * torch.tensor([1.0, 2.0, -1.0], **DOUBLE)
    beside = torch.randn(1, 4, 3, generator=generator, **DOUBLE)
    module = Symmetrized(Plain(4, 3, out="scalar"), WeightedFrame(cloud_contract(SO(3), Trivial())))
    found = probe(module, lambda t: {"positions": line + (t - 0.5) * beside})
    assert found.jump < 1e-6


@pytest.mark.parametrize("points", [1, 2, 3])
@pytest.mark.parametrize("group", [SO(2), O(2), SO(3), E(3)], ids=str)
def test_degenerate_clouds_have_finite_outputs_and_gradients(points, group):
    d = group.space_dim
    for x in (
        torch.zeros(1, points, d, **DOUBLE),
        torch.ones(1, points, d, **DOUBLE),
        torch.linspace(0, 1, points * d, **DOUBLE).reshape(1, points, d),
    ):
        given = x.requires_grad_()
        module = Symmetrized(Plain(points, d), WeightedFrame(cloud_contract(group)))
        output = module(given)
        (gradient,) = torch.autograd.grad(output.square().sum(), given)
        assert output.isfinite().all()
        assert gradient.isfinite().all()
        linear = group.linear(module.sampler({"positions": x}, {}, 1).elements)
        torch.testing.assert_close(linear.mT @ linear, torch.eye(d, **DOUBLE).expand(linear.shape), rtol=0, atol=1e-12)


def test_weights_of_points_behind_the_mask_are_zero(generator):
    contract = set_contract(E(3) * S())
    x = cloud(generator, batch=1, points=4)
    wide = torch.cat((x, 50 * torch.ones(1, 2, 3, **DOUBLE)), 1)
    mask = torch.arange(6).unsqueeze(0) < 4
    network = Plain(6, 3)
    alone = Symmetrized(network, WeightedFrame(contract))(positions=x, mask=mask[:, :4])
    padded = Symmetrized(network, WeightedFrame(contract))(positions=wide, mask=mask)
    torch.testing.assert_close(padded[:, :4], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_weighted_orders_are_exact(dimension, generator):
    x = {"positions": cloud(generator, batch=2, points=4, dimension=dimension)}
    sampler = WeightedOrderFrame(PERMUTED, directions_in_general_position(4, dimension))
    assert drawn(sampler, x)[1].elements.shape == (2, (dimension - 1) * 6 + 1, 4)
    assert_equivariant(Symmetrized(Plain(4, dimension), sampler), x, samples=4)


def test_some_direction_in_general_position_tells_all_points_apart():
    """Also those of a grid, many of whose pairs lie in few lines."""
    x = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double().unsqueeze(0)
    heights = x[0] @ directions_in_general_position(9, 2).T
    assert heights.sort(0).values.diff(dim=0).amin(0).max() > 1e-3


def test_directions_for_fewer_points_are_the_first_of_those_for_more():
    few, more = (directions_in_general_position(points, 3) for points in (3, 7))
    assert len(few) == 7
    assert len(more) == 43
    assert torch.equal(few, more[:7])


def test_directions_of_its_own_are_those_in_general_position(generator):
    x = {"positions": cloud(generator, batch=2, points=4, dimension=2)}
    given = WeightedOrderFrame(PERMUTED, directions_in_general_position(4, 2))
    own = WeightedOrderFrame(PERMUTED)
    assert torch.equal(own(x, {}, 1).elements, given(x, {}, 1).elements)
    assert torch.equal(own(x, {}, 1).weights, given(x, {}, 1).weights)


def test_order_by_values_jumps_where_two_items_change_places_and_the_weighted_does_not(generator):
    x = {"positions": cloud(generator, batch=1, points=4, dimension=2)}
    contract = Symmetry(S(), {"positions": Permuted(1)}, Trivial())
    path = exchange({"positions": x["positions"]}, "positions", 0, 2)
    # they pass beside each other, so that all points stay distinct
    beside = torch.zeros(1, 4, 2, **DOUBLE)
    beside[0, 0] = 1.0

    def around(t):
        return {"positions": path(t)["positions"] + t * (1 - t) * beside}

    network = Plain(4, 2, out="scalar")
    listed = probe(Symmetrized(network, OrderFrame(contract, ValueKeys("positions", resolution=1e-9))), around)
    weighted = probe(Symmetrized(network, WeightedOrderFrame(contract, directions_in_general_position(4, 2))), around)
    assert listed.jump > 1e-2
    assert weighted.jump < 1e-6
    assert weighted.order > 0.9


def test_weighted_frames_of_space_and_places_are_exact_and_continuous_together(generator):
    contract = set_contract(SO(2) * S())
    chain = Chained(WeightedFrame(contract), WeightedOrderFrame(contract, directions_in_general_position(3, 2)))
    x = {"positions": cloud(generator, batch=1, points=3, dimension=2)}
    module = Symmetrized(Plain(3, 2), chain)
    assert module.symmetry.exactness == "exact"
    assert_equivariant(module, x, samples=2)
    assert probe(module, eigenvalue_crossing(x, "positions")).jump < 1e-6


@pytest.mark.parametrize("directions", [None, directions_in_general_position(6, 2)], ids=["own", "given"])
def test_weighted_orders_skip_places_behind_the_mask(directions, generator):
    x = cloud(generator, batch=1, points=4, dimension=2)
    wide = torch.cat((x, torch.zeros(1, 2, 2, **DOUBLE)), 1)
    mask = torch.arange(6).unsqueeze(0) < 4
    module = Symmetrized(Plain(6, 2), WeightedOrderFrame(PERMUTED, directions))
    alone, padded = module(positions=x, mask=mask[:, :4]), module(positions=wide, mask=mask)
    torch.testing.assert_close(padded[:, :4], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("points", [1, 3])
def test_coincident_items_have_an_order(points):
    x = torch.ones(1, points, 2, **DOUBLE).requires_grad_()
    output = Symmetrized(Plain(points, 2), WeightedOrderFrame(PERMUTED, directions_in_general_position(points, 2)))(x)
    assert output.isfinite().all()
    assert torch.autograd.grad(output.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weighted_frames_of_low_precision_inputs_are_valid(dtype, generator):
    x = {"positions": cloud(generator, points=4).to(dtype)}
    for contract, sampler in (
        (cloud_contract(E(3)), WeightedFrame(cloud_contract(E(3)))),
        (PERMUTED, WeightedOrderFrame(PERMUTED, directions_in_general_position(4, 3))),
    ):
        draws = sampler(x, {}, 1)
        assert draws.weights.dtype == torch.float32
        torch.testing.assert_close(draws.weights.sum(1), torch.ones(3))
        matrices = contract.group.matrix(draws.elements).float()
        linear = matrices[..., :3, :3] if contract.group == E(3) else matrices
        torch.testing.assert_close(linear.mT @ linear, torch.eye(linear.shape[-1]).expand(linear.shape), rtol=0, atol=1e-5)


def test_what_has_no_weighted_frame_is_refused(generator):
    with pytest.raises(GroupError, match=r"O\(4\) is not known"):
        WeightedFrame(cloud_contract(O(4)))
    with pytest.raises(GroupError, match="give names of inputs whose axis 1 is permuted, of positions"):
        WeightedOrderFrame(PERMUTED, directions_in_general_position(3, 2), sources=("features",))
    with pytest.raises(ShapeError, match=r"items have 3 coordinates, but directions is \[4, 2\]"):
        drawn(WeightedOrderFrame(PERMUTED, directions_in_general_position(3, 2)), {"positions": cloud(generator)})


@pytest.mark.compile
def test_weighted_averages_compile_whole(generator):
    x = cloud(generator, points=3)
    for module in (
        Symmetrized(Plain(3, 3), WeightedFrame(cloud_contract(E(3)))),
        Symmetrized(Plain(3, 3), WeightedOrderFrame(PERMUTED, directions_in_general_position(3, 3))),
        Symmetrized(Plain(3, 3), WeightedOrderFrame(PERMUTED)),
    ):
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), module(x), rtol=0, atol=1e-10)
