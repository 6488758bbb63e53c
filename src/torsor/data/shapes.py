"""Parametric objects that stand upright: a free stand-in for scanned furniture.

Fifteen classes, as many as ScanObjectNN has (Uy, Pham, Hua, Nguyen, Yeung: Revisiting point cloud classification, 2019). Every object is
put together of boxes, cylinders, cones, ellipsoids and rings whose sizes are drawn anew; the vertical axis is z.

Two pairs of classes are the same shapes in another pose: a funnel is a cone on its tip, a mattress a door that lies down. Who does not know
where up is confuses them: no classifier of randomly turned objects can err in fewer than two of fifteen, `POSE_FLOOR`.

Axes: s objects, v vertices, f triangles, n points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torsor.data.meshes import Mesh, sample_surface

SEGMENTS = 24
"""Sides of a cylinder, a cone, a ring or an ellipsoid."""
OF_EACH = 4
"""Objects of each class in a block. Draws go block by block, so that a smaller set is a prefix of a larger one."""


class Part(NamedTuple):
    """A primitive of unit size, stretched along the axes and moved.

    Args:
        primitive: name in `PRIMITIVES`.
        size: factor of every axis; two negative ones turn the primitive by half a turn.
        centre: where its centre goes.
    """

    primitive: str
    size: Float[Tensor, "s 3"]
    centre: Float[Tensor, "s 3"]


def draw_objects(count: int, points: int, generator: torch.Generator) -> tuple[Float[Tensor, "s n 3"], Int[Tensor, "s"]]:
    """Points on the surfaces of random objects (float64), and their classes as places in `CLASSES`, all equally frequent.

    Args:
        count: objects.
        points: points of each.
        generator: where the numbers come from.
    """
    blocks = _blocks(points, generator)
    drawn = [next(blocks) for _ in range(math.ceil(count / (OF_EACH * len(CLASSES))))]
    clouds, labels = (torch.cat(parts)[:count] for parts in zip(*drawn, strict=True))
    return clouds, labels


def _blocks(points: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    labels = torch.arange(len(CLASSES)).repeat_interleave(OF_EACH)
    while True:
        meshes = [compose(build(_uniform(generator))) for build in CLASSES.values()]
        clouds = torch.cat([sample_surface(vertices, faces, points, generator) for vertices, faces in meshes])
        order = torch.randperm(len(labels), generator=generator)
        yield clouds[order], labels[order]


def compose(parts: list[Part]) -> tuple[Float[Tensor, "s v 3"], Int[Tensor, "f 3"]]:
    """The vertices of objects made of parts, and the triangles that they share."""
    vertices, faces, first = [], [], 0
    for part in parts:
        mesh = PRIMITIVES[part.primitive]()
        vertices.append(mesh.vertices * part.size.unsqueeze(1) + part.centre.unsqueeze(1))
        faces.append(mesh.faces + first)
        first += len(mesh.vertices)
    return torch.cat(vertices, 1), torch.cat(faces)


# -- primitives, of unit width, depth and height around the origin ---------------------------------------------------------------------


@lru_cache(maxsize=1)
def _box() -> Mesh:
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5], dtype=torch.float64)] * 3)
    sides = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    return Mesh(corners, torch.tensor([triangle for a, b, c, d in sides for triangle in ((a, b, c), (a, c, d))]))


def _revolved(profile: tuple[tuple[float, float], ...]) -> Mesh:
    """The surface that a line of (radius, height) leaves when it is turned about z."""
    radius, height = torch.tensor(profile, dtype=torch.float64).unbind(1)
    angle = 2 * math.pi * torch.arange(SEGMENTS, dtype=torch.float64) / SEGMENTS
    round_ = torch.stack([angle.cos(), angle.sin()], -1)
    flat = radius[:, None, None] * round_
    vertices = torch.cat([flat, height[:, None, None].expand(-1, SEGMENTS, 1)], -1).flatten(0, 1)
    here = torch.arange(SEGMENTS)
    there = (here + 1) % SEGMENTS
    bands = []
    for level in range(len(profile) - 1):
        low, high = level * SEGMENTS, (level + 1) * SEGMENTS
        bands += [torch.stack([low + here, low + there, high + there], 1), torch.stack([low + here, high + there, high + here], 1)]
    return Mesh(vertices, torch.cat(bands))


@lru_cache(maxsize=1)
def _cylinder() -> Mesh:
    return _revolved(((0.0, -0.5), (0.5, -0.5), (0.5, 0.5), (0.0, 0.5)))


@lru_cache(maxsize=1)
def _cup() -> Mesh:
    return _revolved(((0.0, -0.5), (0.5, -0.5), (0.5, 0.5)))


@lru_cache(maxsize=1)
def _cone() -> Mesh:
    return _revolved(((0.0, -0.5), (0.5, -0.5), (0.0, 0.5)))


@lru_cache(maxsize=1)
def _ellipsoid() -> Mesh:
    angles = [math.pi * k / (SEGMENTS // 2) for k in range(SEGMENTS // 2 + 1)]
    return _revolved(tuple((0.5 * math.sin(a), -0.5 * math.cos(a)) for a in angles))


@lru_cache(maxsize=1)
def _ring() -> Mesh:
    """A torus of radii 0.38 and 0.12, lying flat."""
    angles = [2 * math.pi * k / (SEGMENTS // 2) for k in range(SEGMENTS // 2 + 1)]
    return _revolved(tuple((0.38 + 0.12 * math.cos(a), 0.12 * math.sin(a)) for a in angles))


@lru_cache(maxsize=1)
def _handle() -> Mesh:
    """The ring, standing in the x-z plane."""
    ring = _ring()
    return Mesh(ring.vertices[:, [1, 2, 0]], ring.faces)


PRIMITIVES: dict[str, Callable[[], Mesh]] = {
    "box": _box,
    "cylinder": _cylinder,
    "cup": _cup,
    "cone": _cone,
    "ellipsoid": _ellipsoid,
    "ring": _ring,
    "handle": _handle,
}
"""Surfaces that objects are made of, built on first use."""


# -- classes -----------------------------------------------------------------------------------------------------------------------

Uniform = Callable[[float, float], Tensor]
"""Uniform numbers between two bounds, one for each object of a block."""


def _uniform(generator: torch.Generator) -> Uniform:
    return lambda low, high: low + (high - low) * torch.rand(OF_EACH, generator=generator, dtype=torch.float64)


def _part(primitive: str, size: tuple[Tensor | float, ...], centre: tuple[Tensor | float, ...] = (0.0, 0.0, 0.0)) -> Part:
    def rows(entries: tuple[Tensor | float, ...]) -> Tensor:
        return torch.stack([torch.as_tensor(entry, dtype=torch.float64).expand(OF_EACH) for entry in entries], -1)

    return Part(primitive, rows(size), rows(centre))


def _legs(width: Tensor, depth: Tensor, height: Tensor, thick: Tensor) -> list[Part]:
    """Four legs, from the ground up."""
    signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
    return [_part("box", (thick, thick, height), (i * (width - thick) / 2, j * (depth - thick) / 2, height / 2)) for i, j in signs]


def _cabinet(u: Uniform) -> list[Part]:
    return [_part("box", (u(0.6, 1.2), u(0.4, 0.8), u(0.8, 1.6)))]


def _bin(u: Uniform) -> list[Part]:
    width = u(0.5, 0.9)
    return [_part("cup", (width, width, u(0.7, 1.3)))]


def _standing_cone(u: Uniform) -> list[Part]:
    width = u(0.6, 1.1)
    return [_part("cone", (width, width, u(0.7, 1.4)))]


def _funnel(u: Uniform) -> list[Part]:
    """The cone after half a turn about x."""
    return [part._replace(size=part.size * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)) for part in _standing_cone(u)]


def _door(u: Uniform) -> list[Part]:
    return [_part("box", (u(0.7, 1.0), u(0.08, 0.2), u(1.5, 2.1)))]


def _mattress(u: Uniform) -> list[Part]:
    """The door after a third of a turn about the diagonal: x goes to y, y to z, z to x."""
    return [part._replace(size=part.size.roll(1, -1)) for part in _door(u)]


def _pillow(u: Uniform) -> list[Part]:
    return [_part("ellipsoid", (u(0.8, 1.2), u(0.5, 0.9), u(0.2, 0.4)))]


def _tyre(u: Uniform) -> list[Part]:
    width = u(0.8, 1.2)
    return [_part("ring", (width, width, u(0.8, 1.6)))]


def _mug(u: Uniform) -> list[Part]:
    width, height = u(0.5, 0.8), u(0.6, 1.0)
    reach = u(0.4, 0.6)
    return [_part("cup", (width, width, height)), _part("handle", (reach, 0.5, 0.7 * height), (width / 2, 0.0, 0.0))]


def _table(u: Uniform) -> list[Part]:
    width, depth, height, thick = u(1.0, 1.8), u(0.6, 1.0), u(0.6, 0.9), u(0.05, 0.12)
    return [_part("box", (width, depth, thick), (0.0, 0.0, height)), *_legs(width, depth, height, thick)]


def _round_table(u: Uniform) -> list[Part]:
    width, height, thick = u(0.8, 1.3), u(0.7, 1.1), u(0.05, 0.12)
    foot = 0.6 * width
    return [
        _part("cylinder", (width, width, thick), (0.0, 0.0, height)),
        _part("cylinder", (0.1, 0.1, height), (0.0, 0.0, height / 2)),
        _part("cylinder", (foot, foot, thick)),
    ]


def _chair(u: Uniform) -> list[Part]:
    width, depth, height, thick, back = u(0.4, 0.6), u(0.4, 0.6), u(0.4, 0.55), u(0.04, 0.08), u(0.4, 0.7)
    return [
        _part("box", (width, depth, thick), (0.0, 0.0, height)),
        _part("box", (width, thick, back), (0.0, (thick - depth) / 2, height + back / 2)),
        *_legs(width, depth, height, thick),
    ]


def _sofa(u: Uniform) -> list[Part]:
    width, depth, height, thick = u(1.4, 2.2), u(0.7, 0.9), u(0.35, 0.5), u(0.15, 0.25)
    back, arm = u(0.4, 0.6), u(0.2, 0.3)
    sides = [_part("box", (thick, depth, height + arm), (side * (width - thick) / 2, 0.0, (height + arm) / 2)) for side in (1, -1)]
    return [
        _part("box", (width, depth, height), (0.0, 0.0, height / 2)),
        _part("box", (width, thick, back), (0.0, (thick - depth) / 2, height + back / 2)),
        *sides,
    ]


def _lamp(u: Uniform) -> list[Part]:
    height, shade, foot = u(0.9, 1.5), u(0.4, 0.7), u(0.3, 0.5)
    return [
        _part("cylinder", (foot, foot, 0.06)),
        _part("cylinder", (0.06, 0.06, height), (0.0, 0.0, height / 2)),
        _part("cone", (shade, shade, u(0.3, 0.5)), (0.0, 0.0, height)),
    ]


def _shelf(u: Uniform) -> list[Part]:
    width, depth, height, thick = u(0.7, 1.2), u(0.25, 0.4), u(1.2, 1.9), u(0.03, 0.06)
    boards = [_part("box", (width, depth, thick), (0.0, 0.0, height * level / 3)) for level in range(4)]
    sides = [_part("box", (thick, depth, height), (side * (width - thick) / 2, 0.0, height / 2)) for side in (1, -1)]
    return [*boards, *sides]


CLASSES: dict[str, Callable[[Uniform], list[Part]]] = {
    "cabinet": _cabinet,
    "bin": _bin,
    "cone": _standing_cone,
    "funnel": _funnel,
    "door": _door,
    "mattress": _mattress,
    "pillow": _pillow,
    "tyre": _tyre,
    "mug": _mug,
    "table": _table,
    "round table": _round_table,
    "chair": _chair,
    "sofa": _sofa,
    "lamp": _lamp,
    "shelf": _shelf,
}
"""How the parts of each class are drawn."""
POSE_FLOOR = 2 / len(CLASSES)
"""The share of errors that nobody can avoid who does not know where up is: half of four classes."""
