"""From d vectors of R^d to an orthogonal matrix that turns with them: Gram-Schmidt columns, or the polar factor.

Kim et al.: Learning Probabilistic Symmetrization (2023), for Gram-Schmidt. Both maps send h V to h Q for orthogonal h. Where the vectors do
not span space they are completed by others, which should turn with them: without noise for it, a completion is arbitrary.

Axes: d dimension of space, r rows, m candidates.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.groups.special_orthogonal import reflect, skew_basis
from torsor.representations.precision import precise

Method = Literal["gram-schmidt", "polar"]


def orthogonal_factor(
    vectors: Float[Tensor, "*batch d d"],
    method: Method = "gram-schmidt",
    proper: bool = False,
    completion: Float[Tensor, "*batch m d"] | None = None,
) -> Float[Tensor, "*batch d d"]:
    """An orthogonal matrix Q of d vectors that turns as they do; in single precision at least.

    Args:
        vectors: the columns of a matrix V.
        method: "gram-schmidt" keeps the direction of the first column, then that of the plane of the first two, and so on; "polar" gives
            the orthogonal matrix nearest to V, which treats the columns alike and has the better conditioned derivative.
        proper: whether the determinant is to be 1. Gram-Schmidt then turns round the first column, and the polar factor the direction of
            the smallest singular value, where it is -1.
        completion: candidates for columns that the vectors leave open, as rows. The unit vectors, which do not turn, are taken for those
            that the candidates leave open too, and where none are given.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    if completion is None:
        completion = vectors.new_zeros(vectors.shape)
    with precise(vectors):
        vectors = _scaled(vectors)
        factor = gram_schmidt(vectors, completion.to(vectors.dtype))
        if proper:
            factor = reflect(factor, torch.linalg.det(factor.detach()).sign())
        return factor if method == "gram-schmidt" else polar(vectors, factor, proper)


def gram_schmidt(vectors: Float[Tensor, "*batch d d"], completion: Float[Tensor, "*batch m d"]) -> Float[Tensor, "*batch d d"]:
    """The columns made orthonormal one after another; one that is none but for rounding is replaced by a candidate, or a unit vector."""
    smallest = _threshold(vectors) ** 2
    fixed = torch.eye(vectors.shape[-1], dtype=vectors.dtype, device=vectors.device).expand(vectors.shape)
    columns: list[Tensor] = []
    for j in range(vectors.shape[-1]):
        column = _apart(vectors[..., None, :, j], columns)
        for rows in (completion, fixed):
            short = column.detach().square().sum(-1, keepdim=True) <= smallest
            column = torch.where(short, _longest(_apart(rows, columns)), column)
        # once more: what is left of a column has lost digits, and with them its right angles
        columns.append(_unit(_apart(_unit(column), columns)).squeeze(-2))
    return torch.stack(columns, -1)


def polar(vectors: Float[Tensor, "*batch d d"], fallback: Float[Tensor, "*batch d d"], proper: bool) -> Float[Tensor, "*batch d d"]:
    """The orthogonal (or proper orthogonal) matrix Q nearest to V, where Q^T V is symmetric; `fallback` where it is not unique.

    The value is that of the singular value decomposition, whose own derivatives are singular where singular values are equal. Those of Q
    are not: two Newton steps from the solution for Q^T V = V^T Q, which change nothing but rounding, carry the first three of them.

    Args:
        vectors: columns of V, scaled to order one.
        fallback: an orthogonal matrix, taken where two singular values sum to zero (or one is zero, where Q need not be proper).
        proper: whether det Q is to be 1; the direction of the smallest singular value is then turned round where need be.
    """
    left, singular, right = torch.linalg.svd(vectors.detach())
    if proper:
        sign = torch.linalg.det(left @ right).sign().unsqueeze(-1)
        flip = torch.cat((torch.ones_like(singular[..., 1:]), sign), -1)
        left, singular = left * flip.unsqueeze(-2), singular * flip
    least = singular[..., -1] + (singular[..., -2] if proper and singular.shape[-1] > 1 else 0)
    unique: Bool[Tensor, "*batch 1 1"] = (least > _threshold(vectors))[..., None, None]
    factor = torch.where(unique, left @ right, fallback.detach())
    target = torch.where(unique, vectors, fallback)
    for _ in range(2):
        factor = _newton_step(factor, target)
    return factor


def _newton_step(factor: Tensor, vectors: Tensor) -> Tensor:
    """From Q to Q (1 - W / 2)^-1 (1 + W / 2) with the skew W for which W H + H W = Q^T V - V^T Q, H the symmetric part of Q^T V."""
    d = factor.shape[-1]
    if d == 1:
        return factor
    basis, eye = skew_basis(d, factor.dtype, factor.device), torch.eye(d, dtype=factor.dtype, device=factor.device)
    inner = factor.mT @ vectors
    stretch = (inner + inner.mT) / 2
    system = 2 * torch.einsum("lij, kim, ...mj -> ...lk", basis, basis, stretch)
    residual = torch.einsum("lij, ...ij -> ...l", basis, inner - inner.mT)
    half = torch.einsum("...k, kij -> ...ij", torch.linalg.solve(system, residual), basis) / 2
    turned: Tensor = factor @ torch.linalg.solve(eye - half, eye + half)
    return turned


def _apart(rows: Float[Tensor, "*batch r d"], columns: list[Tensor]) -> Float[Tensor, "*batch r d"]:
    """The rows without their parts along orthonormal vectors `[*batch, d]`."""
    for column in columns:
        direction = column.unsqueeze(-2)
        rows = rows - (rows * direction).sum(-1, keepdim=True) * direction
    return rows


def _longest(rows: Float[Tensor, "*batch r d"]) -> Float[Tensor, "*batch 1 d"]:
    """The longest of the rows."""
    longest = rows.detach().square().sum(-1).argmax(-1)
    return rows.gather(-2, longest[..., None, None].expand(*longest.shape, 1, rows.shape[-1]))


def _unit(rows: Float[Tensor, "*batch r d"]) -> Float[Tensor, "*batch r d"]:
    """Rows of length one; none of them is zero."""
    return rows * rows.square().sum(-1, keepdim=True).rsqrt()


def _scaled(vectors: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Divided by the largest entry, so that squares neither over- nor underflow; the factor does not depend on it, so it is held fixed."""
    largest = vectors.detach().abs().amax((-2, -1), keepdim=True)
    return vectors / torch.where(largest > 0, largest, 1)


def _threshold(vectors: Tensor) -> float:
    """Below it, a length next to others of order one is the rounding of zero."""
    return float(torch.finfo(vectors.dtype).eps ** 0.75)
