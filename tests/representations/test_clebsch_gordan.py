from math import pi, sqrt

import pytest
import torch
from e3nn import o3

from torsor.errors import RepresentationError
from torsor.representations.clebsch_gordan import coupling, couplings, radial_from_so2, so2_from_radial, wigner_3j
from torsor.representations.harmonics import spherical_harmonics
from torsor.representations.wigner import edge_frames, wigner_d

TRIPLES = [(l, k, j) for l in range(5) for k in range(5) for j in range(abs(l - k), l + k + 1)]


def rotations(count: int, generator: torch.Generator) -> torch.Tensor:
    q = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)).Q
    return q * torch.linalg.det(q)[:, None, None]


def test_worked_values_of_3j_symbols():
    assert wigner_3j(1, 1, 0, 0, 0, 0) == pytest.approx(-1 / sqrt(3), abs=2e-16)
    assert wigner_3j(2, 2, 2, 0, 0, 0) == pytest.approx(-sqrt(2 / 35), abs=2e-16)
    assert wigner_3j(2, 1, 3, 2, 1, -3) == pytest.approx(1 / sqrt(7), abs=2e-16)
    assert wigner_3j(1, 1, 1, 0, 0, 0) == 0.0
    assert wigner_3j(1, 1, 3, 0, 0, 0) == 0.0
    assert wigner_3j(1, 1, 2, 1, 1, 0) == 0.0


def test_3j_symbols_are_orthogonal_up_to_degree_10():
    for j in range(3, 8):
        total = sum(wigner_3j(10, 7, j, m, 2 - m, -2) ** 2 for m in range(-5, 10))
        assert total == pytest.approx(1 / (2 * j + 1), rel=1e-14)


@pytest.mark.parametrize("l", range(9))
def test_couplings_are_those_of_e3nn_up_to_their_sign(l):
    for k in range(9):
        for j in range(abs(l - k), min(8, l + k) + 1):
            ours, theirs = coupling(l, k, j), o3.wigner_3j(l, k, j, dtype=torch.float64)
            sign = (ours * theirs).sum().sign()
            torch.testing.assert_close(ours * sign, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("l", "k", "j"), TRIPLES)
def test_coupling_is_invariant_and_orthogonal(l, k, j, generator):
    w, r = coupling(l, k, j), rotations(4, generator)
    turned = torch.einsum("abc,nai,nbj,nck->nijk", w, wigner_d(l, r), wigner_d(k, r), wigner_d(j, r))
    assert (turned - w).abs().max() < 1e-13
    gram = torch.einsum("abc,abd->cd", w, w)
    assert (gram - torch.eye(2 * j + 1, dtype=w.dtype) / (2 * j + 1)).abs().max() < 1e-15


def test_sign_rule_holds_for_all_degrees_up_to_10():
    for l in range(11):
        for k in range(l + 1):
            for j in range(l - k, min(l + k, 10) + 1):
                w = couplings(l, k, j)
                assert (w[l, k, j] if (l + k + j) % 2 == 0 else w[l + 1, k - 1, j]) > 1e-5


def test_degrees_that_do_not_couple_are_refused():
    with pytest.raises(RepresentationError, match=r"1, 1, 3"):
        coupling(1, 1, 3)


# sqrt(4 pi) T, slots -min..min by row, J = |l-k|..l+k by column
TABLES = {
    (1, 1): [[0, 0.707107, 0], [0.577350, 0, 0.816497], [0.577350, 0, -0.408248]],
    (2, 1): [[0, 0.707107, 0], [0.632456, 0, 0.774597], [0.547723, 0, -0.447214]],
    (1, 2): [[0, 0.707107, 0], [0.632456, 0, 0.774597], [0.547723, 0, -0.447214]],
    (2, 2): [
        [0, 0.632456, 0, -0.316228, 0],
        [0, 0.316228, 0, 0.632456, 0],
        [0.447214, 0, 0.534522, 0, 0.717137],
        [0.447214, 0, 0.267261, 0, -0.478091],
        [0.447214, 0, -0.534522, 0, 0.119523],
    ],
    (0, 3): [[1.0]],
    (4, 0): [[1.0]],
}


@pytest.mark.parametrize(("l", "k"), TABLES)
def test_so2_table_has_the_published_values(l, k):
    expected = torch.tensor(TABLES[l, k], dtype=torch.float64)
    torch.testing.assert_close(so2_from_radial(l, k) * sqrt(4 * pi), expected, rtol=0, atol=6e-7)


@pytest.mark.parametrize("l", range(7))
def test_so2_table_is_made_of_3j_symbols(l):
    for k in range(7):
        least = min(l, k)
        for column, j in enumerate(range(abs(l - k), l + k + 1)):
            values = [(-1) ** m * sqrt((2 * j + 1) / (4 * pi)) * wigner_3j(l, k, j, m, -m, 0) for m in range(least + 1)]
            expected = torch.zeros(2 * least + 1, dtype=torch.float64)
            if (l + k + j) % 2 == 0:
                expected[least:] = torch.tensor(values, dtype=torch.float64)
            else:
                expected[:least] = torch.tensor(values[:0:-1], dtype=torch.float64)
            first = expected[least] if (l + k + j) % 2 == 0 else expected[least - 1]
            torch.testing.assert_close(so2_from_radial(l, k)[:, column], expected * first.sign(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("l", range(9))
def test_so2_table_times_its_inverse_is_one(l):
    for k in range(9):
        assert (radial_from_so2(l, k) @ so2_from_radial(l, k) - torch.eye(2 * min(l, k) + 1)).abs().max() < 1e-14


def frame_kernel(l: int, k: int, h: torch.Tensor) -> torch.Tensor:
    b = torch.zeros(2 * l + 1, 2 * k + 1, dtype=torch.float64)
    least = min(l, k)
    b[l, k] = h[least]
    for m in range(1, least + 1):
        b[l + m, k + m] = b[l - m, k - m] = h[least + m]
        b[l + m, k - m], b[l - m, k + m] = h[least - m], -h[least - m]
    return b


@pytest.mark.parametrize("l", range(7))
def test_kernel_in_the_edge_frame_equals_the_clebsch_gordan_kernel(l, generator):
    u = torch.nn.functional.normalize(torch.randn(6, 3, generator=generator, dtype=torch.float64), dim=-1)
    u[0], u[1] = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, -1.0, 0.0])
    y, frames = spherical_harmonics(12, u, True, "integral"), edge_frames(6, u)
    for k in range(7):
        phi = torch.randn(2 * min(l, k) + 1, generator=generator, dtype=torch.float64)
        direct = sum(
            phi[i] * torch.einsum("abc,nc->nab", coupling(l, k, j), y[:, j**2 : (j + 1) ** 2])
            for i, j in enumerate(range(abs(l - k), l + k + 1))
        )
        framed = frames[l] @ frame_kernel(l, k, so2_from_radial(l, k) @ phi) @ frames[k].mT
        assert (direct - framed).abs().max() < 1e-12
