"""The Lorentz group: the metric it keeps, its four components, boosts, and its generators."""

import math

import pytest
import torch

from torsor.groups import Lorentz, RestrictedLorentz
from torsor.groups.lorentz import METRIC, RAPIDITY, boost, minkowski_square
from torsor.groups.special_orthogonal import extend, haar

BOTH = pytest.mark.parametrize("group", [Lorentz(), RestrictedLorentz()], ids=str)
metric = torch.diag(torch.tensor(METRIC, dtype=torch.float64))


@BOTH
def test_every_element_keeps_the_metric(group, generator):
    for elements in group.probes(20, generator, torch.float64).values():
        kept = elements.mT @ metric @ elements
        assert ((kept - metric).abs().amax((1, 2)) <= 1e-14 * elements.abs().amax((1, 2)) ** 2).all()


def test_draws_fall_into_the_four_components_alike(generator):
    elements = Lorentz().sample(4000, generator=generator, dtype=torch.float64)
    space = torch.linalg.det(elements) * elements[:, 0, 0].sign()
    for sign in (torch.linalg.det(elements), elements[:, 0, 0], space):
        assert abs(int((sign > 0).sum()) - 2000) < 4 * math.sqrt(1000)


def test_the_restricted_group_is_proper_and_orthochronous(generator):
    for elements in RestrictedLorentz().probes(50, generator, torch.float64).values():
        assert (elements[:, 0, 0] >= 1 - 1e-14).all()
        assert (torch.linalg.det(elements) - 1).abs().max() < 1e-12


def test_rapidities_have_the_documented_scale(generator):
    elements = RestrictedLorentz().sample(4000, generator=generator, dtype=torch.float64, scale=0.3)
    rapidity = elements[:, 0, 0].clamp(min=1).acosh()
    assert abs(float(rapidity.square().mean()) / (3 * 0.3**2) - 1) < 0.1
    default = RestrictedLorentz().sample(4000, generator=generator, dtype=torch.float64)[:, 0, 0].clamp(min=1).acosh()
    assert abs(float(default.mean()) - 0.8) < 0.03
    assert 10 < int((default > 1.7).sum()) < 80


def test_boosts_probe_rapidity_two(generator):
    pushes = Lorentz().probes(7, generator, torch.float64)["boost"]
    assert (pushes[:, 0, 0] - math.cosh(RAPIDITY)).abs().max() < 1e-14
    assert (torch.linalg.cond(pushes) - math.exp(2 * RAPIDITY)).abs().max() < 1e-10
    assert torch.equal(pushes, pushes.mT)


def test_a_boost_is_the_exponential_of_its_rapidity(generator):
    u = torch.randn(20, 3, generator=generator, dtype=torch.float64) * torch.logspace(-9, 0.5, 20, dtype=torch.float64)[:, None]
    error = (boost(u) - Lorentz().exp(torch.cat((torch.zeros_like(u), u), -1))).abs().amax((1, 2))
    assert (error <= 1e-14 * boost(u).amax((1, 2))).all()


def test_rapidities_along_one_line_add_up():
    along = torch.tensor([[0.3, 0.0, 0.4], [0.6, 0.0, 0.8]], dtype=torch.float64)
    assert (boost(along[0]) @ boost(along[1]) - boost(along.sum(0))).abs().max() < 1e-14


def test_a_boost_gives_a_particle_at_rest_its_velocity():
    moved = Lorentz().act(boost(torch.tensor([0.0, 0.0, 1.2], dtype=torch.float64)), torch.tensor([3.0, 0, 0, 0], dtype=torch.float64))
    assert abs(float(moved[3] / moved[0]) - math.tanh(1.2)) < 1e-15
    assert abs(float(minkowski_square(moved)) - 9) < 1e-13


def test_the_brackets_are_those_of_the_lorentz_algebra():
    """[J_x, J_y] = J_z, [J_x, K_y] = K_z and, with the famous sign, [K_x, K_y] = -J_z; for the other axes in turn."""
    turns, pushes = Lorentz().algebra().split(3)
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for a, b, expected in ((turns[x], turns[y], turns[z]), (turns[x], pushes[y], pushes[z]), (pushes[x], pushes[y], -turns[z])):
            assert torch.equal(a @ b - b @ a, expected)


def test_log_undoes_exp_for_rapidities_to_two_and_turns_to_three(generator):
    v = torch.randn(50, 2, 3, generator=generator, dtype=torch.float64)
    v = v / v.norm(dim=-1, keepdim=True) * torch.rand(50, 2, 1, generator=generator, dtype=torch.float64) * torch.tensor([[3.0], [2.0]])
    v = v.flatten(1)
    assert (Lorentz().log(Lorentz().exp(v)) - v).abs().max() < 1e-10


def test_only_the_identity_component_has_logarithms(generator):
    connected = RestrictedLorentz().sample(1, generator=generator, dtype=torch.float64)
    parity, reversal = Lorentz().discrete_generators()
    elements = torch.cat((connected, connected @ parity, connected @ reversal, -connected))
    assert Lorentz().log(elements).isnan().all(-1).tolist() == [False, True, True, True]


def test_the_squared_mass_of_a_light_particle_far_out_keeps_its_digits():
    """E^2 - p^2 from the squares would have lost all of them."""
    p = 1e7
    momenta = torch.tensor([math.hypot(p, 1.0), p, 0, 0], dtype=torch.float64)
    naive = float(momenta[0] ** 2 - momenta[1] ** 2)
    assert abs(float(minkowski_square(momenta)) - 1) < 0.1 <= abs(naive - 1) + 0.1
    assert minkowski_square(torch.tensor([5.0, 0, 3, 4], dtype=torch.float64)) == 0


def test_orbits_tell_future_from_past_where_the_group_does():
    momenta = torch.tensor([[2.0, 0, 0, 1], [-2.0, 0, 0, 1], [1.0, 0, 0, 2], [-1.0, 0, 0, 2]], dtype=torch.float64)
    assert torch.allclose(RestrictedLorentz().orbit(momenta), torch.tensor([[3.0, 1], [3, -1], [-3, 0], [-3, 0]], dtype=torch.float64))
    assert torch.allclose(Lorentz().orbit(momenta), torch.tensor([[3.0], [3], [-3], [-3]], dtype=torch.float64))


def test_rotations_of_space_are_lorentz_transformations_that_keep_the_energy(generator):
    turn = haar((5,), 3, generator)
    momenta = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    moved = Lorentz().act(extend(turn), momenta)
    assert torch.equal(moved[:, 0], momenta[:, 0])
    assert (moved[:, 1:] - (turn @ momenta[:, 1:, None])[..., 0]).abs().max() < 1e-15
