"""Rotations of three-dimensional space in closed form: Rodrigues' formula, quaternions, and the logarithm through them.

The logarithm never takes acos(trace): near the identity and near pi that loses half of the digits and has infinite derivatives. A
quaternion (w, x, y, z) does not.

Axes: ... batch.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.groups.numerics import cosc, cotangent_remainder, horner, sinc, sinc_remainder

ARCTAN_SERIES = tuple((-1) ** k / (2 * k + 1) for k in range(14))
ARCTAN_RADIUS = 1 / 16


def hat(w: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """The matrix W with W x = w x x (cross product)."""
    x, y, z = w.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).reshape(*w.shape, 3)


def exp_rotation(w: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Rotation about w by the angle |w|: I + sin(t)/t W + (1 - cos t)/t^2 W^2."""
    squared = w.square().sum(-1)[..., None, None]
    generator = hat(w)
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    return eye + sinc(squared) * generator + cosc(squared) * (generator @ generator)


def left_jacobian(w: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """The V of SE(3), exp(w, u) = (exp w, V u): I + (1 - cos t)/t^2 W + (t - sin t)/t^3 W^2."""
    squared = w.square().sum(-1)[..., None, None]
    generator = hat(w)
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    return eye + cosc(squared) * generator + sinc_remainder(squared) * (generator @ generator)


def left_jacobian_inverse(w: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """The inverse of V, for |w| < 2 pi: I - W/2 + (1 - (t/2) cot(t/2))/t^2 W^2."""
    squared = w.square().sum(-1)[..., None, None]
    generator = hat(w)
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    return eye - generator / 2 + cotangent_remainder(squared) * (generator @ generator)


def matrix_from_quaternion(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3 3"]:
    """Rotation matrix of a unit quaternion (w, x, y, z)."""
    w, x, y, z = q.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quaternion_from_matrix(r: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 4"]:
    """Unit quaternion (w, x, y, z) of a rotation matrix, w >= 0.

    4 q q^T is linear in the matrix; its row with the largest diagonal entry is q times the largest component, which is at least 1/2.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in r.unbind(-2))
    rows = (
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, b + d, c + g),
        (c - g, b + d, 1 - a + e - i, f + h),
        (d - b, c + g, f + h, 1 - a - e + i),
    )
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    q = outer.gather(-2, largest.expand(*outer.shape[:-2], 1, 4)).squeeze(-2)
    q = q / q.square().sum(-1, keepdim=True).sqrt()
    return torch.where(q[..., :1] < 0, -q, q)


def log_rotation(r: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:
    """Axis times angle in [0, pi]: 2 atan2(|v|, w) v / |v| for the quaternion (w, v), w >= 0; differentiable everywhere but at pi.

    At the angle pi both signs of the axis are logarithms; one of them comes out.
    """
    q = quaternion_from_matrix(r)
    w, v = q[..., :1], q[..., 1:]
    squared = v.square().sum(-1, keepdim=True)
    # arctan(x)/(x w) with x = |v|/w: its series where x is small, since there the closed form loses digits of its derivatives
    near = squared < ARCTAN_RADIUS * w.square()
    one = torch.ones_like(w)
    safe_w = torch.where(near, w, one)
    series = horner(torch.where(near, squared, torch.zeros_like(squared)) / safe_w.square(), ARCTAN_SERIES) / safe_w
    sine = torch.where(near, one, squared).sqrt()
    return 2 * v * torch.where(near, series, torch.atan2(sine, w) / sine)
