"""The quotients against their closed forms in high precision, and norms at zero."""

from math import pi

import pytest
import torch
from mpmath import cot, mpf, sin, workdps

from torsor.groups.numerics import cosc, cotangent_remainder, safe_norm, sinc, sinc_remainder, unit

QUOTIENTS = {
    sinc: lambda t: sin(t) / t,
    cosc: lambda t: 2 * sin(t / 2) ** 2 / t**2,
    sinc_remainder: lambda t: (t - sin(t)) / t**3,
    cotangent_remainder: lambda t: (1 - t / 2 * cot(t / 2)) / t**2,
}


@pytest.mark.parametrize("quotient", QUOTIENTS, ids=lambda f: f.__name__)
def test_quotients_keep_every_digit(quotient):
    angles = [1e-12, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999999, 1.0, 1.000001, 1.5, 1.999, 2.0, 2.001, 3.0, pi]
    squares = torch.tensor(angles, dtype=torch.float64).square()
    with workdps(50):
        exact = [float(QUOTIENTS[quotient](mpf(s) ** 0.5)) for s in squares.tolist()]
    assert (quotient(squares) - torch.tensor(exact, dtype=torch.float64)).abs().max() < 1e-15 * max(exact)


@pytest.mark.parametrize(("quotient", "limit"), [(sinc, 1), (cosc, 1 / 2), (sinc_remainder, 1 / 6), (cotangent_remainder, 1 / 12)])
def test_quotients_have_their_limits_and_slopes_at_zero(quotient, limit):
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = quotient(zero)
    (slope,) = torch.autograd.grad(value, zero, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, zero)
    step = torch.tensor(1e-3, dtype=torch.float64)
    assert value == limit
    assert abs(limit + slope * step + curvature * step**2 / 2 - quotient(step)) < 1e-12


@pytest.mark.parametrize("threshold", [1.0, 4.0])
@pytest.mark.parametrize("quotient", QUOTIENTS, ids=lambda f: f.__name__)
def test_quotients_and_two_derivatives_are_continuous_where_the_series_hands_over(quotient, threshold):
    above = torch.tensor(threshold, dtype=torch.float64)
    sides = torch.stack((torch.nextafter(above, torch.zeros_like(above)), above)).requires_grad_()
    value = quotient(sides)
    (slope,) = torch.autograd.grad(value.sum(), sides, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), sides)
    for x, bound in ((value, 1e-15), (slope, 1e-14), (curvature, 1e-13)):
        assert (x[0] - x[1]).abs() < bound


def test_the_norm_has_zero_derivatives_at_zero_and_the_usual_ones_elsewhere(generator):
    zero = torch.zeros(2, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(safe_norm(zero).sum(), zero, create_graph=True)
    assert torch.equal(slope, torch.zeros(2, 3))
    assert torch.equal(torch.autograd.grad(slope.sum(), zero)[0], torch.zeros(2, 3))
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(safe_norm, x)
    assert torch.autograd.gradgradcheck(safe_norm, x)
    assert (safe_norm(x) - x.norm(dim=-1)).abs().max() < 1e-15


def test_the_direction_of_zero_is_the_first_axis():
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    direction = unit(zero)
    assert direction.tolist() == [1.0, 0.0, 0.0]
    direction.sum().backward()
    assert torch.equal(zero.grad, torch.zeros(3, dtype=torch.float64))
