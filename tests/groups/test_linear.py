"""SL2, GL(n) and the principal logarithm of any matrix."""

from math import pi

import numpy as np
import pytest
import scipy.linalg
import torch

from torsor.groups import GL, SL2, SO
from torsor.groups.matrix_log import matrix_log, square_root


@pytest.mark.parametrize("group", [SL2(), GL(2), GL(3)], ids=str)
def test_squeezes_have_singular_values_from_ten_to_a_tenth(group, generator):
    values = torch.linalg.svdvals(group.probes(5, generator, torch.float64)["squeeze"])
    assert (values[:, 0] - 10).abs().max() < 1e-13
    assert (values[:, -1] - 0.1).abs().max() < 1e-13


def test_draws_of_sl2_have_determinant_one_and_log_normal_stretch(generator):
    a = SL2().sample(4000, generator=generator, dtype=torch.float64)
    assert (torch.linalg.det(a) - 1).abs().max() < 1e-13
    stretch = torch.linalg.svdvals(a)[:, 0].log()
    assert abs(stretch.square().mean() - 0.25) < 4 * 0.25 * 2**0.5 / 4000**0.5


def test_draws_of_gl_have_both_orientations(generator):
    determinants = torch.linalg.det(GL(3).sample(1000, generator=generator, dtype=torch.float64))
    assert 430 < (determinants > 0).sum() < 570
    assert (determinants.abs().log().square().mean() / (3 * 0.25) - 1).abs() < 0.2


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-6, 1e-3, 0.3, 0.35, 0.999, 1.001, 3.0, 8.0])
@pytest.mark.parametrize("kind", ["hyperbolic", "elliptic", "parabolic"])
def test_log_undoes_exp_on_each_kind_of_sl2_element(size, kind):
    turn = min(size, pi - 1e-3)
    v = {"hyperbolic": [size, 0.0, 0.0], "elliptic": [0.0, -turn, turn], "parabolic": [0.0, size, 0.0]}[kind]
    v = torch.tensor([v], dtype=torch.float64)
    assert (SL2().log(SL2().exp(v)) - v).abs().max() < 1e-10


def test_sl2_elements_of_trace_below_minus_two_have_no_logarithm():
    a = torch.tensor([[[-2.0, 0.0], [0.0, -0.5]], [[-1.0, 0.0], [0.0, -1.0]], [[2.0, 0.0], [0.0, 0.5]]], dtype=torch.float64)
    assert SL2().log(a).isnan().all(-1).tolist() == [True, True, False]


def test_gradients_of_sl2_exp_are_finite_far_out():
    """The branches that are not taken must not overflow."""
    v = torch.tensor([[0.0, -500.0, 500.0], [20.0, 0.0, 0.0], [0.0, 1e-200, 1e-200]], requires_grad=True)
    SL2().exp(v).sum().backward()
    assert v.grad.isfinite().all()


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_matrix_logarithm_is_scipys(n, generator):
    algebra = torch.randn(20, n, n, generator=generator, dtype=torch.float64)
    matrices = torch.linalg.matrix_exp(algebra)
    expected = np.stack([scipy.linalg.logm(matrix).real for matrix in matrices.numpy()])
    assert (matrix_log(matrices) - torch.from_numpy(expected)).abs().max() < 1e-10


@pytest.mark.parametrize("n", [4, 5, 6])
@pytest.mark.parametrize("angle", [0.0, 1e-12, 0.5, 3.0, pi - 1e-2, pi - 1e-3])
def test_rotations_of_many_dimensions_have_logarithms_up_to_pi(n, angle, generator):
    v = torch.randn(6, SO(n).dim, generator=generator, dtype=torch.float64)
    largest = torch.linalg.matrix_norm(torch.einsum("bk, kij -> bij", v, SO(n).algebra()), 2)
    v = v * (angle / largest).unsqueeze(-1)
    assert (SO(n).log(SO(n).exp(v)) - v).abs().max() < 1e-10
    assert (SO(n).log(SO(n).exp(v).float()) - v).abs().max() < (1e-3 if angle > pi - 1e-2 else 1e-4)


def test_a_matrix_without_a_real_logarithm_gives_nan_and_spares_its_neighbours():
    bad = torch.diag(torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64))
    singular = torch.diag(torch.tensor([0.0, 2.0, 3.0], dtype=torch.float64))
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    good = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    log = matrix_log(torch.stack((bad, singular, turn, good)))
    assert log[:3].isnan().all()
    assert (log[3] - torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).log())).abs().max() < 1e-13


def test_the_square_root_squares_back(generator):
    a = torch.linalg.matrix_exp(torch.randn(9, 4, 4, generator=generator, dtype=torch.float64))
    root = square_root(a, 24)
    assert ((root @ root - a).abs().amax((-1, -2)) / a.abs().amax((-1, -2))).max() < 1e-12
