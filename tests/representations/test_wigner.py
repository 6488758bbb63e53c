from functools import partial

import pytest
import torch
from e3nn import o3
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.representations.harmonics import spherical_harmonics
from torsor.representations.wigner import edge_frames, wigner_blocks, wigner_d


def orthogonal(count: int, generator: torch.Generator) -> Tensor:
    """As many rotations as reflections."""
    q = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)).Q
    return torch.cat([q[: count // 2], -q[count // 2 :]])


def unit_vectors(generator: torch.Generator) -> Tensor:
    """Random ones, the axes, close to the poles, and on both sides of where the charts meet."""
    special = [
        [0, 1, 0],
        [0, -1, 0],
        [1, 0, 0],
        [0, 0, -1],
        [1e-9, 1, 0],
        [1e-7, -1, 1e-8],
        [0.6, 0.8, 0],
        [0.0, 0.8 + 1e-9, 0.6],
        [0, -0.8, 0.6],
    ]
    u = torch.cat([torch.randn(30, 3, generator=generator, dtype=torch.float64), torch.tensor(special, dtype=torch.float64)])
    return u / u.norm(dim=-1, keepdim=True)


def test_harmonics_turn_with_wigner_matrices_up_to_degree_10(generator):
    r, u = orthogonal(39, generator), unit_vectors(generator)
    y, turned = spherical_harmonics(10, u), spherical_harmonics(10, (r @ u.unsqueeze(-1)).squeeze(-1))
    for l, d in enumerate(wigner_blocks(10, r)):
        place = slice(l**2, (l + 1) ** 2)
        assert ((d @ y[:, place, None]).squeeze(-1) - turned[:, place]).abs().max() < 1e-12


@pytest.mark.usefixtures("double_by_default")
def test_matrices_are_those_of_e3nn_up_to_degree_8(generator):
    angles = 6 * torch.rand(3, 20, generator=generator, dtype=torch.float64)
    r = o3.angles_to_matrix(*angles)
    for l in range(9):
        torch.testing.assert_close(wigner_d(l, r), o3.wigner_D(l, *angles), rtol=0, atol=1e-12)


def test_degree_one_is_the_rotation_itself(generator):
    r = orthogonal(5, generator)
    assert torch.equal(wigner_d(1, r), r)


def test_products_become_products_and_matrices_are_orthogonal(generator):
    a, b = orthogonal(2, generator), orthogonal(2, generator)
    for l in range(9):
        d = wigner_d(l, a)
        assert (wigner_d(l, a @ b) - d @ wigner_d(l, b)).abs().max() < 1e-13
        assert (d @ d.mT - torch.eye(2 * l + 1)).abs().max() < 1e-13


def test_matrices_differentiate_at_the_identity_and_at_half_turns():
    for r in (torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.diag(torch.tensor([-1.0, 1.0, -1.0]))):
        assert torch.autograd.gradcheck(partial(wigner_d, 3), r.double().requires_grad_(), check_forward_ad=True)


def test_frames_take_the_polar_axis_to_the_edge(generator):
    u = unit_vectors(generator)
    frames = edge_frames(8, u)
    torch.testing.assert_close(frames[1][..., 1], u, rtol=0, atol=1e-15)
    y = spherical_harmonics(8, u, True, "norm")
    for l, d in enumerate(frames):
        torch.testing.assert_close(d[..., l], y[:, l**2 : (l + 1) ** 2], rtol=0, atol=1e-13)


def test_frames_are_wigner_matrices_of_one_rotation(generator):
    frames = edge_frames(8, unit_vectors(generator))
    assert (torch.linalg.det(frames[1]) - 1).abs().max() < 1e-14
    for frame, d in zip(frames, wigner_blocks(8, frames[1]), strict=True):
        torch.testing.assert_close(frame, d, rtol=0, atol=1e-13)


def message(u: Tensor, weights: list[Tensor]) -> Tensor:
    """A function of u that does not depend on the gauge: D B D^T with B diagonal and even in m."""
    frames = edge_frames(len(weights) - 1, u)
    return torch.cat([(f @ torch.diag_embed(w) @ f.mT).flatten(-2) for f, w in zip(frames, weights, strict=True)], -1)


def exact_message(u: Tensor, weights: list[Tensor]) -> Tensor:
    """The same, as a polynomial: with J = sum_i u_i L_i, the diagonal matrix of w(m^2) turns into w(-J^2)."""
    eye = torch.eye(3, dtype=u.dtype).repeat(3, 1, 1)
    cross = torch.linalg.cross(eye.transpose(0, 1), eye).mT
    parts = []
    for l, w in enumerate(weights):
        generators = torch.func.jvp(lambda r, l=l: wigner_d(l, r), (eye,), (cross,))[1]
        j = torch.einsum("...i,iab->...ab", u, generators)
        squares = -j @ j
        one = torch.eye(2 * l + 1, dtype=u.dtype)
        total = torch.zeros_like(squares)
        for m in range(l + 1):
            term = one.expand_as(squares)
            for other in range(l + 1):
                if other != m:
                    term = term @ (squares - other**2 * one) / (m**2 - other**2)
            total = total + w[l + m] * term
        parts.append(total.flatten(-2))
    return torch.cat(parts, -1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
@pytest.mark.parametrize("distance", [0.0, 1e-7, 1e-5, 1e-3, 0.3, 0.59999, 0.60001])
def test_gradients_through_frames_keep_their_digits_at_the_poles(distance, dtype, tolerance, generator):
    weights = [torch.randn(l + 1, generator=generator, dtype=torch.float64) for l in range(4)]
    weights = [torch.cat([w[1:].flip(0), w]) for w in weights]
    u = torch.tensor([[distance * 0.6, (1 - distance**2) ** 0.5, distance * 0.8]], dtype=torch.float64)
    cotangent = torch.randn(1, 84, generator=generator, dtype=torch.float64)

    def tangential_gradient(function, dtype):
        x = u.to(dtype).requires_grad_()
        values = function(torch.nn.functional.normalize(x, dim=-1), [w.to(dtype) for w in weights])
        return torch.autograd.grad(values, x, cotangent.to(dtype))[0].double()

    expected = tangential_gradient(exact_message, torch.float64)
    ours = tangential_gradient(message, dtype)
    assert (ours - expected).abs().max() < tolerance * expected.abs().max()


def test_zero_vectors_get_the_frame_of_the_axis_and_finite_gradients():
    u = torch.zeros(2, 3, requires_grad=True)
    frames = edge_frames(3, u)
    assert torch.equal(frames[1][..., 1], torch.tensor([[0.0, 1.0, 0.0]] * 2))
    (gradient,) = torch.autograd.grad(sum(f.sum() for f in frames), u)
    assert torch.isfinite(gradient).all()


def test_frames_work_under_vmap_and_forward_mode(generator):
    u = unit_vectors(generator)
    forward, reverse = (
        torch.func.vmap(jacobian(lambda u: torch.cat([f.flatten() for f in edge_frames(3, u)])))(u)
        for jacobian in (torch.func.jacfwd, torch.func.jacrev)
    )
    torch.testing.assert_close(forward, reverse, rtol=0, atol=1e-11)


def test_autocast_does_not_touch_the_geometry(generator):
    r, u = orthogonal(4, generator).float(), unit_vectors(generator).float().requires_grad_()

    def everything():
        y = spherical_harmonics(4, u)
        (gradient,) = torch.autograd.grad(y.sum(), u, create_graph=True)
        return torch.cat([x.flatten() for x in (*wigner_blocks(4, r), *edge_frames(4, u), y, gradient)])

    expected = everything()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(everything(), expected)


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"\[2, 2\]"):
        wigner_d(1, torch.eye(2))
    with pytest.raises(ShapeError, match=r"\[5, 2\]"):
        edge_frames(1, torch.ones(5, 2))
    with pytest.raises(RepresentationError, match="-1"):
        wigner_d(-1, torch.eye(3))


@pytest.mark.compile
def test_frames_and_wigner_matrices_trace_as_one_graph(generator):
    u = unit_vectors(generator)

    def both(u: Tensor) -> Tensor:
        frames = edge_frames(4, u)
        return torch.cat([f.flatten(1) for f in (*frames, *wigner_blocks(4, frames[1]))], -1)

    torch.testing.assert_close(torch.compile(both, fullgraph=True, backend="aot_eager")(u), both(u), rtol=0, atol=1e-13)
