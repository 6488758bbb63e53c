"""The principal logarithm of any invertible matrix, by inverse scaling and squaring.

Higham: Functions of Matrices (2008), section 6.3 (product form of the Denman-Beavers iteration) and section 11.5. The number of
steps is fixed, so the whole is one traced graph, batched and differentiable.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.groups.numerics import safe_norm

ROOTS = 5
# the first root must bring in eigenvalues next to the negative axis (each step halves the distance), later ones start near 1
ITERATIONS = (24, 10, 9, 8, 8)
ATANH_TERMS = 13
RESIDUAL = 1e-8
"""Largest relative error of exp(log a) against a; beyond it there is no logarithm."""


def square_root(a: Float[Tensor, "*batch n n"], iterations: int) -> Float[Tensor, "*batch n n"]:
    """Principal square root: X <- X (I + M^-1) / 2, M <- (I + (M + M^-1) / 2) / 2, from X = M = a."""
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    root, product = a, a
    for _ in range(iterations):
        inverse = torch.linalg.inv_ex(product).inverse
        root = root @ (eye + inverse) / 2
        product = (eye + (product + inverse) / 2) / 2
    return root


def log_near_identity(a: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The series log a = 2 artanh z with z = (a - I)(a + I)^-1."""
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    z = (a - eye) @ torch.linalg.inv_ex(a + eye).inverse
    squared, value = z @ z, torch.zeros_like(z)
    for k in reversed(range(ATANH_TERMS)):
        value = eye / (2 * k + 1) + squared @ value
    log: Tensor = 2 * z @ value
    return log


def matrix_log(a: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Principal logarithm; NaN where there is no real one (an eigenvalue that is zero or negative).

    Computed in float64 whatever the dtype, for next to the negative axis the roots amplify rounding. The relative error is then about 1e-13
    for condition numbers up to 1e4.
    """
    root = exact = a.double()
    for iterations in ITERATIONS:
        root = square_root(root, iterations)
    log = 2**ROOTS * log_near_identity(root)
    with torch.no_grad():
        back = torch.linalg.matrix_exp(torch.nan_to_num(log.detach(), 0.0, 0.0, 0.0))
        good = safe_norm((back - exact).flatten(-2)) <= RESIDUAL * safe_norm(exact.flatten(-2))
    return torch.where(good[..., None, None], log, torch.full_like(log, torch.nan)).to(a.dtype)
