"""Particles in the plane that pull on each other: springs with an exact solution, and planets around a star.

Finzi, Stanton, Izmailov, Wilson: Generalizing Convolutional Neural Networks for Equivariance to Lie Groups on Arbitrary Continuous Data
(2020), section 6.3 and its repository; Hutchinson et al.: LieTransformer (2021), section 5.3. All units are those of the simulation.

Springs: H = sum_i |p_i|^2 / 2 m_i + 1/2 sum_ij k_i k_j |q_i - q_j|^2 over ordered pairs, so that every spring counts twice. The motion is
linear, and its eigenfrequencies give it at any time without a step. Gravity: V = - sum_{i<j} m_i m_j / |q_i - q_j|, integrated finely.

Axes: s systems, n particles, t times.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import DataError
from torsor.nn.integrators import integrate, runge_kutta

BLOCK = 500
"""Systems drawn at once. Draws go block by block, so that a smaller set is a prefix of a larger one."""
STAR_MASS = 32.0
PLANET_SUBSTEPS = 4
"""Runge-Kutta steps from one time of the grid to the next: the innermost orbit is then exact to about 1e-6."""


class Systems(NamedTuple):
    """Particles at one time.

    Args:
        positions: where they are.
        momenta: mass times velocity.
        features: mass, and for springs the coupling k.
    """

    positions: Float[Tensor, "s n 2"]
    momenta: Float[Tensor, "s n 2"]
    features: Float[Tensor, "s n f"]


class Grid(NamedTuple):
    """The times at which trajectories are recorded, equally spaced from 0.

    Args:
        points: how many.
        duration: the last of them.
    """

    points: int
    duration: float


SPRING_GRID = Grid(500, 5.0)
PLANET_GRID = Grid(200, 2.0)


def chunk_times(count: int, length: int, grid: Grid, generator: torch.Generator) -> Float[Tensor, "s t"]:
    """The times of one chunk of each trajectory, drawn from the chunks into which the grid falls apart (float64).

    Raises:
        DataError: the grid has no such chunk.
    """
    if not 2 <= length <= grid.points:
        raise DataError(f"chunks of {length} times: give 2 to {grid.points}")
    # one draw for each system, so that the chunks of the first do not depend on how many there are
    first = length * (torch.rand(count, generator=generator, dtype=torch.float64) * (grid.points // length)).long()
    return (first[:, None] + torch.arange(length)).double() * (grid.duration / (grid.points - 1))


def draw_springs(count: int, particles: int, generator: torch.Generator) -> Systems:
    """Draw initial states of springs (float64).

    Masses U(0.1, 3.1), couplings U(0, 5), positions N(0, 0.4^2), momenta N(0, 0.6^2). As published, the mean of the momenta is taken out
    over the systems that are drawn at once, not over the particles of a system: the total momentum of a system is not zero.
    """

    def block() -> tuple[Tensor, Tensor, Tensor]:
        masses, couplings = (torch.rand(BLOCK, particles, generator=generator, dtype=torch.float64) for _ in range(2))
        q, p = (torch.randn(BLOCK, particles, 2, generator=generator, dtype=torch.float64) for _ in range(2))
        return 0.4 * q, 0.6 * (p - p.mean(0)), torch.stack((0.1 + 3 * masses, 5 * couplings), -1)

    return _together([block() for _ in range(math.ceil(count / BLOCK))], count)


def draw_planets(count: int, particles: int, generator: torch.Generator) -> Systems:
    """Draw initial states of star systems (float64).

    A star of mass 32 at rest in the origin and planets of mass U(0.02, 0.2) on circular orbits in either sense, at radii that divide 0.5 to
    4 equally, each moved by up to 0.15 of 3.5 / (number of planets); all in random order.
    """

    def block() -> tuple[Tensor, Tensor, Tensor]:
        mass, jitter, angle, sense, order = torch.rand(5, BLOCK, particles, generator=generator, dtype=torch.float64).unbind()
        planets = particles - 1
        star = torch.arange(particles) == 0
        radius = torch.cat((torch.zeros(1), torch.linspace(0.5, 4.0, planets))).double() + 0.3 * (jitter - 0.5) * 3.5 / planets
        direction = torch.polar(torch.ones_like(angle), 2 * math.pi * angle)
        speed = (STAR_MASS / radius).abs().sqrt() * torch.where(sense < 0.5, -1.0, 1.0)
        masses = torch.where(star, STAR_MASS, 0.02 + 0.18 * mass)
        q = torch.view_as_real(radius * direction)
        p = torch.view_as_real(1j * masses * speed * direction)
        shuffled = order.argsort(1)[..., None]
        q, p = (x.where(~star[:, None], 0).take_along_dim(shuffled, 1) for x in (q, p))
        return q, p, masses[..., None].take_along_dim(shuffled, 1)

    return _together([block() for _ in range(math.ceil(count / BLOCK))], count)


def spring_states(systems: Systems, times: Float[Tensor, "s t"]) -> tuple[Float[Tensor, "s t n 2"], Float[Tensor, "s t n 2"]]:
    """Positions and momenta at the given times, exactly: M^(1/2) q moves along the eigenvectors of M^(-1/2) L M^(-1/2).

    L = 2 (diag(K 1) - K) with K = k k^T is the matrix of the potential, its eigenvalues are the squared frequencies.
    """
    masses, couplings = systems.features.unbind(-1)
    roots = masses.sqrt()
    products = couplings[:, :, None] * couplings[:, None]
    stiffness = 2 * (torch.diag_embed(products.sum(-1)) - products)
    squares, modes = torch.linalg.eigh(stiffness / (roots[:, :, None] * roots[:, None]))
    omega = squares.clamp(min=0).sqrt()[:, None, :, None]
    q = (modes.mT @ (roots[..., None] * systems.positions))[:, None]
    p = (modes.mT @ (systems.momenta / roots[..., None]))[:, None]
    t = times[..., None, None]
    cosine, sine = (omega * t).cos(), (omega * t).sin()
    # sin(omega t) / omega, which is t where nothing pulls
    slope = t * torch.sinc(omega * t / math.pi)
    later_q, later_p = cosine * q + slope * p, cosine * p - omega * sine * q
    modes, roots = modes[:, None], roots[:, None, :, None]
    return modes @ later_q / roots, modes @ later_p * roots


def planet_states(systems: Systems, times: Float[Tensor, "s t"]) -> tuple[Float[Tensor, "s t n 2"], Float[Tensor, "s t n 2"]]:
    """Positions and momenta at the given times of the grid, by Runge-Kutta steps of a quarter of its spacing."""
    masses = systems.features

    def field(q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        return p / masses, planet_force(q, masses)

    spacing = PLANET_GRID.duration / (PLANET_GRID.points - 1)
    places = (times / spacing).round().long()
    grid = spacing * torch.arange(int(places.max()) + 1, dtype=times.dtype)
    states = integrate(runge_kutta(field), systems.positions, systems.momenta, grid.expand(len(times), -1), PLANET_SUBSTEPS)
    q, p = (x.take_along_dim(places[..., None, None], 1) for x in states)
    return q, p


def planet_force(positions: Float[Tensor, "*#s n 2"], masses: Float[Tensor, "*#s n 1"]) -> Float[Tensor, "*#s n 2"]:
    """Gravity on every body, with a gravitational constant of 1."""
    inverse = (_squares(positions) + torch.eye(positions.shape[-2], dtype=positions.dtype)).rsqrt()
    weight = masses * masses.mT * inverse.square() * inverse
    return weight @ positions - weight.sum(-1, keepdim=True) * positions


def spring_potential(positions: Float[Tensor, "*#s n 2"], features: Float[Tensor, "*#s n 2"]) -> Float[Tensor, "*s"]:
    """1/2 sum_ij k_i k_j |q_i - q_j|^2."""
    couplings = features[..., 1]
    return ((couplings[..., :, None] * couplings[..., None, :]) * _squares(positions)).sum((-2, -1)) / 2


def planet_potential(positions: Float[Tensor, "*#s n 2"], features: Float[Tensor, "*#s n 1"]) -> Float[Tensor, "*s"]:
    """- sum_{i<j} m_i m_j / |q_i - q_j|."""
    itself = torch.eye(positions.shape[-2], dtype=positions.dtype, device=positions.device)
    products = features * features.mT * (1 - itself)
    return -(products * (_squares(positions) + itself).rsqrt()).sum((-2, -1)) / 2


def kinetic_energy(momenta: Float[Tensor, "*#s n 2"], features: Float[Tensor, "*#s n f"]) -> Float[Tensor, "*s"]:
    """sum_i |p_i|^2 / 2 m_i."""
    return (momenta.square().sum(-1) / (2 * features[..., 0])).sum(-1)


def _squares(positions: Tensor) -> Tensor:
    """Squared distances."""
    return (positions[..., :, None, :] - positions[..., None, :, :]).square().sum(-1)


def _together(blocks: list[tuple[Tensor, Tensor, Tensor]], count: int) -> Systems:
    """The first `count` systems of all blocks."""
    positions, momenta, features = (torch.cat(parts)[:count] for parts in zip(*blocks, strict=True))
    return Systems(positions, momenta, features)
