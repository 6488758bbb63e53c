from math import comb

import pytest
import torch
from numpy.polynomial import polynomial
from torch import Tensor

from torsor import groups
from torsor.representations import BinaryForms, Vectors
from torsor.representations.binary_forms import substitution_matrix


def monomials(degree: int, z: Tensor) -> Tensor:
    return torch.stack([z[..., 0] ** (degree - i) * z[..., 1] ** i for i in range(degree + 1)], -1)


@pytest.mark.parametrize("degree", range(13))
def test_moved_form_has_the_value_of_the_form_at_the_moved_back_point(degree, generator):
    group = groups.SL2()
    a = group.sample(4, generator=generator, dtype=torch.float64)
    z, c = torch.randn(4, 2, generator=generator, dtype=torch.float64), torch.randn(4, degree + 1, generator=generator, dtype=torch.float64)
    moved = BinaryForms(degree).apply(group, a, c)
    before = (c * monomials(degree, z)).sum(-1)
    after = (moved * monomials(degree, (a @ z.unsqueeze(-1)).squeeze(-1))).sum(-1)
    assert (after - before).abs().max() < 1e-11 * (moved.abs() * monomials(degree, (a @ z.unsqueeze(-1)).squeeze(-1)).abs()).sum(-1).max()


@pytest.mark.parametrize("degree", [1, 4, 9])
def test_rows_are_products_of_powers_of_linear_polynomials(degree, generator):
    a = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    rows = substitution_matrix(degree, a)
    for i in range(degree + 1):
        expected = polynomial.polymul(polynomial.polypow(a[0].numpy(), degree - i), polynomial.polypow(a[1].numpy(), i))
        torch.testing.assert_close(rows[i], torch.from_numpy(expected), rtol=1e-13, atol=1e-13)


def test_determinant_is_one_on_sl2(generator):
    a = groups.SL2().sample(5, generator=generator, dtype=torch.float64)
    assert (torch.linalg.det(BinaryForms(6).matrix(a)) - 1).abs().max() < 1e-10


def test_one_parameter_subgroups_have_their_closed_forms():
    t = 0.3
    shear = substitution_matrix(5, torch.tensor([[1.0, 0.0], [t, 1.0]], dtype=torch.float64))
    binomial = torch.tensor([[comb(k, j) * t ** (k - j) if j <= k else 0.0 for j in range(6)] for k in range(6)], dtype=torch.float64)
    torch.testing.assert_close(shear, binomial, rtol=0, atol=1e-15)
    squeeze = substitution_matrix(5, torch.tensor([[t, 0.0], [0.0, 1 / t]], dtype=torch.float64))
    torch.testing.assert_close(
        squeeze, torch.diag(torch.tensor([t ** (5 - 2 * i) for i in range(6)], dtype=torch.float64)), rtol=1e-13, atol=0
    )


def test_degree_one_is_the_dual_of_vectors(generator):
    group = groups.GL(2)
    a = group.sample(5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(BinaryForms(1).on(group).matrix(a), Vectors().dual().on(group).matrix(a), rtol=1e-12, atol=1e-12)
