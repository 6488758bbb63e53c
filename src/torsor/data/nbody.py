"""Particles in three dimensions: charged bodies and planets around a star, simulated for many systems at once.

Charged bodies: Kipf, Fetaya, Wang, Welling, Zemel: Neural Relational Inference (2018), appendix B, in the three-dimensional form of Fuchs
et al.: SE(3)-Transformers (2020), section 4.1, and Satorras, Hoogeboom, Welling: E(n) Equivariant Graph Neural Networks (2021), section
5.1. Planets: Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), section 4.1. All units are those of the simulation
(time steps of 0.001, unit coupling).

Axes: s systems, n particles, f recorded frames, p pairs of particles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.data.archives import read_npz
from torsor.errors import DataError

TIME_STEP = 1e-3
STEPS_PER_FRAME = 100
FRAME_TIME = STEPS_PER_FRAME * TIME_STEP
MAX_FORCE = 100.0
"""Forces of charged bodies are clipped to 0.1 / TIME_STEP."""

Clip = Literal["component", "norm"]
BLOCK = 256
"""Systems drawn at once. Draws go block by block, so that a smaller set is a prefix of a larger one."""


class Systems(NamedTuple):
    """Particles at one time.

    Args:
        positions: where they are.
        velocities: how they move.
        charges: charge (+1 or -1), or mass for gravity.
    """

    positions: Float[Tensor, "s n 3"]
    velocities: Float[Tensor, "s n 3"]
    charges: Float[Tensor, "s n"]


class Frames(NamedTuple):
    """Particles at the recorded times."""

    positions: Float[Tensor, "s f n 3"]
    velocities: Float[Tensor, "s f n 3"]


def charged_systems(count: int, particles: int, generator: torch.Generator) -> Systems:
    """Draw initial states (float64): normal positions, velocities of norm 0.5 in any direction, charges +1 or -1 with equal odds."""
    return _draw(count, _charged_blocks(particles, generator))


def planetary_systems(count: int, particles: int, generator: torch.Generator) -> tuple[Systems, Systems]:
    """Draw star systems and where they are 100 steps later (float64).

    A star of mass 1 to 10 (log-uniform) at rest, `particles - 1` planets of mass 0.01 to 0.1 in the annulus of radii 0.1 to 1 (uniform in
    area), on near-circular orbits in either sense, the whole in random order, randomly turned and moved by N(0, 20^2) an axis. A system in
    which a body moves further than 2 is dropped and another takes its place.

    Args:
        count: systems.
        particles: bodies in each, star included.
        generator: where the numbers come from.

    Returns:
        The initial and the final states.
    """
    pairs = _settled(_planet_blocks(particles, generator))
    blocks: list[tuple[Systems, Systems]] = []
    while sum(len(first.charges) for first, _ in blocks) < count:
        blocks.append(next(pairs))
    first, last = (_concatenate([block[k] for block in blocks], count) for k in (0, 1))
    return first, last


def simulate_charged(systems: Systems, frames: tuple[int, ...], box: float = math.inf, clip: Clip = "component") -> Frames:
    """Integrate charged bodies of unit mass and record some frames; frame k is the state at step 100 (k + 1).

    A frame is recorded before the kick of its step, so starting again from a frame goes on as if there had been no stop.

    The force on i is sum_j c_i c_j (x_i - x_j) / |x_i - x_j|^3. After one kick of a whole step, each step drifts, folds at the walls,
    records, and kicks.

    Args:
        systems: initial states.
        frames: increasing frame numbers to record; nothing after the last one is simulated.
        box: half width of the box whose walls reflect, infinity for none. Walls break translations and rotations.
        clip: what is held to at most `MAX_FORCE`: each "component" of a force (as published; this depends on the axes, so it breaks
            rotations), or its "norm" (which does not).

    Raises:
        DataError: `frames` is not increasing, or two particles coincide.
    """
    if not frames or frames[0] < 0 or any(b <= a for a, b in pairwise(frames)):
        raise DataError(f"frames is {frames}: give increasing frame numbers, 0 or greater")
    limit = _clip_components if clip == "component" else _clip_norms
    pairs = _incidence(systems)
    x, v = _flat(systems.positions), _flat(systems.velocities)
    coupling = _pair_products(systems, pairs)
    v = v + TIME_STEP * limit(_forces(x, coupling, pairs))
    kept = {STEPS_PER_FRAME * (frame + 1) for frame in frames}
    record: list[tuple[Tensor, Tensor]] = []
    for step in range(1, max(kept) + 1):
        x = x + TIME_STEP * v
        if box < math.inf:
            x, v = _reflect(x, v, box)
        if step in kept:
            record.append((x, v))
        v = v + TIME_STEP * limit(_forces(x, coupling, pairs))
    positions, velocities = (torch.stack([_unflat(state[k]) for state in record], 1) for k in (0, 1))
    _check_finite(positions)
    return Frames(positions, velocities)


def symmetry_floor(
    systems: Systems, frame: int, box: float, clip: Clip, generator: torch.Generator
) -> tuple[Float[Tensor, "s"], Float[Tensor, "s"]]:
    """The least mean squared error of any rotation-equivariant prediction, for positions and velocities: its mean over systems.

    A simulator that is not symmetric sends a system elsewhere when it starts turned. An equivariant model cannot know how it was turned, so
    the best it can say is the mean over all rotations, and its error is half the mean squared difference between two of them: here, between
    no rotation and one Haar rotation for each system. Zero, up to rounding, for a symmetric simulator. It holds for systems without a
    preferred direction.

    Args:
        systems: initial states.
        frame: frame of which to predict positions and velocities.
        box: as in `simulate_charged`.
        clip: as in `simulate_charged`.
        generator: where the rotations come from.
    """
    turn = _rotations(_normal(generator)(len(systems.charges), 4))
    turned = systems._replace(positions=systems.positions @ turn.mT, velocities=systems.velocities @ turn.mT)
    here, there = (simulate_charged(start, (frame,), box, clip) for start in (systems, turned))
    back = turn.unsqueeze(1)
    position, velocity = (0.5 * (a - b @ back).square().mean((1, 2, 3)) for a, b in zip(here, there, strict=True))
    return position, velocity


def simulate_gravity(systems: Systems, steps: int = 100) -> Systems:
    """Integrate bodies that attract each other (G = 1, `charges` are masses) with symplectic Euler steps, and return the final state.

    Raises:
        DataError: two bodies coincide.
    """
    pairs = _incidence(systems)
    x, v = _flat(systems.positions), _flat(systems.velocities)
    coupling = -_pair_products(systems, pairs)
    kick = TIME_STEP / systems.charges.T.unsqueeze(1)
    for _ in range(steps):
        v = v + kick * _forces(x, coupling, pairs)
        x = x + TIME_STEP * v
    final = Systems(_unflat(x), _unflat(v), systems.charges)
    _check_finite(final.positions)
    return final


def read_published(folder: Path, split: str, frames: tuple[int, ...]) -> tuple[Frames, Float[Tensor, "s n"]]:
    """Read the published set of EGNN (seed 43, "small") from `folder/nbody_charged5/nbody_charged5_small_seed43_frames.npz`.

    Its arrays are `{split}_loc` and `{split}_vel [s, f, 5, 3]`, `{split}_charge [s, 5]`, and `frames [f]`, the frame numbers that it holds.

    Args:
        folder: the folder of data sets.
        split: "train", "valid" or "test".
        frames: frame numbers to read.

    Raises:
        DataError: the file is missing, damaged, or does not hold a frame.
    """
    names = [f"{split}_{part}" for part in ("loc", "vel", "charge")]
    arrays = read_npz(folder / "nbody_charged5" / "nbody_charged5_small_seed43_frames.npz", ["frames", *names])
    held = [int(frame) for frame in arrays["frames"]]
    missing = [frame for frame in frames if frame not in held]
    if missing:
        raise DataError(f"the published set has no frame {missing[0]}: it has {', '.join(map(str, held))}")
    loc, vel, charge = (torch.from_numpy(arrays[name]).double() for name in names)
    places = [held.index(frame) for frame in frames]
    return Frames(loc[:, places], vel[:, places]), charge


# Inside the integrators a state is [n, 3, s]: the pair differences and the force sums are then two small matrix products over all systems.
# These functions run at every step, so their shapes are checked by those who call them.


def _flat(state: Tensor) -> Tensor:
    return state.permute(1, 2, 0).contiguous()


def _unflat(state: Tensor) -> Tensor:
    return state.permute(2, 0, 1).contiguous()


def _incidence(systems: Systems) -> Tensor:
    """Row (i, j), i < j, has +1 at i and -1 at j."""
    n = systems.charges.shape[1]
    first, second = torch.triu_indices(n, n, offset=1, device=systems.charges.device)
    eye = torch.eye(n, dtype=systems.charges.dtype, device=systems.charges.device)
    return eye[first] - eye[second]


def _pair_products(systems: Systems, pairs: Tensor) -> Tensor:
    first, second = pairs.argmax(1), pairs.argmin(1)
    return systems.charges.T[first] * systems.charges.T[second]


def _forces(x: Tensor, coupling: Tensor, pairs: Tensor) -> Tensor:
    """Sum over the other particles of coupling (x_i - x_j) / |x_i - x_j|^3; coupling is [p, s], pairs [p, n]."""
    systems = x.shape[-1]
    difference = (pairs @ x.flatten(1)).view(-1, 3, systems)
    square = (difference * difference).sum(1)
    weighted = difference * (coupling / (square * square.sqrt())).unsqueeze(1)
    return (pairs.T @ weighted.flatten(1)).view(-1, 3, systems)


def _clip_components(force: Tensor) -> Tensor:
    return force.clamp(-MAX_FORCE, MAX_FORCE)


def _clip_norms(force: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(force, dim=1, keepdim=True)
    return force * (MAX_FORCE / norm.clamp(min=MAX_FORCE))


def _reflect(x: Tensor, v: Tensor, box: float) -> tuple[Tensor, Tensor]:
    """Fold positions back into the box and turn the velocity component inwards."""
    outside = x.abs() > box
    return torch.where(outside, x.sign() * 2 * box - x, x), torch.where(outside, -x.sign() * v.abs(), v)


def _check_finite(positions: Tensor) -> None:
    if not positions.isfinite().all():
        system = int((~positions.isfinite()).flatten(1).any(1).nonzero()[0])
        raise DataError(f"system {system} left the finite numbers: two of its particles coincide; start from distinct positions")


def _draw(count: int, blocks: Iterator[Systems]) -> Systems:
    return _concatenate([next(blocks) for _ in range(math.ceil(count / BLOCK))], count)


def _concatenate(blocks: list[Systems], count: int) -> Systems:
    return Systems(*(torch.cat(parts)[:count] for parts in zip(*blocks, strict=True)))


def _charged_blocks(particles: int, generator: torch.Generator) -> Iterator[Systems]:
    normal = _normal(generator)
    while True:
        positions, directions = normal(BLOCK, particles, 3), normal(BLOCK, particles, 3)
        sign = torch.randint(2, (BLOCK, particles), generator=generator, dtype=torch.float64) * 2 - 1
        yield Systems(positions, 0.5 * directions / torch.linalg.vector_norm(directions, dim=-1, keepdim=True), sign)


def _planet_blocks(particles: int, generator: torch.Generator) -> Iterator[Systems]:
    normal = _normal(generator)
    while True:
        flat = _planar_systems(particles, generator)
        order = torch.rand(BLOCK, particles, generator=generator, dtype=torch.float64).argsort(1)
        turn = _rotations(normal(BLOCK, 4))
        away = 20 * normal(BLOCK, 1, 3)
        moved = Systems(flat.positions @ turn.mT + away, flat.velocities @ turn.mT, flat.charges)
        yield Systems(*(torch.take_along_dim(x, order.reshape(BLOCK, particles, *(1,) * (x.ndim - 2)), 1) for x in moved))


def _planar_systems(particles: int, generator: torch.Generator) -> Systems:
    """Star first, at the origin and at rest; planets in the x-y plane."""
    normal, planets = _normal(generator), particles - 1

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    star = uniform(0.0, math.log(10), BLOCK, 1).exp()
    masses = uniform(math.log(0.01), math.log(0.1), BLOCK, planets).exp()
    radius, angle = uniform(0.01, 1.0, BLOCK, planets).sqrt(), uniform(0.0, 2 * math.pi, BLOCK, planets)
    outward = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], -1)
    along = torch.stack([-angle.sin(), angle.cos(), torch.zeros_like(angle)], -1)
    sense = torch.randint(2, (BLOCK, planets), generator=generator, dtype=torch.float64) * 2 - 1
    speed = sense * (star / radius).sqrt()
    velocities = along * speed.unsqueeze(-1) + 0.01 * normal(BLOCK, planets, 3)
    origin = torch.zeros(BLOCK, 1, 3, dtype=torch.float64)
    positions = torch.cat([origin, outward * radius.unsqueeze(-1)], 1)
    return Systems(positions, torch.cat([origin, velocities], 1), torch.cat([star, masses], 1))


def _settled(blocks: Iterator[Systems]) -> Iterator[tuple[Systems, Systems]]:
    """Pairs of initial and final states, without the systems in which a body moved further than 2."""
    for first in blocks:
        last = simulate_gravity(first)
        calm = torch.linalg.vector_norm(last.positions - first.positions, dim=-1).amax(1) <= 2
        yield Systems(*(x[calm] for x in first)), Systems(*(x[calm] for x in last))


def _rotations(quaternions: Float[Tensor, "s 4"]) -> Float[Tensor, "s 3 3"]:
    """Haar rotations from standard normal quaternions: R x = x + 2 q x (q x x + w x), with q and w of unit length together."""
    w, q = (quaternions / torch.linalg.vector_norm(quaternions, dim=-1, keepdim=True)).split((1, 3), -1)
    eye = torch.eye(3, dtype=q.dtype)
    cross: Tensor = torch.linalg.cross(q.unsqueeze(1).expand(-1, 3, 3), eye.expand(len(q), 3, 3)).mT
    turn: Tensor = eye + 2 * (w.unsqueeze(-1) * cross + cross @ cross)
    return turn


def _normal(generator: torch.Generator) -> Callable[..., Tensor]:
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
