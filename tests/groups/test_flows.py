"""Commutative flows of space and T(2) x| C_n: their lifts, orbits and derivatives."""

import math

import pytest
import torch

from torsor.groups import TC, Scale, ScaleRotation, ScaleSqueeze, Squeeze, T, Trivial, Tx, Ty
from torsor.groups.flows import log_length, wrapped

FLOWS = (Trivial(2), Trivial(3), Scale(1), Scale(2), Scale(3), Squeeze(), ScaleSqueeze(), ScaleRotation(), Tx(), Ty())
flows = pytest.mark.parametrize("group", FLOWS, ids=str)


def cloud(group, generator, *batch):
    return torch.randn(*batch, group.space_dim, generator=generator, dtype=torch.float64)


@flows
def test_the_lift_of_a_moved_point_is_the_moved_lift(group, generator):
    points = cloud(group, generator, 200)
    u = group.sample(200, generator=generator, dtype=torch.float64)
    lifted, moved = group.lift(points, 2), group.lift(group.act(u, points), 2)
    assert group.distance(moved.elements, group.compose(u.unsqueeze(1), lifted.elements)).max() < 1e-12
    assert torch.allclose(moved.orbits, lifted.orbits, rtol=0, atol=1e-12)
    assert moved.elements.shape == (200, 2, group.dim)


@flows
def test_taking_a_point_back_to_the_origin_of_its_orbit_forgets_how_far_it_had_moved(group, generator):
    points = cloud(group, generator, 50)
    u = group.sample(50, generator=generator, dtype=torch.float64)
    origins = [group.act(group.inverse(group.lift(x).elements[:, 0]), x) for x in (points, group.act(u, points))]
    assert (origins[0] - origins[1]).abs().max() < 1e-12


@flows
def test_derivatives_of_lift_and_orbit_are_finite_at_the_origin_and_on_the_axes(group):
    n = group.space_dim
    points = torch.cat((torch.zeros(1, n), torch.eye(n), -torch.eye(n))).double().requires_grad_()
    elements, orbits = group.lift(points)
    (slope,) = torch.autograd.grad(elements.sum() + orbits.sum(), points, create_graph=True)
    assert slope.isfinite().all()
    if slope.requires_grad:
        assert torch.autograd.grad(slope.square().sum(), points)[0].isfinite().all()


@flows
def test_the_lift_passes_gradcheck(group, generator):
    points = cloud(group, generator, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(group.lift(x)), points)


def test_angles_are_wrapped_to_the_half_open_interval():
    angles = torch.tensor([0.0, math.pi, -math.pi, 3 * math.pi / 2, -3 * math.pi / 2, 7.0], dtype=torch.float64)
    expected = torch.tensor([0.0, math.pi, math.pi, -math.pi / 2, math.pi / 2, 7 - 2 * math.pi], dtype=torch.float64)
    assert (wrapped(angles) - expected).abs().max() < 1e-15
    assert wrapped(angles)[1] == math.pi


def test_scaling_adds_to_the_logarithm_of_the_length(generator):
    points = cloud(Scale(3), generator, 20)
    assert (log_length(points * 5) - log_length(points) - math.log(5)).abs().max() < 1e-14


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_the_lift_to_a_finite_stabiliser_is_equivariant_as_a_set(n, generator):
    group = TC(n)
    points = cloud(group, generator, 30)
    u = group.sample(30, generator=generator, dtype=torch.float64)
    moved = group.lift(group.act(u, points)).elements
    expected = group.compose(u.unsqueeze(1), group.lift(points).elements)
    gaps = (moved.unsqueeze(2) - expected.unsqueeze(1)).abs().amax((-1, -2))
    assert gaps.shape == (30, n, n)
    assert gaps.amin(2).max() < 1e-12
    assert gaps.amin(1).max() < 1e-12


@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_turns_are_counted(n, generator):
    group = TC(n)
    assert group.turns(group.rotations()).tolist() == list(range(n))
    elements = group.sample(40, generator=generator, dtype=torch.float64)
    assert set(group.turns(group.linear(elements)).tolist()) == set(range(n))


def test_one_turn_in_a_circle_leaves_the_translations(generator):
    x = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    assert torch.equal(TC(1).shift(TC(1).lift(x).elements)[:, 0], T(2).lift(x).elements[:, 0])
