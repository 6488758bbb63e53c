"""Couplings of the real irreps of SO(3): Wigner 3j symbols, and their real form in the component order of `harmonics`.

Racah's formula (Edmonds, Angular Momentum in Quantum Mechanics, 1957, equation 3.6.10) in whole numbers, then the change of
basis from complex to real spherical harmonics. Nothing depends on a linear algebra library: the signs are the same on every machine.

Axes: a = -l..l, b = -k..k, c = -J..J.
"""

from __future__ import annotations

from math import comb, factorial, pi, prod, sqrt

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.representations.tables import Array, Table


def wigner_3j(l: int, k: int, j: int, m_l: int, m_k: int, m_j: int) -> float:
    """The Wigner 3j symbol (l k j; m_l m_k m_j), correctly rounded up to one square root."""
    if m_l + m_k + m_j or not abs(l - k) <= j <= l + k or abs(m_l) > l or abs(m_k) > k or abs(m_j) > j:
        return 0.0
    a, b, c = l + k - j, l - k + j, k + j - l
    low, high = max(0, k - j - m_l, l - j + m_k), min(a, l - m_l, k + m_k)
    total = sum((-1) ** (t % 2) * comb(a, t) * comb(b, l - m_l - t) * comb(c, k + m_k - t) for t in range(low, high + 1))
    weights = prod(factorial(degree + m) * factorial(degree - m) for degree, m in ((l, m_l), (k, m_k), (j, m_j)))
    size = sqrt(total**2 * weights / (factorial(a) * factorial(b) * factorial(c) * factorial(l + k + j + 1)))
    return -size if (total < 0) != ((l - k - m_j) % 2 == 1) else size


def complex_from_real(l: int) -> NDArray[np.complex128]:
    """Rows express the complex harmonics of degree l (Condon-Shortley phase) in the real ones: Y^m = sum_a V[m, a] Y_a."""
    v = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    v[l, l] = 1.0
    for m in range(1, l + 1):
        v[l + m, l + m] = (-1) ** m / sqrt(2)
        v[l + m, l - m] = (-1) ** m * 1j / sqrt(2)
        v[l - m, l + m] = 1 / sqrt(2)
        v[l - m, l - m] = -1j / sqrt(2)
    return v


def _complex_coupling(l: int, k: int, j: int) -> NDArray[np.complex128]:
    table = np.zeros((2 * l + 1, 2 * k + 1, 2 * j + 1), dtype=np.complex128)
    for m_l in range(-l, l + 1):
        for m_k in range(max(-k, -j - m_l), min(k, j - m_l) + 1):
            table[l + m_l, k + m_k, j - m_l - m_k] = wigner_3j(l, k, j, m_l, m_k, -m_l - m_k)
    return table


@Table
def couplings(l: int, k: int, j: int) -> Array:
    """See `coupling`."""
    if min(l, k, j) < 0 or not abs(l - k) <= j <= l + k:
        raise RepresentationError(f"degrees {l}, {k}, {j} do not couple: the third must lie in |{l} - {k}|..{l} + {k}")
    w = np.einsum(
        "mnp,ma,nb,pc->abc", _complex_coupling(l, k, j), complex_from_real(l), complex_from_real(k), complex_from_real(j), optimize=True
    )
    real = w.imag if (l + k + j) % 2 else w.real  # the other part is zero
    first = real[l, k, j] if (l + k + j) % 2 == 0 else real[l + 1, k - 1, j]
    return np.asarray(real / np.linalg.norm(real) * np.sign(first))


def coupling(
    l: int,
    k: int,
    j: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "a b c"]:
    """The invariant tensor w with w(D^l x, D^k y, D^j z) = w(x, y, z), of unit Frobenius norm.

    Its sign is fixed by the value on the polar axis: entry (0, 0, 0) is positive where l + k + j is even, else entry (+1, -1, 0). The first
    vanishes for no triple of even sum; the second is nonzero at least for l, k <= 10 (tested).

    Raises:
        RepresentationError: j is outside |l - k|..l + k.
    """
    return couplings.like(torch.empty(0, dtype=dtype, device=device), l, k, j)


@Table
def so2_tables(l: int, k: int) -> Array:
    """See `so2_from_radial`."""
    least, columns = min(l, k), []
    for j in range(abs(l - k), l + k + 1):
        axis = couplings(l, k, j)[:, :, j] * sqrt((2 * j + 1) / (4 * pi))
        columns.append([axis[l + abs(slot), k + slot] for slot in range(-least, least + 1)])
    return np.array(columns).T


def so2_from_radial(l: int, k: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "s j"]:
    """The matrix T with h = T phi: from radial weights phi_J, J = |l-k|..l+k, to kernel entries in the frame of the edge.

    In a frame whose polar axis is the edge, the kernel sum_J phi_J w[:, :, c] Y_Jc is nonzero only where |m_out| = |m_in| = m:
    B[0, 0] = h_0, B[m, m] = B[-m, -m] = h_m, B[m, -m] = -B[-m, m] = h_{-m}. Slots are ordered h_{-min(l,k)} .. h_{+min(l,k)}.

    Passaro and Zitnick: Reducing SO(3) convolutions to SO(2) (2023); up to a sign of each J, T_mJ is
    (-1)^m sqrt((2J+1) / 4 pi) (l k J; m -m 0).
    """
    return so2_tables.like(torch.empty(0, dtype=dtype), l, k)


@Table
def radial_tables(l: int, k: int) -> Array:
    """See `radial_from_so2`."""
    table = so2_tables(l, k)
    weights = np.full(len(table), 8 * pi)
    weights[len(table) // 2] = 4 * pi
    return np.asarray(table.T * weights)


def radial_from_so2(l: int, k: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "j s"]:
    """The inverse of `so2_from_radial`: 4 pi T^T diag(1 at slot 0, else 2), by the orthogonality of 3j symbols."""
    return radial_tables.like(torch.empty(0, dtype=dtype), l, k)
