"""Rotation matrices of R^n as plain functions: exponential, logarithm, Haar draws and sections.

The coordinates of the Lie algebra are the angle for n = 2, axis times angle for n = 3, and the planes (i, j), i < j, in order for n > 3.
For n <= 3 exponential and logarithm are closed forms; above, the matrix exponential and the inverse scaling and squaring of `matrix_log`.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.groups.matrix_log import matrix_log
from torsor.groups.numerics import normal, uniform, unit
from torsor.groups.rotation3 import exp_rotation, log_rotation, matrix_from_quaternion


def planes(n: int) -> tuple[tuple[int, int], ...]:
    """The planes (i, j) in which the basis rotations turn axis i towards axis j."""
    if n == 3:
        return ((1, 2), (2, 0), (0, 1))
    return tuple((i, j) for i in range(n) for j in range(i + 1, n))


def skew_basis(n: int, dtype: torch.dtype, device: torch.device | str | None = None) -> Float[Tensor, "dim n n"]:
    """Basis of so(n): the matrix of plane (i, j) has 1 at [j, i] and -1 at [i, j]."""
    basis = torch.zeros(n * (n - 1) // 2, n, n, dtype=dtype, device=device)
    for matrix, (i, j) in zip(basis, planes(n), strict=True):
        matrix[j, i], matrix[i, j] = 1, -1
    return basis


def exp_special(v: Float[Tensor, "*batch dim"], n: int) -> Float[Tensor, "*batch n n"]:
    """Exponential of so(n) coordinates."""
    if n == 2:
        c, s = v[..., 0].cos(), v[..., 0].sin()
        return torch.stack((torch.stack((c, -s), dim=-1), torch.stack((s, c), dim=-1)), dim=-2)
    if n == 3:
        return exp_rotation(v)
    rotation: Tensor = torch.linalg.matrix_exp(torch.einsum("...k, kij -> ...ij", v, skew_basis(n, v.dtype, v.device)))
    return rotation


def log_special(r: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch dim"]:
    """The so(n) coordinates of rotation matrices."""
    n = r.shape[-1]
    if n == 1:
        return r.new_zeros(*r.shape[:-2], 0)
    if n == 2:
        return torch.atan2(r[..., 1, 0] - r[..., 0, 1], r[..., 0, 0] + r[..., 1, 1]).unsqueeze(-1)
    if n == 3:
        return log_rotation(r)
    log = matrix_log(r)
    return torch.stack([(log[..., j, i] - log[..., i, j]) / 2 for i, j in planes(n)], dim=-1)


def haar(shape: tuple[int, ...], n: int, generator: torch.Generator | None, device: torch.device | str | None = None) -> Tensor:
    """Haar rotations `[*shape, n, n]` in float64: uniform angle, normalised normal quaternion, or sign-fixed QR of a normal matrix."""
    if n <= 1:
        return torch.ones(*shape, n, n, dtype=torch.float64, device=device if generator is None else generator.device)
    if n == 2:
        return exp_special(2 * torch.pi * uniform((*shape, 1), generator, device), 2)
    if n == 3:
        return matrix_from_quaternion(unit(normal((*shape, 4), generator, device)))
    q = orthogonal_from_normal(normal((*shape, n, n), generator, device))
    return reflect(q, torch.linalg.det(q).sign())


def orthogonal_from_normal(x: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Haar elements of O(n) from normal numbers: the Q of x = QR with a positive diagonal of R; it moves with x from the left."""
    q, r = torch.linalg.qr(x)
    turned: Tensor = q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q.dtype).unsqueeze(-2)
    return turned


def section(direction: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
    """A rotation that takes the first basis vector e to the unit vector `direction`, with bounded derivatives (for n = 1, the sign).

    The least rotation from e where the direction lies on its side, else the least rotation from -e after a half turn.
    """
    n = direction.shape[-1]
    if n == 1:
        return direction.unsqueeze(-1)
    first = torch.eye(n, dtype=direction.dtype, device=direction.device)[0]
    side = torch.where(direction[..., :1] < 0, -1.0, 1.0).to(direction.dtype)
    start = side * first
    wedge = direction.unsqueeze(-1) * start.unsqueeze(-2)
    wedge = wedge - wedge.mT
    eye = torch.eye(n, dtype=direction.dtype, device=direction.device)
    least = eye + wedge + wedge @ wedge / (1 + (direction * start).sum(-1))[..., None, None]
    half_turn = torch.cat((side, side, torch.ones_like(direction[..., 2:])), dim=-1)
    return least * half_turn.unsqueeze(-2)


def reflect(matrix: Float[Tensor, "*batch n n"], sign: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch n n"]:
    """The matrix times diag(sign, 1, ..., 1)."""
    return torch.cat((matrix[..., :1] * sign[..., None, None], matrix[..., 1:]), dim=-1)


def unless_reflected(matrix: Float[Tensor, "*batch n n"], log: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """The logarithm, and NaN where the determinant is negative: a reflection has none."""
    return torch.where(torch.linalg.det(matrix.detach()).unsqueeze(-1) > 0, log, torch.full_like(log, torch.nan))


def extend(inner: Float[Tensor, "*batch m m"]) -> Float[Tensor, "*batch n n"]:
    """The block diagonal matrix diag(1, inner): a rotation that leaves the first axis alone."""
    corner = torch.zeros(inner.shape[-1] + 1, inner.shape[-1] + 1, dtype=inner.dtype, device=inner.device)
    corner[0, 0] = 1
    return pad(inner, (1, 0, 1, 0)) + corner


def half_turns(shape: tuple[int, ...], n: int, generator: torch.Generator | None, device: torch.device | str | None = None) -> Tensor:
    """Rotations by pi in random planes, `[*shape, n, n]` in float64, n >= 2."""
    frame = haar(shape, n, generator, device)
    return torch.cat((-frame[..., :2], frame[..., 2:]), dim=-1) @ frame.mT


def quarter_turns(shape: tuple[int, ...], n: int, generator: torch.Generator | None, device: torch.device | str | None = None) -> Tensor:
    """Rotations by pi / 2 in random coordinate planes, with entries 0, 1 and -1, `[*shape, n, n]` in float64, n >= 2."""
    drawn = uniform(shape, generator, device)
    basis = skew_basis(n, torch.float64, drawn.device)
    k = basis[(drawn * len(basis)).long()]
    return torch.eye(n, dtype=torch.float64, device=k.device) + k + k @ k
