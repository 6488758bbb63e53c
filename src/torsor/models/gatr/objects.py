"""Geometric objects as multivectors of G(3, 0, 1), and back.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), table 1; velocities without the 1 of translations, axes and
twists are ours. Every function works on the last axis: three coordinates in, 16 components out.

Under rotations and translations the multivector of a moved object is the moved multivector. Under reflections that holds for scalars,
planes, free vectors, pseudoscalars, axes and twists; points and lines of a polar direction become minus the multivector of the reflected
object (a point stays the same point: it is homogeneous).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.representations import PROJECTIVE

_POINT = (-1.0, 1.0, -1.0)
"""Signs that turn coordinates in reverse order into (e012, e013, e023), and with minus into (e12, e13, e23)."""


def _components(like: Tensor, **parts: Tensor) -> Float[Tensor, "*shape 16"]:
    """Named parts in their places: scalar, e0, plane, e0i, eij, e0ij, e123, pseudoscalar."""
    widths = {"scalar": 1, "e0": 1, "plane": 3, "e0i": 3, "eij": 3, "e0ij": 3, "e123": 1, "pseudoscalar": 1}
    return torch.cat([parts.get(name, like.new_zeros(*like.shape[:-1], width)) for name, width in widths.items()], -1)


def _bivector(v: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """(e12, e13, e23) of the axis v: (v3, -v2, v1)."""
    return v.flip(-1) * -v.new_tensor(_POINT)


def embed_scalar(scalar: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 16"]:
    """A number that does not change."""
    return _components(scalar[..., None], scalar=scalar[..., None])


def embed_pseudoscalar(pseudoscalar: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 16"]:
    """A number that changes its sign under reflections."""
    return _components(pseudoscalar[..., None], pseudoscalar=pseudoscalar[..., None])


def embed_plane(normal: Float[Tensor, "*shape 3"], point: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 16"]:
    """The plane with this normal through a point, and the reflection in it."""
    return _components(normal, plane=normal, e0=-(normal * point).sum(-1, keepdim=True))


def embed_point(point: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 16"]:
    """A point, of weight 1."""
    return _components(point, e123=torch.ones_like(point[..., :1]), e0ij=point.flip(-1) * point.new_tensor(_POINT))


def embed_translation(shift: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 16"]:
    """The motor x -> x + shift."""
    return _components(shift, scalar=torch.ones_like(shift[..., :1]), e0i=-shift / 2)


def embed_vector(vector: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 16"]:
    """A free polar vector, such as a velocity: it turns, and is not translated."""
    return _components(vector, e0i=vector)


def embed_rotation(quaternion: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 16"]:
    """The motor of a unit quaternion (i, j, k, w) in Hamilton's convention: rotation about the origin."""
    axis, scalar = quaternion[..., :3], quaternion[..., 3:]
    return _components(quaternion, scalar=scalar, eij=-_bivector(axis))


def embed_line(direction: Float[Tensor, "*shape 3"], point: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 16"]:
    """The line with this direction through a point; an axis, such as a torque, where the direction is axial."""
    return _components(direction, e0i=torch.linalg.cross(point, direction), eij=_bivector(direction))


def embed_twist(
    angular: Float[Tensor, "*shape 3"], linear: Float[Tensor, "*shape 3"], centre: Float[Tensor, "*shape 3"]
) -> Float[Tensor, "*shape 16"]:
    """The motion of a rigid body: its angular velocity about `centre`, and the velocity of `centre`."""
    return embed_line(angular, centre) + embed_vector(linear)


def embed_pose(position: Float[Tensor, "*shape 3"], quaternion: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 3 16"]:
    """A pose as the three coordinate planes of its frame; `embed_point` adds its position as an object of its own."""
    motor = PROJECTIVE.product(embed_translation(position), embed_rotation(quaternion))[..., None, :].expand(*position.shape[:-1], 3, 16)
    planes = torch.nn.functional.pad(torch.eye(3, dtype=position.dtype, device=position.device), (2, 11))
    return PROJECTIVE.sandwich(motor, planes.expand_as(motor))


def embed_axes(
    position: Float[Tensor, "*shape 3"], first: Float[Tensor, "*shape 3"], second: Float[Tensor, "*shape 3"]
) -> Float[Tensor, "*shape 4 16"]:
    """A pose given by two axes: its point, and the planes through it whose normals are the axes and their cross product."""
    normals = torch.stack((first, second, torch.linalg.cross(first, second)), -2)
    planes = embed_plane(normals, position[..., None, :].expand_as(normals))
    return torch.cat((embed_point(position)[..., None, :], planes), -2)


# -- back ---------------------------------------------------------------------------------------------------------------------------------


def extract_scalar(x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape"]:
    """The invariant component."""
    return x[..., 0]


def extract_pseudoscalar(x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape"]:
    """The component that is odd under reflections."""
    return x[..., 15]


def extract_direction(x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 3"]:
    """A polar vector that translations leave alone: the normal of a plane, a force, a velocity."""
    return x[..., 2:5]


def extract_axis(x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 3"]:
    """An axial vector that translations leave alone: the direction of a line, an angular velocity."""
    return x[..., 8:11].flip(-1) * -x.new_tensor(_POINT)


def extract_plane(x: Float[Tensor, "*shape 16"]) -> tuple[Float[Tensor, "*shape 3"], Float[Tensor, "*shape"]]:
    """Normal n and offset n.p of a plane."""
    return x[..., 2:5], -x[..., 1]


def extract_line(x: Float[Tensor, "*shape 16"]) -> tuple[Float[Tensor, "*shape 3"], Float[Tensor, "*shape 3"]]:
    """Direction v and moment o x v of a line (of a twist: angular velocity, and velocity at the origin)."""
    return extract_axis(x), x[..., 5:8]


def extract_point(x: Float[Tensor, "*shape 16"], epsilon: float = 1e-3) -> Float[Tensor, "*shape 3"]:
    """The coordinates of a point, whatever the sign of its weight w.

    Where |w| < epsilon, 1/w goes through zero smoothly, odd in w, instead of growing without bound or jumping.
    """
    weight = x[..., 14:15]
    size = weight.abs()
    inverse = torch.where(size < epsilon, weight * (2 - weight.square() / epsilon**2) / epsilon**2, 1 / weight.where(size >= epsilon, 1))
    return x[..., 11:14].flip(-1) * x.new_tensor(_POINT) * inverse


def extract_rotation(x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 4"]:
    """The unit quaternion (i, j, k, w) of a rotation about the origin."""
    return torch.nn.functional.normalize(torch.cat((-extract_axis(x), x[..., :1]), -1), dim=-1)


def extract_pose(planes: Float[Tensor, "*shape 3 16"]) -> tuple[Float[Tensor, "*shape 3"], Float[Tensor, "*shape 3 3"]]:
    """Position, and frame with one axis a column, of three planes: where they meet, and their normals made orthonormal in turn.

    The frame is left-handed where the normals are, as after a reflection; compare poses by their frames, not by quaternions.
    """
    first, second, third = planes.unbind(-2)
    position = extract_point(PROJECTIVE.wedge(PROJECTIVE.wedge(first, second), third))
    a, b, c = extract_direction(planes).unbind(-2)
    x = torch.nn.functional.normalize(a, dim=-1)
    y = torch.nn.functional.normalize(b - (b * x).sum(-1, keepdim=True) * x, dim=-1)
    z = torch.linalg.cross(x, y)
    handed = torch.where((c * z).sum(-1, keepdim=True) < 0, -1.0, 1.0).to(z.dtype)
    return position, torch.stack((x, y, z * handed), -1)


def point_penalty(x: Float[Tensor, "*shape 16"]) -> Float[Tensor, ""]:
    """Mean of (|e123| - 1)^2: points are read out with a weight near 1, which training on this times 0.01 keeps."""
    missing = x[..., 14].abs() - 1
    return missing.square().mean()
