"""Orders of convergence on an oscillator with a known solution, and what symplectic steps keep."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from torsor.nn.integrators import YOSHIDA, Step, integrate, leapfrog, runge_kutta

ORDERS = {"rk4": 4, "leapfrog": 2, "yoshida": 4}


def pendulum_force(q: Tensor) -> Tensor:
    return -q.sin()


def velocity(p: Tensor) -> Tensor:
    return p


def step_of(method: str, force=torch.neg) -> Step:
    if method == "rk4":
        return runge_kutta(lambda q, p: (velocity(p), force(q)))
    return leapfrog(velocity, force, YOSHIDA if method == "yoshida" else (1.0,))


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64).reshape(-1, 1, 1)


@pytest.mark.parametrize("method", ORDERS)
def test_error_falls_with_the_order_of_the_method(method: str) -> None:
    q, p, times = column(1.0), column(0.5), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    expected = 1.0 * times[:, 1:].cos() + 0.5 * times[:, 1:].sin()
    errors = [float((integrate(step_of(method), q, p, times, n)[0][:, 1, 0] - expected).abs().max()) for n in (10, 20, 40)]
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2 ** ORDERS[method], rel=0.1)


@pytest.mark.parametrize("method", ["leapfrog", "yoshida"])
def test_symplectic_steps_run_backwards_and_keep_areas(method: str) -> None:
    step = step_of(method, pendulum_force)
    state = (column(1.0, -0.3), column(0.4, 2.0))
    back = step(step(state, column(0.3, 0.3)), column(-0.3, -0.3))
    for found, expected in zip(back, state, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)

    def flat(z: Tensor) -> Tensor:
        return torch.cat(step((z[:1].reshape(1, 1, 1), z[1:].reshape(1, 1, 1)), column(0.3))).flatten()

    jacobian = torch.func.jacrev(flat)(torch.tensor([1.0, 0.4], dtype=torch.float64))
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-14)


def test_energy_of_a_symplectic_method_does_not_drift() -> None:
    times = torch.linspace(0, 400, 401, dtype=torch.float64)[None]

    def energies(method: str) -> Tensor:
        q, p = integrate(step_of(method, pendulum_force), column(1.5), column(0.0), times, 4)
        return (p.square() / 2 - q.cos()).flatten()

    kept, lost = energies("leapfrog"), energies("rk4")
    assert (kept[-50:] - kept[0]).abs().max() < 1.5 * (kept[:50] - kept[0]).abs().max()
    assert (lost[-50:] - lost[0]).abs().max() > 5 * (lost[:50] - lost[0]).abs().max()


def test_every_item_has_times_of_its_own() -> None:
    q, p = column(1.0, 1.0), column(0.0, 0.0)
    times = torch.tensor([[0.0, 0.1, 0.2], [5.0, 5.3, 5.7]], dtype=torch.float64)
    found, _ = integrate(step_of("rk4"), q, p, times, 30)
    torch.testing.assert_close(found[..., 0, 0], (times - times[:, :1]).cos(), rtol=0, atol=1e-9)
