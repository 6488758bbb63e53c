"""Exponential and logarithm of the Lie groups: round trips through every switch of a series, derivatives, and scipy's expm and logm."""

from math import atan, pi

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from torch.autograd import gradcheck, gradgradcheck

from torsor.groups import GL, SE, SL2, SO, E, LieGroup, O, T
from torsor.groups.rotation3 import matrix_from_quaternion, quaternion_from_matrix

SWITCHES = (1.0, 2.0, 2 * atan(0.25), pi / 2, 2 * pi / 3, pi / 4)
ANGLES = (
    *(0.0, 1e-300, 1e-12, 1e-9, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.5, 2.5, 3.0),
    *(switch + gap for switch in SWITCHES for gap in (-1e-3, -1e-9, 0.0, 1e-9, 1e-3)),
)
DOUBLE = (*ANGLES, pi - 1e-2, pi - 1e-3)
ROTATING = (SO(2), SO(3), SE(2), SE(3), O(2), O(3), E(2), E(3))
CLOSED = (T(3), SO(2), SO(3), SE(1), SE(2), SE(3), O(3), E(3), SL2())
rotating = pytest.mark.parametrize("group", ROTATING, ids=str)
closed = pytest.mark.parametrize("group", CLOSED, ids=str)


def turning(group: LieGroup, angles: tuple[float, ...], generator: torch.Generator) -> torch.Tensor:
    """Coordinates with these rotation angles, five random axes and translations each."""
    n = group.space_dim
    turns = n * (n - 1) // 2
    v = torch.randn(len(angles), 5, group.dim, generator=generator, dtype=torch.float64)
    axes = v[..., :turns] / v[..., :turns].norm(dim=-1, keepdim=True)
    return torch.cat((axes * torch.tensor(angles, dtype=torch.float64)[:, None, None], v[..., turns:]), dim=-1)


@rotating
def test_log_undoes_exp_through_every_switch(group, generator):
    v = turning(group, DOUBLE, generator)
    assert (group.log(group.exp(v)) - v).abs().max() < 1e-10


@rotating
def test_log_keeps_the_digits_of_small_angles(group, generator):
    v = turning(group, (1e-12, 1e-9, 1e-6, 1e-3), generator)
    turns = group.space_dim * (group.space_dim - 1) // 2
    w = group.log(group.exp(v))[..., :turns]
    assert ((w - v[..., :turns]).norm(dim=-1) / v[..., :turns].norm(dim=-1)).max() < 1e-14


@rotating
def test_exp_undoes_log_through_every_switch(group, generator):
    g = group.exp(turning(group, (*DOUBLE, pi), generator))
    assert (group.exp(group.log(g)) - g).abs().max() < 1e-10


@rotating
def test_log_undoes_exp_in_float32(group, generator):
    v = turning(group, (*ANGLES, pi - 1e-2), generator).float()
    back = group.log(group.exp(v))
    assert back.dtype == torch.float32
    assert (back - v).abs().max() < 1e-4


def test_log_of_a_rotation_by_pi_is_one_of_its_two_axes(generator):
    axes = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    axes = torch.cat((axes / axes.norm(dim=-1, keepdim=True), torch.eye(3, dtype=torch.float64)))
    half_turns = 2 * axes[:, :, None] * axes[:, None, :] - torch.eye(3, dtype=torch.float64)
    w = SO(3).log(half_turns)
    assert (torch.linalg.cross(w, axes).abs().max()) < 1e-14
    assert (w.norm(dim=-1) - pi).abs().max() < 1e-14


@closed
def test_exp_is_scipys_expm(group, generator):
    v = 2 * torch.randn(20, group.dim, generator=generator, dtype=torch.float64)
    algebra = torch.einsum("bk, kij -> bij", v, group.algebra())
    expected = torch.from_numpy(np.stack([scipy.linalg.expm(matrix) for matrix in algebra.numpy()]))
    error = (group.matrix(group.exp(v)) - expected).abs().amax((-1, -2))
    # scipy's own formula for 2 x 2 matrices is off by 1e-12
    assert (error / expected.abs().amax((-1, -2))).max() < (1e-11 if group == SL2() else 1e-13)


@closed
def test_exp_is_exact_to_the_last_digits(group, generator):
    v = 2 * torch.randn(6, group.dim, generator=generator, dtype=torch.float64)
    algebra = torch.einsum("bk, kij -> bij", v, group.algebra())
    with mpmath.workdps(40):
        expected = torch.tensor(
            [[float(x) for x in mpmath.expm(mpmath.matrix(matrix.tolist()))] for matrix in algebra], dtype=torch.float64
        )
    error = (group.matrix(group.exp(v)).flatten(1) - expected).abs().amax(-1)
    assert (error / expected.abs().amax(-1)).max() < 1e-14


@closed
def test_log_is_scipys_logm(group, generator):
    v = 0.9 * torch.randn(20, group.dim, generator=generator, dtype=torch.float64).clamp(-1.5, 1.5)
    matrices = group.matrix(group.exp(v))
    expected = torch.from_numpy(np.stack([scipy.linalg.logm(matrix).real for matrix in matrices.numpy()]))
    ours = torch.einsum("bk, kij -> bij", group.log(group.exp(v)), group.algebra())
    assert (ours - expected).abs().max() < 1e-10


@closed
def test_the_derivatives_at_the_identity_are_those_of_the_identity_map(group):
    """To first order exp is 1 + v and log undoes it; to second order log(exp(v)) = v has no curvature."""
    zero = torch.zeros(group.dim, dtype=torch.float64)

    def there_and_back(v):
        return group.log(group.exp(v))

    eye = torch.eye(group.dim, dtype=torch.float64)
    assert (torch.autograd.functional.jacobian(there_and_back, zero) - eye).abs().max() < 1e-14
    for i in range(group.dim):
        curvature = torch.autograd.functional.hessian(lambda v, i=i: there_and_back(v)[i], zero)
        assert curvature.abs().max() < 1e-13
    algebra = group.algebra()
    slope = torch.autograd.functional.jacobian(lambda v: group.matrix(group.exp(v)), zero)
    assert (slope.movedim(-1, 0) - algebra).abs().max() < 1e-14


@closed
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-5, 1e-4, 1e-2, 0.3, 0.49, 1.0, 2.0, 2.9])
def test_first_and_second_derivatives_agree_through_the_switches(group, angle, generator):
    """The jacobian of log after exp is the identity and its second derivatives vanish, at every angle."""
    v = torch.randn(group.dim, generator=generator, dtype=torch.float64)
    turns = max(group.space_dim * (group.space_dim - 1) // 2, 1)
    # (h, e, f) = (0, -x, x) is the rotation by x in SL2
    v = torch.tensor([0.0, -angle, angle], dtype=torch.float64) if group == SL2() else v * angle / v[:turns].norm()

    def there_and_back(x):
        return group.log(group.exp(x))

    assert (torch.autograd.functional.jacobian(there_and_back, v) - torch.eye(group.dim)).abs().max() < 1e-14
    for i in range(group.dim):
        assert torch.autograd.functional.hessian(lambda x, i=i: there_and_back(x)[i], v).abs().max() < 1e-13


@pytest.mark.parametrize("group", [*CLOSED, SO(4), SE(4), GL(2)], ids=str)
def test_exp_and_log_pass_gradcheck_at_generic_points(group, generator):
    v = (0.4 * torch.randn(2, group.dim, generator=generator, dtype=torch.float64)).requires_grad_()
    far = group.exp(0.3 * torch.randn(group.dim, generator=generator, dtype=torch.float64))
    assert gradcheck(group.exp, v)
    assert gradcheck(lambda x: group.log(group.compose(far, group.exp(x))), v)


@closed
def test_exp_and_log_pass_gradgradcheck_at_generic_points(group, generator):
    v = (0.8 * torch.randn(1, group.dim, generator=generator, dtype=torch.float64)).requires_grad_()
    assert gradgradcheck(group.exp, v)
    assert gradgradcheck(lambda x: group.log(group.exp(x)).square(), v)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("group", [*CLOSED, GL(2), SO(4)], ids=str)
def test_gradients_are_finite_at_coincident_elements(group, dtype, generator):
    """The case of a lifted pair (i, i), and of two points in the same place."""
    a = group.sample(4, generator=generator, dtype=dtype).requires_grad_()
    pair = group.log(group.compose(group.inverse(a), a))
    total = pair.square().sum() + pair.sum() + group.distance(a, a).sum()
    (slope,) = torch.autograd.grad(total, a, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), a)
    assert slope.isfinite().all()
    assert curvature.isfinite().all()


@pytest.mark.parametrize("angle", [pi, pi - 1e-9, pi - 1e-4])
def test_the_gradient_of_log_is_finite_next_to_pi(angle, generator):
    axis = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    g = SO(3).exp(angle * axis / axis.norm(dim=-1, keepdim=True)).requires_grad_()
    SO(3).log(g).sum().backward()
    assert g.grad.isfinite().all()


@pytest.mark.parametrize("group", [SO(2), SO(3), SE(2), SE(3), SL2()], ids=str)
def test_pair_coordinates_are_invariant(group, generator):
    a, b, u = (group.sample(30, generator=generator, dtype=torch.float64) for _ in range(3))
    pair = group.log(group.compose(group.inverse(a), b))
    moved = group.log(group.compose(group.inverse(group.compose(u, a)), group.compose(u, b)))
    real = pair.isfinite().all(-1)
    assert real.sum() > 20
    assert (pair - moved)[real].abs().max() < 1e-10


def test_quaternion_pairs_are_invariant_with_their_sign(generator):
    a, b, u = (SO(3).sample(200, generator=generator, dtype=torch.float64) for _ in range(3))
    pair, moved = quaternion_from_matrix(a.mT @ b), quaternion_from_matrix((u @ a).mT @ (u @ b))
    assert (pair - moved).abs().max() < 1e-12
    assert (pair[:, 0] >= 0).all()
    assert (matrix_from_quaternion(pair) - a.mT @ b).abs().max() < 1e-14


def test_quaternions_are_exact_in_each_of_the_four_branches():
    q = torch.tensor([[0.9, 0.1, -0.3, 0.2], [0.1, 0.9, 0.3, -0.2], [0.1, -0.3, 0.9, 0.2], [0.1, 0.2, 0.3, -0.9]], dtype=torch.float64)
    q = q / q.norm(dim=-1, keepdim=True)
    assert (quaternion_from_matrix(matrix_from_quaternion(q)) - q).abs().max() < 1e-15


@pytest.mark.parametrize("group", [O(1), O(2), O(3), E(2), E(3)], ids=str)
def test_log_of_a_reflection_is_nan_and_of_a_rotation_is_not(group):
    reflection, one = group.discrete_generators(), group.identity(1, dtype=torch.float64)
    assert group.log(reflection).isnan().all()
    assert (group.log(one) == 0).all()


@pytest.mark.parametrize("group", [*CLOSED, SO(4), SE(4), GL(2)], ids=str)
def test_vmap_and_forward_derivatives_agree_with_batches(group, generator):
    v, tangent = (0.5 * torch.randn(3, group.dim, generator=generator, dtype=torch.float64) for _ in range(2))
    g = group.exp(v)
    assert torch.equal(torch.func.vmap(group.exp)(v), g) or (torch.func.vmap(group.exp)(v) - g).abs().max() < 1e-14
    assert (torch.func.vmap(group.log)(g) - group.log(g)).abs().max() < 1e-13
    _, pushed = torch.func.jvp(lambda x: group.log(group.exp(x)), (v,), (tangent,))
    assert (pushed - tangent).abs().max() < 1e-10


@pytest.mark.compile
@pytest.mark.parametrize("group", [*CLOSED, SO(4), GL(2)], ids=str)
def test_exp_and_log_compile_into_one_graph(group, generator):
    v = (0.5 * torch.randn(3, group.dim, generator=generator, dtype=torch.float64)).requires_grad_()

    def there_and_back(x):
        g = group.exp(x)
        return group.log(g), group.distance(g, group.identity(dtype=x.dtype))

    torch.compiler.reset()
    compiled = torch.compile(there_and_back, fullgraph=True, backend="aot_eager")
    ours, eager = compiled(v), there_and_back(v)
    for a, b in zip(ours, eager, strict=True):
        assert (a - b).abs().max() < 1e-12
    (slope,) = torch.autograd.grad(sum(x.sum() for x in ours), v)
    (expected,) = torch.autograd.grad(sum(x.sum() for x in eager), v)
    assert (slope - expected).abs().max() < 1e-12
