"""The closed form of springs against an integrator, and the physics that both settings obey."""

import pytest
import torch
from torch import Tensor

from torsor.data.springs import (
    PLANET_GRID,
    SPRING_GRID,
    STAR_MASS,
    Systems,
    chunk_times,
    draw_planets,
    draw_springs,
    kinetic_energy,
    planet_force,
    planet_potential,
    planet_states,
    spring_potential,
    spring_states,
)
from torsor.errors import DataError
from torsor.nn.integrators import integrate, runge_kutta


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_spring_force(q: Tensor, features: Tensor) -> Tensor:
    """-dV/dq with loops over particles: each spring pulls twice."""
    force = torch.zeros_like(q)
    for i in range(q.shape[1]):
        for j in range(q.shape[1]):
            force[:, i] -= 2 * (features[:, i, 1] * features[:, j, 1])[:, None] * (q[:, i] - q[:, j])
    return force


def grid(systems: int, points: int = 500) -> Tensor:
    return torch.linspace(0, 5, 500, dtype=torch.float64)[:points].expand(systems, -1)


def test_closed_form_equals_an_integrator_of_small_steps() -> None:
    systems = draw_springs(5, 6, seeded())

    def field(q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        return p / systems.features[..., :1], slow_spring_force(q, systems.features)

    times = grid(5, 11)
    expected = integrate(runge_kutta(field), systems.positions, systems.momenta, times, substeps=10)
    for found, wanted in zip(spring_states(systems, times), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)


def test_closed_form_keeps_energy_momentum_and_angular_momentum() -> None:
    systems = draw_springs(200, 6, seeded())
    q, p = spring_states(systems, grid(200)[:, ::25])
    features = systems.features[:, None]
    energy = kinetic_energy(p, features) + spring_potential(q, features)
    assert ((energy - energy[:, :1]) / energy[:, :1]).abs().max() < 1e-10
    torch.testing.assert_close(p.sum(2), p[:, :1].sum(2).expand_as(p.sum(2)), rtol=0, atol=1e-10)
    turning = (q[..., 0] * p[..., 1] - q[..., 1] * p[..., 0]).sum(2)
    torch.testing.assert_close(turning, turning[:, :1].expand_as(turning), rtol=0, atol=1e-10)


def test_closed_form_begins_where_it_is_told_to_and_flows() -> None:
    systems = draw_springs(50, 6, seeded())
    whole = spring_states(systems, torch.tensor([[0.0, 0.7, 1.9]], dtype=torch.float64).expand(50, -1))
    torch.testing.assert_close(whole[0][:, 0], systems.positions, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole[1][:, 0], systems.momenta, rtol=0, atol=1e-12)
    middle = Systems(whole[0][:, 1], whole[1][:, 1], systems.features)
    rest = spring_states(middle, torch.full((50, 1), 1.2, dtype=torch.float64))
    torch.testing.assert_close(rest[0][:, 0], whole[0][:, 2], rtol=0, atol=1e-11)
    torch.testing.assert_close(rest[1][:, 0], whole[1][:, 2], rtol=0, atol=1e-11)


def test_particles_without_coupling_go_straight() -> None:
    systems = draw_springs(10, 3, seeded())
    free = systems._replace(features=systems.features * torch.tensor([1.0, 0.0], dtype=torch.float64))
    times = torch.full((10, 1), 4.0, dtype=torch.float64)
    q, p = spring_states(free, times)
    torch.testing.assert_close(p[:, 0], free.momenta, rtol=0, atol=1e-12)
    torch.testing.assert_close(q[:, 0], free.positions + 4 * free.momenta / free.features[..., :1], rtol=1e-12, atol=1e-12)


def test_draws_have_the_published_distributions() -> None:
    systems = draw_springs(20_000, 6, seeded())
    masses, couplings = systems.features.unbind(-1)
    assert 0.1 < masses.min() < 0.101
    assert 3.099 < masses.max() < 3.1
    assert 0 < couplings.min() < 0.001
    assert 4.999 < couplings.max() < 5
    assert float(systems.positions.std()) == pytest.approx(0.4, rel=0.01)
    assert float(systems.momenta.std()) == pytest.approx(0.6, rel=0.01)


def test_momenta_are_centred_over_systems_and_not_over_particles() -> None:
    momenta = draw_springs(1000, 6, seeded()).momenta
    assert momenta[:500].mean(0).abs().max() < 1e-14
    assert float(momenta.sum(1).square().mean().sqrt()) == pytest.approx(0.6 * 6**0.5, rel=0.03)


def test_sizes_of_the_changes_are_the_published_ones() -> None:
    """Predicting no change costs 0.167 on chunks of 5 times and 6.8 on chunks of 100."""
    systems = draw_springs(3000, 6, seeded())
    for length, published in ((5, 0.167), (100, 6.8)):
        q, p = spring_states(systems, chunk_times(3000, length, SPRING_GRID, seeded(4)))
        change = ((q - q[:, :1]).square() + (p - p[:, :1]).square()).mean() / 2
        assert float(change) == pytest.approx(published, rel=0.06)


def test_chunks_are_those_into_which_the_grid_falls_apart() -> None:
    times = chunk_times(4000, 5, SPRING_GRID, seeded())
    spacing = 5 / 499
    torch.testing.assert_close(times.diff(dim=1), torch.full((4000, 4), spacing, dtype=torch.float64))
    first = times[:, 0] / (5 * spacing)
    torch.testing.assert_close(first, first.round())
    assert set(first.round().long().tolist()) == set(range(100))
    assert torch.equal(chunk_times(40, 5, SPRING_GRID, seeded()), times[:40])
    with pytest.raises(DataError, match="give 2 to 500"):
        chunk_times(3, 501, SPRING_GRID, seeded())


def test_smaller_sets_are_prefixes() -> None:
    for draw in (draw_springs, draw_planets):
        for large, small in zip(draw(700, 6, seeded()), draw(30, 6, seeded()), strict=True):
            assert torch.equal(large[:30], small)


def test_planets_start_on_circles_around_a_star_at_rest() -> None:
    systems = draw_planets(300, 6, seeded())
    q, p, masses = systems
    star = masses[..., 0] == STAR_MASS
    assert (star.sum(1) == 1).all()
    assert len({tuple(row) for row in star.tolist()}) == 6
    assert not q[star].any()
    assert not p[star].any()
    radius = q.norm(dim=-1)[~star]
    assert 0.39 < radius.min() < 0.5
    assert 4 < radius.max() < 4.11
    velocity = (p / masses)[~star]
    torch.testing.assert_close(velocity.norm(dim=-1), (STAR_MASS / radius).sqrt())
    assert ((velocity * q[~star]).sum(-1)).abs().max() < 1e-12
    assert masses[~star].min() > 0.02
    assert masses[~star].max() < 0.2


def test_gravity_pulls_along_the_gradient_of_its_potential() -> None:
    systems = draw_planets(20, 6, seeded())
    gradient = torch.func.grad(lambda q: planet_potential(q, systems.features).sum())(systems.positions)
    torch.testing.assert_close(planet_force(systems.positions, systems.features), -gradient, rtol=1e-10, atol=1e-10)
    assert planet_force(systems.positions, systems.features).sum(1).abs().max() < 1e-11


def test_planets_keep_their_energy() -> None:
    systems = draw_planets(20, 6, seeded())
    q, p = planet_states(systems, chunk_times(20, 5, PLANET_GRID, seeded()))
    before = kinetic_energy(systems.momenta, systems.features) + planet_potential(systems.positions, systems.features)
    after = kinetic_energy(p, systems.features[:, None]) + planet_potential(q, systems.features[:, None])
    assert ((after - before[:, None]) / before[:, None]).abs().max() < 1e-6


def test_two_bodies_move_on_a_kepler_circle() -> None:
    """A planet and a star of masses m and 32 at distance 1, about their centre of mass: omega^2 = 32 + m."""
    mass = 0.1
    q = torch.tensor([[[-mass / (32 + mass), 0.0], [32 / (32 + mass), 0.0]]], dtype=torch.float64)
    omega = (32 + mass) ** 0.5
    masses = torch.tensor([[[32.0], [mass]]], dtype=torch.float64)
    p = masses * omega * torch.stack((-q[..., 1], q[..., 0]), -1)
    times = chunk_times(1, 5, PLANET_GRID, seeded())
    found, _ = planet_states(Systems(q, p, masses), times)
    angle = omega * times[0]
    expected = q[0, 1, 0] * torch.stack((angle.cos(), angle.sin()), -1)
    torch.testing.assert_close(found[0, :, 1], expected, rtol=0, atol=1e-6)
