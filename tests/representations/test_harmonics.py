from math import pi

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.special import sph_harm_y
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.representations.harmonics import solid_harmonics, spherical_harmonics

NORMALIZATIONS = ("component", "norm", "integral")


def directions(count: int, generator: torch.Generator) -> Tensor:
    """Random directions, the six along the axes, and some close to the poles."""
    random = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    axes = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    polar = torch.tensor([[1e-8, 1.0, 0.0], [0.0, -1.0, 1e-8], [1e-12, 1.0, -1e-9], [1e-4, -1.0, 1e-5]], dtype=torch.float64)
    u = torch.cat([random, axes, polar])
    return u / u.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_values_and_gradients_are_those_of_e3nn_up_to_degree_8(normalization, normalize, generator):
    v = (1.3 * directions(40, generator)).requires_grad_()
    ours = spherical_harmonics(8, v, normalize, normalization)
    theirs = o3.spherical_harmonics(list(range(9)), v, normalize, normalization=normalization)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weight = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    (our_gradient,) = torch.autograd.grad(ours, v, weight)
    (their_gradient,) = torch.autograd.grad(theirs, v, weight)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-11, atol=1e-10)


def test_values_are_those_of_scipy_up_to_degree_12(generator):
    x, y, z = directions(30, generator).numpy().T
    polar, azimuth = np.arctan2(np.hypot(x, z), y), np.arctan2(x, z)
    expected = []
    for l in range(13):
        for m in range(-l, l + 1):
            value = sph_harm_y(l, abs(m), polar, azimuth) * (-1) ** m
            expected.append(value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag))
    ours = spherical_harmonics(12, directions(0, generator).new_tensor(np.stack([x, y, z], -1)), True, "integral")
    np.testing.assert_allclose(ours.numpy(), np.stack(expected, -1), atol=1e-12)


@pytest.mark.parametrize(
    ("normalization", "squared"), [("component", lambda l: 2 * l + 1), ("norm", lambda l: 1), ("integral", lambda l: (2 * l + 1) / 4 / pi)]
)
def test_squared_norm_of_each_degree_is_what_its_normalisation_promises(normalization, squared, generator):
    y = spherical_harmonics(10, directions(30, generator), True, normalization)
    for l in range(11):
        norms = y[:, l**2 : (l + 1) ** 2].square().sum(-1)
        assert (norms / squared(l) - 1).abs().max() < 1e-13


def test_degree_one_is_x_y_z(generator):
    u = directions(5, generator)
    torch.testing.assert_close(spherical_harmonics(1, u, True, "norm")[:, 1:], u, rtol=0, atol=1e-15)


def test_float32_error_stays_below_5e_6_up_to_degree_6_everywhere(generator):
    u = directions(20_000, generator).float()
    error = spherical_harmonics(6, u) - spherical_harmonics(6, u.double())
    assert error.abs().max() < 5e-6


@pytest.mark.parametrize("l_max", [2, 3, 8])
@pytest.mark.parametrize("normalize", [True, False])
def test_fast_path_equals_the_naive_path_and_so_do_its_derivatives(l_max, normalize, generator):
    v = directions(20, generator) * 1.5
    weight = torch.randn(30, (l_max + 1) ** 2, generator=generator, dtype=torch.float64)
    second = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    results = []
    for function in (
        lambda v: spherical_harmonics(l_max, v, normalize),
        lambda v: solid_harmonics(l_max, torch.nn.functional.normalize(v, dim=-1) if normalize else v, "component"),
    ):
        x, w = v.clone().requires_grad_(), weight.clone().requires_grad_()
        values = function(x)
        (first,) = torch.autograd.grad(values, x, w, retain_graph=True)  # runs the recursion backwards
        (again,) = torch.autograd.grad(values, x, w, create_graph=True)  # is made of the values
        results.append((values, first, again, *torch.autograd.grad(again, (x, w), second)))
    for ours, naive in zip(*results, strict=True):
        assert (ours - naive).abs().max() <= 1e-13 * naive.abs().max()


def test_gradient_does_not_write_into_what_it_is_given(generator):
    v = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    values = spherical_harmonics(4, v)
    weight = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    before, copy = weight.clone(), values.detach().clone()
    first, second = (torch.autograd.grad(values, v, weight, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(weight, before)
    assert torch.equal(values, copy)


@pytest.mark.parametrize("normalize", [True, False])
def test_first_and_second_derivatives_match_finite_differences(normalize, generator):
    v = torch.randn(3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: spherical_harmonics(4, v, normalize), v, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda v: spherical_harmonics(4, v, normalize), v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_vector_has_degree_zero_alone_and_zero_gradients(dtype):
    v = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    y = spherical_harmonics(6, v)
    assert torch.equal(y[:, 0], torch.ones(2, dtype=dtype))
    assert not y[:, 1:].any()
    (gradient,) = torch.autograd.grad(y.sum(), v, create_graph=True)
    assert not gradient.any()
    (second,) = torch.autograd.grad(gradient.sum(), v)
    assert torch.isfinite(second).all()


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_length_does_not_matter_when_normalised(scale, generator):
    u = directions(10, generator).float()
    torch.testing.assert_close(spherical_harmonics(4, u * scale), spherical_harmonics(4, u), rtol=0, atol=5e-6)


def test_solid_harmonics_are_harmonic(generator):
    v = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    hessian = torch.func.vmap(torch.func.jacfwd(torch.func.jacrev(lambda u: spherical_harmonics(6, u, normalize=False))))(v)
    assert hessian.diagonal(dim1=-2, dim2=-1).sum(-1).abs().max() < 1e-10 * hessian.abs().max()


def test_forward_and_reverse_jacobians_agree_under_vmap(generator):
    v = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)

    def batched(jacobian):
        return torch.func.vmap(torch.func.vmap(jacobian(lambda u: spherical_harmonics(5, u))), in_dims=1)(v)

    torch.testing.assert_close(batched(torch.func.jacfwd), batched(torch.func.jacrev), rtol=0, atol=1e-11)


def test_batch_axes_are_kept_and_may_be_empty():
    assert spherical_harmonics(2, torch.ones(3)).shape == (9,)
    assert spherical_harmonics(2, torch.ones(2, 0, 5, 3)).shape == (2, 0, 5, 9)
    assert spherical_harmonics(0, torch.ones(2, 3)).shape == (2, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_only_at_the_end(dtype, generator):
    v = torch.randn(10, 3, generator=generator).to(dtype)
    assert torch.equal(spherical_harmonics(6, v), spherical_harmonics(6, v.float()).to(dtype))


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"\[4, 2\]"):
        spherical_harmonics(2, torch.ones(4, 2))
    with pytest.raises(RepresentationError, match="-1"):
        spherical_harmonics(-1, torch.ones(4, 3))


@pytest.mark.compile
def test_harmonics_trace_as_one_graph_with_equal_gradients(generator):
    v = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(lambda v: spherical_harmonics(6, v), fullgraph=True, backend="aot_eager")
    weight = torch.randn(7, 49, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad(f(v), v, weight)[0] for f in (compiled, lambda v: spherical_harmonics(6, v))]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
