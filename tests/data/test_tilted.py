"""Charged bodies in a field: forces, symmetries and conserved quantities."""

import pytest
import torch

from torsor.data.tilted import DURATION, SOFTENING, Bodies, draw_bodies, forces, simulate
from torsor.groups import O

NO_FIELD = torch.zeros(3, dtype=torch.float64)
FIELD = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)


def potential(x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    pairs = torch.combinations(torch.arange(x.shape[1])).T
    apart = (x[:, pairs[0]] - x[:, pairs[1]]).square().sum(-1)
    return (q[:, pairs[0]] * q[:, pairs[1]] * (apart + SOFTENING**2) ** -0.5).sum() - (q[..., None] * x * FIELD).sum()


def test_forces_are_those_of_a_potential(generator) -> None:
    bodies = draw_bodies(3, 4, generator)
    x = bodies.positions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(potential(x, bodies.charges), x)
    torch.testing.assert_close(forces(bodies, FIELD), -gradient, rtol=0, atol=1e-12)


def test_a_body_far_from_all_others_flies_a_parabola() -> None:
    x = torch.tensor([[[0.0, 0.0, 0.0], [1e9, 0.0, 0.0]]], dtype=torch.float64)
    v = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    later = simulate(Bodies(x, v, torch.tensor([[-1.0, 1.0]], dtype=torch.float64)), FIELD)
    torch.testing.assert_close(later.positions[0, 0], DURATION * v[0, 0] - DURATION**2 / 2 * FIELD, rtol=0, atol=1e-12)


@pytest.mark.parametrize("field", [NO_FIELD, FIELD], ids=["no field", "field"])
def test_motion_backwards_returns_to_the_start(field, generator) -> None:
    start = draw_bodies(5, 5, generator)
    later = simulate(start, field)
    back = simulate(later._replace(velocities=-later.velocities), field)
    torch.testing.assert_close(back.positions, start.positions, rtol=0, atol=1e-10)


def test_momentum_is_conserved_without_a_field(generator) -> None:
    start = draw_bodies(5, 5, generator)
    momentum = simulate(start, NO_FIELD).velocities.sum(1)
    torch.testing.assert_close(momentum, start.velocities.sum(1), rtol=0, atol=1e-12)


def test_motion_turns_with_start_and_field_together_and_not_without_it(generator) -> None:
    start = draw_bodies(4, 5, generator)
    turn = O(3).sample(generator=generator, dtype=torch.float64)
    turned = Bodies(start.positions @ turn.T, start.velocities @ turn.T, start.charges)
    expected = simulate(start, FIELD).positions @ turn.T
    torch.testing.assert_close(simulate(turned, turn @ FIELD).positions, expected, rtol=0, atol=1e-10)
    assert (simulate(turned, FIELD).positions - expected).abs().max() > 0.1
