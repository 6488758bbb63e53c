"""Charged bodies in a uniform field: a symmetric world, tilted as strongly as one likes.

The force on body i, of unit mass, is sum_j q_i q_j (x_i - x_j) / (|x_i - x_j|^2 + s^2)^(3/2) + E q_i. Without a field E the motion
commutes with every rotation, reflection and translation; with one, with translations and with what leaves the direction of the field alone.
The softening s keeps encounters tame, so that the answer is a smooth function of the start.

Axes: b batch, n bodies.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

SOFTENING = 0.5
"""The s of the force, in units of length."""
TIME_STEP, STEPS = 0.05, 30
"""Of the integration; `DURATION` in all."""
DURATION = TIME_STEP * STEPS
"""Time from the start to the answer."""


class Bodies(NamedTuple):
    """Systems of charged bodies.

    Args:
        positions: `[b, n, 3]`.
        velocities: `[b, n, 3]`.
        charges: `[b, n]`.
    """

    positions: Float[Tensor, "b n 3"]
    velocities: Float[Tensor, "b n 3"]
    charges: Float[Tensor, "b n"]


def draw_bodies(systems: int, bodies: int, generator: torch.Generator) -> Bodies:
    """Systems in float64: standard normal positions, normal velocities of half that size, charges +1 and -1 alike."""
    drawn = torch.randn(systems, bodies, 6, generator=generator, dtype=torch.float64)
    charges = torch.randint(2, (systems, bodies), generator=generator).double() * 2 - 1
    return Bodies(drawn[..., :3], drawn[..., 3:] / 2, charges)


def forces(bodies: Bodies, field: Float[Tensor, "3"]) -> Float[Tensor, "b n 3"]:
    """The force on every body in a uniform field."""
    x, _, q = bodies
    apart = x[:, :, None] - x[:, None]
    strength = (q[:, :, None] * q[:, None]) * (apart.square().sum(-1) + SOFTENING**2) ** -1.5
    return torch.einsum("bij,bijk->bik", strength, apart) + q[..., None] * field


def simulate(bodies: Bodies, field: Float[Tensor, "3"]) -> Bodies:
    """The systems `DURATION` later, by the leapfrog method (kick, drift, kick)."""
    x, v, q = bodies
    force = forces(bodies, field)
    for _ in range(STEPS):
        v = v + TIME_STEP / 2 * force
        x = x + TIME_STEP * v
        force = forces(Bodies(x, v, q), field)
        v = v + TIME_STEP / 2 * force
    return Bodies(x, v, q)
