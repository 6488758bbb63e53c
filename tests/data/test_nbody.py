import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from torsor.data.nbody import (
    MAX_FORCE,
    TIME_STEP,
    Systems,
    charged_systems,
    planetary_systems,
    read_published,
    simulate_charged,
    simulate_gravity,
    symmetry_floor,
)
from torsor.errors import DataError


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rotation(generator: torch.Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def two_bodies(distance: float, charges: tuple[float, float], velocity: float = 0.0) -> Systems:
    positions = torch.tensor([[[0.0, 0, 0], [distance, 0, 0]]], dtype=torch.float64)
    velocities = torch.tensor([[[0.0, 0, 0], [0, velocity, 0]]], dtype=torch.float64)
    return Systems(positions, velocities, torch.tensor([charges], dtype=torch.float64))


def slow_charged(systems: Systems, steps: int, box: float, clip: str) -> tuple[Tensor, Tensor]:
    """The same physics with loops over particles, straight from the formula."""
    x, v, c = (part.clone() for part in systems)

    def kick() -> None:
        for s in range(x.shape[0]):
            for i in range(x.shape[1]):
                force = torch.zeros(3, dtype=x.dtype)
                for j in range(x.shape[1]):
                    if i != j:
                        d = x[s, i] - x[s, j]
                        force += c[s, i] * c[s, j] * d / d.norm() ** 3
                if clip == "component":
                    force = force.clamp(-MAX_FORCE, MAX_FORCE)
                elif force.norm() > MAX_FORCE:
                    force = MAX_FORCE * force / force.norm()
                v[s, i] += TIME_STEP * force

    kick()
    for step in range(1, steps + 1):
        x += TIME_STEP * v
        for sign in (1, -1):
            outside = sign * x > box
            x[outside] = sign * 2 * box - x[outside]
            v[outside] = -sign * v[outside].abs()
        if step < steps:
            kick()
    return x, v


@pytest.mark.parametrize("clip", ["component", "norm"])
def test_simulator_equals_loops_over_particles_with_walls_and_clipping(clip: str) -> None:
    # a box of 1.2 and a pair at 0.02 make sure that walls and clipping take part
    systems = charged_systems(3, 3, seeded())
    close = systems.positions.clone().clamp(-1.1, 1.1)
    close[0, 1] = close[0, 0] + torch.tensor([0.02, 0.011, 0.005], dtype=torch.float64)
    systems = systems._replace(positions=close)
    frames = simulate_charged(systems, (0,), box=1.2, clip=clip)
    x, v = slow_charged(systems, 100, 1.2, clip)
    assert (close.abs() > 1.0).any()
    torch.testing.assert_close(frames.positions[:, 0], x, rtol=0, atol=1e-10)
    torch.testing.assert_close(frames.velocities[:, 0], v, rtol=0, atol=1e-10)


def test_simulator_reproduces_the_original_generator(shared_data: Path) -> None:
    with np.load(shared_data / "nbody_charged5" / "nbody_charged5_parity20.npz") as original:
        arrays = {name: torch.from_numpy(original[name]) for name in original.files}
    frames = simulate_charged(Systems(arrays["loc_init"], arrays["vel_init"], arrays["charge"]), tuple(range(49)))
    error = (frames.positions - arrays["loc"]).abs().amax((2, 3))
    # close encounters multiply rounding until nothing is left of it, so: everything early, and most systems to the end
    assert error[:, :12].max() < 1e-12
    assert error.amax(1).median() < 1e-12
    assert (frames.velocities - arrays["vel"]).abs().amax((1, 2, 3)).median() < 1e-11


def test_published_file_is_what_the_simulator_makes_and_names_its_frames(shared_data: Path) -> None:
    frames, charges = read_published(shared_data, "test", (0, 40))
    assert frames.positions.shape == (2000, 2, 5, 3)
    assert set(charges.unique().tolist()) == {-1.0, 1.0}
    # from rest at frame 0 to one step later the file holds velocities of the same step: speeds stay near 0.5 at first
    assert abs(torch.linalg.vector_norm(frames.velocities[:, 0], dim=-1).median() - 0.5) < 0.1
    with pytest.raises(DataError, match="has no frame 7: it has 0, 6, 8"):
        read_published(shared_data, "test", (7,))


def test_momentum_is_conserved_without_walls_and_clipping() -> None:
    systems = charged_systems(50, 5, seeded())
    # like charges far enough apart never come near the clipping bound
    systems = systems._replace(positions=2 * systems.positions, charges=torch.ones_like(systems.charges))
    frames = simulate_charged(systems, (0, 9))
    momentum = systems.velocities.sum(1).unsqueeze(1).expand(-1, 2, -1)
    torch.testing.assert_close(frames.velocities.sum(2), momentum, rtol=0, atol=1e-12)


def test_energy_of_two_bound_charges_is_conserved_up_to_the_time_step() -> None:
    systems = two_bodies(1.0, (1.0, -1.0), velocity=1.0)
    x, v = simulate_charged(systems, (0, 4, 9, 19))

    def energy(x: Tensor, v: Tensor) -> Tensor:
        # velocities are half a step ahead of a leapfrog: one kick of a whole step starts it, so the drift is of first order in the step
        return 0.5 * v.square().sum((-1, -2)) - 1 / torch.linalg.vector_norm(x[..., 0, :] - x[..., 1, :], dim=-1)

    start = energy(systems.positions, systems.velocities)
    assert (energy(x, v) - start).abs().max() < 5e-3 * abs(float(start))


def test_two_equal_charges_at_rest_follow_the_closed_form() -> None:
    # head-on repulsion from rest at distance 1, reduced mass 1/2: t(u) = (sqrt(u(u-1)) + arcosh(sqrt(u))) / 2 at distance u
    systems = two_bodies(1.0, (1.0, 1.0))
    x, _ = simulate_charged(systems, (9,))
    u = float(torch.linalg.vector_norm(x[0, 0, 0] - x[0, 0, 1]))
    time = 0.5 * (math.sqrt(u * (u - 1)) + math.acosh(math.sqrt(u)))
    assert abs(time - 1.0) < 2e-3


def test_norm_clipped_simulator_is_equivariant_under_motions_reflections_and_permutations() -> None:
    systems = charged_systems(64, 5, seeded())
    tight = systems._replace(positions=0.2 * systems.positions)
    turn, shift, order = rotation(seeded(5)), torch.tensor([0.7, -2.0, 0.4], dtype=torch.float64), torch.tensor([3, 0, 4, 1, 2])
    turn = -turn
    moved = Systems((tight.positions @ turn.T + shift)[:, order], (tight.velocities @ turn.T)[:, order], tight.charges[:, order])
    there = simulate_charged(moved, (0,), clip="norm")
    here = simulate_charged(tight, (0,), clip="norm")
    torch.testing.assert_close(there.positions, (here.positions @ turn.T + shift)[:, :, order], rtol=0, atol=1e-9)
    torch.testing.assert_close(there.velocities, (here.velocities @ turn.T)[:, :, order], rtol=0, atol=1e-7)


def test_component_clamp_of_the_published_simulator_is_not_rotation_symmetric() -> None:
    # one step from distance 0.05: the force is 400 along x, clipped to 100; turned by 45 degrees both components are clipped: 100 sqrt(2)
    systems = two_bodies(0.05, (1.0, 1.0))
    half = math.sqrt(0.5)
    turn = torch.tensor([[half, -half, 0], [half, half, 0], [0, 0, 1]], dtype=torch.float64)
    moved = systems._replace(positions=systems.positions @ turn.T)
    for clip, ratio in (("component", math.sqrt(2)), ("norm", 1.0)):
        # the first frame is 100 steps on; the bodies fly apart, so the faster kick at the start stays visible
        here = simulate_charged(systems, (0,), clip=clip).velocities[0, 0, 1].norm()
        there = simulate_charged(moved, (0,), clip=clip).velocities[0, 0, 1].norm()
        difference = abs(float(there / here) - 1)
        assert difference > 0.02 if ratio > 1 else difference < 1e-12


def test_norm_clipping_has_no_symmetry_floor_and_component_clipping_has_one() -> None:
    systems = charged_systems(300, 5, seeded())
    floors = {clip: symmetry_floor(systems, 9, math.inf, clip, seeded(8)) for clip in ("component", "norm")}
    assert floors["norm"][0].median() < 1e-24
    assert floors["norm"][0].mean() < 1e-4  # chaos turns rounding into something in very few systems
    assert 0.002 < floors["component"][0].mean() < 0.01
    assert (floors["component"][0] > 1e-6).double().mean() > 0.15


def test_walls_are_not_reached_within_the_headline_horizon_and_are_later() -> None:
    systems = charged_systems(300, 5, seeded())
    walled, free = (simulate_charged(systems, (10, 48), box=box).positions for box in (5.0, math.inf))
    assert torch.equal(walled[:, 0], free[:, 0])
    assert walled.abs().max() <= 5.0
    assert free[:, 1].abs().max() > 5.0


def test_starting_again_from_a_frame_goes_on_as_if_there_had_been_no_stop() -> None:
    systems = charged_systems(20, 5, seeded())
    whole = simulate_charged(systems, (2, 5))
    again = simulate_charged(Systems(whole.positions[:, 0], whole.velocities[:, 0], systems.charges), (2,))
    torch.testing.assert_close(again.positions[:, 0], whole.positions[:, 1], rtol=0, atol=1e-12)


def test_smaller_set_is_a_prefix_of_a_larger_one() -> None:
    small, large = (charged_systems(count, 5, seeded()) for count in (100, 700))
    for few, many in zip(small, large, strict=True):
        assert torch.equal(few, many[:100])
    small_planets, large_planets = (planetary_systems(count, 4, seeded())[1].positions for count in (40, 300))
    torch.testing.assert_close(small_planets, large_planets[:40], rtol=0, atol=1e-12)


def test_initial_states_have_the_documented_distribution() -> None:
    systems = charged_systems(4000, 5, seeded())
    assert abs(systems.positions.mean()) < 0.02
    assert abs(systems.positions.std() - 1) < 0.02
    torch.testing.assert_close(torch.linalg.vector_norm(systems.velocities, dim=-1), torch.full((4000, 5), 0.5, dtype=torch.float64))
    assert systems.velocities.mean((0, 1)).abs().max() < 0.01
    assert set(systems.charges.unique().tolist()) == {-1.0, 1.0}
    assert abs(systems.charges.mean()) < 0.03


def test_circular_orbit_of_a_light_planet_returns_to_the_closed_form() -> None:
    star, radius = 4.0, 1.0
    systems = Systems(
        torch.tensor([[[0.0, 0, 0], [radius, 0, 0]]], dtype=torch.float64),
        torch.tensor([[[0.0, 0, 0], [0, math.sqrt(star / radius), 0]]], dtype=torch.float64),
        torch.tensor([[star, 1e-12]], dtype=torch.float64),
    )
    final = simulate_gravity(systems, steps=500).positions[0, 1]
    angle = math.sqrt(star / radius**3) * 0.5
    torch.testing.assert_close(final, torch.tensor([math.cos(angle), math.sin(angle), 0], dtype=torch.float64), rtol=0, atol=2e-3)


def test_gravity_conserves_momentum_and_is_equivariant() -> None:
    first, last = planetary_systems(30, 4, seeded())
    momentum = [(system.charges.unsqueeze(-1) * system.velocities).sum(1) for system in (first, last)]
    torch.testing.assert_close(momentum[0], momentum[1], rtol=0, atol=1e-12)
    turn = rotation(seeded(6))
    moved = simulate_gravity(first._replace(positions=first.positions @ turn.T, velocities=first.velocities @ turn.T))
    torch.testing.assert_close(moved.positions, last.positions @ turn.T, rtol=0, atol=1e-9)


def test_planets_are_turned_evenly_and_move_less_than_two() -> None:
    first, last = planetary_systems(3000, 4, seeded())
    assert (torch.linalg.vector_norm(last.positions - first.positions, dim=-1) <= 2).all()
    heavy = first.charges.argmax(1)
    assert (first.charges.gather(1, heavy[:, None]) >= 1).all()
    assert heavy.bincount().min() > 650  # the star stands at every place of the order
    # unit normals of the orbital planes: mean 0 and covariance 1/3 if the rotations are Haar
    rows = torch.arange(len(heavy))
    planet = first.charges.argmin(1)
    spoke = first.positions[rows, planet] - first.positions[rows, heavy]
    unit = spoke / torch.linalg.vector_norm(spoke, dim=-1, keepdim=True)
    assert unit.mean(0).abs().max() < 0.04
    assert (unit.T @ unit / len(unit) - torch.eye(3) / 3).abs().max() < 0.03


def test_unusable_frames_and_coinciding_particles_are_named() -> None:
    for frames in ((), (3, 3), (-1, 2)):
        with pytest.raises(DataError, match="give increasing frame numbers"):
            simulate_charged(charged_systems(1, 2, seeded()), frames)
    with pytest.raises(DataError, match="system 0 left the finite numbers"):
        simulate_charged(two_bodies(0.0, (1.0, 1.0)), (0,))
