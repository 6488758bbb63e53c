"""Fixed-step integrators for positions and momenta, differentiable from end to end.

Hairer, Lubich, Wanner: Geometric Numerical Integration (2006): the classical Runge-Kutta method of order 4, the leapfrog (position
Stoermer-Verlet, I.1.4), and its composition of order 4 by Yoshida (II.4).

Axes: b batch, n particles, d dimension of space, t times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

State = tuple[Tensor, Tensor]
"""Positions and momenta, `[b, n, d]` each."""
Field = Callable[[Tensor, Tensor], State]
"""(positions, momenta) -> their derivatives by time."""
Step = Callable[[State, Tensor], State]
"""(state, duration `[b, 1, 1]`) -> the state after it."""
Method = Literal["rk4", "leapfrog", "yoshida"]

_OUTER = 1 / (2 - 2 ** (1 / 3))
YOSHIDA = (_OUTER, 1 - 2 * _OUTER, _OUTER)
"""Shares of a step whose leapfrogs cancel each other's error of third order."""


def runge_kutta(field: Field) -> Step:
    """The classical method: four evaluations of the field a step, order 4, not symplectic."""

    def step(state: State, h: Tensor) -> State:
        first = field(*state)
        second = field(*_moved(state, h / 2, first))
        third = field(*_moved(state, h / 2, second))
        last = field(*_moved(state, h, third))
        q, p = (a + 2 * (b + c) + d for a, b, c, d in zip(first, second, third, last, strict=True))
        return _moved(state, h / 6, (q, p))

    return step


def leapfrog(velocity: Callable[[Tensor], Tensor], force: Callable[[Tensor], Tensor], shares: tuple[float, ...] = (1.0,)) -> Step:
    """Drift, kick, drift: one evaluation of the force for each share of the step; symplectic, and reversible in time.

    Args:
        velocity: momenta -> velocities.
        force: positions -> forces.
        shares: into which the step is divided; `YOSHIDA` gives order 4 instead of 2.
    """

    def step(state: State, h: Tensor) -> State:
        q, p = state
        for share in shares:
            q = q + share * h / 2 * velocity(p)
            p = p + share * h * force(q)
            q = q + share * h / 2 * velocity(p)
        return q, p

    return step


def integrate(
    step: Step, positions: Float[Tensor, "b n d"], momenta: Float[Tensor, "b n d"], times: Float[Tensor, "b t"], substeps: int = 1
) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b t n d"]]:
    """The states at the given times, from the state at the first of them.

    Args:
        step: the method.
        positions: at the first time.
        momenta: at the first time.
        times: increasing; each item of the batch has its own.
        substeps: equal steps from one time to the next.
    """
    state = (positions, momenta)
    states = [state]
    for durations in (times.diff(dim=1) / substeps).unbind(1):
        for _ in range(substeps):
            state = step(state, durations[:, None, None])
        states.append(state)
    q, p = (torch.stack(parts, 1) for parts in zip(*states, strict=True))
    return q, p


def _moved(state: State, h: Tensor, by: State) -> State:
    return state[0] + h * by[0], state[1] + h * by[1]
