"""Lifting points to group elements: each takes the origin of its orbit to the point, the law of the stabiliser, and equivariance."""

from math import pi

import numpy
import pytest
import scipy.stats
import torch

from torsor.groups import SE, SO, C, D, E, O, T

SURE = 1e-3
LIFTING = (
    T(1),
    T(2),
    T(3),
    SO(1),
    SO(2),
    SO(3),
    SO(4),
    O(1),
    O(2),
    O(3),
    SE(1),
    SE(2),
    SE(3),
    E(2),
    E(3),
    C(1),
    C(3),
    C(4),
    D(1),
    D(3),
    D(4),
)
lifting = pytest.mark.parametrize("group", LIFTING, ids=str)


def cloud(group, generator, *batch):
    return torch.randn(*batch, group.space_dim, generator=generator, dtype=torch.float64)


def origins(group, orbits):
    """The point of each orbit that the identity is lifted from."""
    n = group.space_dim
    if orbits.shape[-1] == 0:
        return orbits.new_zeros(*orbits.shape[:-1], n)
    return torch.nn.functional.pad(orbits, (0, n - orbits.shape[-1]))


@lifting
def test_a_lifted_element_takes_the_origin_of_its_orbit_to_the_point(group, generator):
    points = cloud(group, generator, 2, 7)
    elements, orbits = group.lift(points, 3, generator)
    start = origins(group, orbits).unsqueeze(-2).expand(2, 7, 3, -1)
    assert (group.act(elements, start) - points.unsqueeze(-2)).abs().max() < 1e-14
    assert torch.equal(orbits, group.orbit(points))


@lifting
def test_lifted_elements_belong_to_the_group(group, generator):
    elements = group.lift(cloud(group, generator, 7), 3, generator).elements
    shape = group.identity().shape
    assert elements.shape == (7, 3, *shape)
    eye = group.matrix(group.identity(dtype=torch.float64))
    assert (group.matrix(group.compose(elements, group.inverse(elements))) - eye).abs().max() < 1e-13
    if isinstance(group, SO | SE):
        assert (torch.linalg.det(elements) > 0).all()


@pytest.mark.parametrize("group", [T(2), T(3), SO(2), O(1), C(1), C(3), C(4), D(1), D(3), D(4)], ids=str)
def test_lifting_is_exactly_equivariant_where_the_stabiliser_is_trivial(group, generator):
    points = cloud(group, generator, 50)
    u = group.sample(50, generator=generator, dtype=torch.float64)
    lifted, moved = group.lift(points, 2, generator), group.lift(group.act(u, points), 2, generator)
    expected = group.compose(u.unsqueeze(1), lifted.elements)
    assert group.distance(moved.elements, expected).max() < 1e-13
    assert torch.allclose(moved.orbits, lifted.orbits, rtol=0, atol=1e-13)


@pytest.mark.parametrize("group", [SO(3), O(2), O(3), SE(2), SE(3), E(2), E(3), SO(4)], ids=str)
def test_lifting_is_equivariant_in_distribution(group, generator):
    """Lift(u x) and u Lift(x) have one law: two-sample tests of random linear statistics of the elements."""
    points, u = cloud(group, generator), group.sample(generator=generator, dtype=torch.float64)
    many = points.expand(2500, -1)
    there = group.lift(group.act(u, many), 1, generator).elements[:, 0]
    back = group.compose(u, group.lift(many, 1, generator).elements[:, 0])
    for weights in torch.randn(4, *there.shape[-2:], generator=generator, dtype=torch.float64):
        first, second = ((weights * x).sum((-1, -2)).round(decimals=10).numpy() for x in (there, back))
        assert scipy.stats.ks_2samp(first, second).pvalue > SURE


@pytest.mark.parametrize("point", [[0.3, -0.5, 0.8], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [-0.7, 0.2, 0.1], [0.0, 2.0, 0.0]])
@pytest.mark.parametrize("sample", [0, 2])
def test_the_stabiliser_angle_of_so3_is_uniform_on_the_circle(point, sample, generator):
    """Measured from a frame that knows nothing of the section: the second axis of the lift, seen along the point."""
    x = torch.tensor(point, dtype=torch.float64)
    elements = SO(3).lift(x.expand(3000, 3), 3, generator).elements[:, sample]
    first = torch.linalg.cross(x, torch.tensor([0.1, -0.3, 0.9], dtype=torch.float64))
    first = first / first.norm()
    second = torch.linalg.cross(x / x.norm(), first)
    angles = torch.atan2(elements[..., 1] @ second, elements[..., 1] @ first)
    assert scipy.stats.kstest(angles.numpy(), scipy.stats.uniform(-pi, 2 * pi).cdf).pvalue > SURE


def test_the_angle_of_a_random_quaternion_has_another_law_than_a_uniform_stabiliser_angle(generator):
    """The published lift of SO(3) turns about the point by such an angle: density sin^2(t / 2) / pi, and not 1 / (2 pi)."""
    q = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
    theirs = (2 * torch.atan2(q[:, 1:].norm(dim=-1), q[:, 0])).numpy()
    x = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    elements = SO(3).lift(x.expand(4000, 3), 1, generator).elements[:, 0]
    ours = torch.atan2(elements[:, 1, 1], elements[:, 0, 1]).remainder(2 * pi).numpy()
    edges = numpy.linspace(0, 2 * pi, 9)
    squared_sine = numpy.diff((edges - numpy.sin(edges)) / (2 * pi))
    counts = [numpy.histogram(angles, edges)[0] for angles in (theirs, ours)]
    assert [scipy.stats.chisquare(count).pvalue > SURE for count in counts] == [False, True]
    assert [scipy.stats.chisquare(count, 4000 * squared_sine).pvalue > SURE for count in counts] == [True, False]
    assert scipy.stats.chisquare(counts[0]).pvalue < 1e-100


def test_the_stabiliser_angles_of_a_point_are_stratified_and_those_of_two_points_independent(generator):
    elements = SO(3).lift(torch.tensor([[0.3, -0.5, 0.8], [0.3, -0.5, 0.8]], dtype=torch.float64), 6, generator).elements
    relative = SO(3).log(elements[:, :1].mT @ elements)
    assert (relative.norm(dim=-1) - torch.tensor([0, 1, 2, 3, 2, 1]).double() * pi / 3).abs().max() < 1e-13
    assert (elements[0, 0] - elements[1, 0]).abs().max() > 1e-2


def test_the_rotations_of_lifted_motions_are_haar(generator):
    plane = SE(2).lift(torch.zeros(2000, 2, dtype=torch.float64), 2, generator).elements
    turn = SO(2).log(plane[..., :2, :2]).squeeze(-1)
    assert scipy.stats.kstest(turn[:, 1].numpy(), scipy.stats.uniform(-pi, 2 * pi).cdf).pvalue > SURE
    assert ((turn[:, 1] - turn[:, 0]).abs() - pi).abs().max() < 1e-13
    space = SE(3).lift(torch.zeros(2000, 3, dtype=torch.float64), 1, generator).elements[:, 0, :3, :3]
    angles = SO(3).log(space).norm(dim=-1).numpy()
    assert scipy.stats.kstest(angles, lambda t: (t - torch.from_numpy(t).sin().numpy()) / pi).pvalue > SURE


@lifting
def test_a_seed_gives_the_same_lift(group, generator):
    points = cloud(group, generator, 5)
    first, second = (group.lift(points, 2, torch.Generator().manual_seed(8)).elements for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("group", [T(3), SO(2), SO(3), O(2), O(3), SE(2), SE(3), E(3)], ids=str)
@pytest.mark.parametrize("point", ["zero", "first axis", "minus first axis"])
def test_gradients_of_the_lift_and_its_pairs_are_finite(group, point, generator):
    n = group.space_dim
    x = {"zero": 0.0, "first axis": 1.0, "minus first axis": -1.0}[point] * torch.eye(n, dtype=torch.float64)[0]
    points = x.expand(2, n).clone().requires_grad_()
    elements, orbits = group.lift(points, 2, generator)
    pair = group.log(group.compose(group.inverse(elements[:, None, 0]), elements[None, :, 0]))
    (slope,) = torch.autograd.grad(pair.nan_to_num().sum() + elements.sum() + orbits.sum(), points, create_graph=True)
    assert slope.isfinite().all()
    if slope.requires_grad:
        (curvature,) = torch.autograd.grad(slope.square().sum(), points)
        assert curvature.isfinite().all()


@pytest.mark.parametrize("group", [SO(2), SO(3), SO(4), SE(3)], ids=str)
def test_the_lift_passes_gradcheck(group, generator):
    points = cloud(group, generator, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: group.lift(x, 2, torch.Generator().manual_seed(1)).elements, points)


@pytest.mark.parametrize(("group", "wedge"), [(C(3), 2 * pi / 3), (C(4), pi / 2), (D(3), pi / 3), (D(4), pi / 4), (D(1), pi)], ids=str)
def test_representatives_of_finite_orbits_lie_in_one_wedge(group, wedge, generator):
    orbit = group.orbit(cloud(group, generator, 200))
    angles = torch.atan2(orbit[:, 1], orbit[:, 0])
    assert angles.min() >= -1e-15
    assert angles.max() <= wedge + 1e-15
