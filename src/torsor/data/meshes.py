"""Triangle meshes: reading OFF files, and drawing points evenly from surfaces.

The Object File Format: "OFF", the numbers of vertices, faces and edges, a line a vertex, and a line a face (how many corners, then which
vertices). Faces with more than three corners are cut into fans.

Axes: v vertices, f triangles, s meshes with the same triangles, n points.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from torsor.errors import DataError


class Mesh(NamedTuple):
    """A surface of triangles.

    Args:
        vertices: corners (float64).
        faces: the three vertices of each triangle.
    """

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]


def parse_off(text: str, where: str) -> Mesh:
    """The mesh in an OFF file, also where the first line runs into the second, as in some of ModelNet40.

    Args:
        text: content of the file.
        where: names the file in errors.

    Raises:
        DataError: it is no such file, it breaks off, or a face has a vertex that is not there; names the file.
    """
    lines = [line for line in (raw.split("#", 1)[0].strip() for raw in text.splitlines()) if line]
    if not lines or not lines[0].startswith("OFF"):
        raise DataError(f"{where} is not an OFF file: it does not start with OFF")
    lines[0] = lines[0][3:].strip()
    lines = lines if lines[0] else lines[1:]
    try:
        vertices, faces = (int(word) for word in lines[0].split()[:2])
        if min(vertices, faces) < 1 or len(lines) < 1 + vertices + faces:
            raise DataError(f"{where} breaks off: {vertices} vertices and {faces} faces are announced, {len(lines) - 1} lines follow")
        corners = np.array([line.split()[:3] for line in lines[1 : 1 + vertices]], dtype=np.float64)
        triangles = _triangles(lines[1 + vertices : 1 + vertices + faces])
    except (ValueError, IndexError) as fault:
        raise DataError(f"{where} is not a whole OFF file: {fault}") from fault
    if corners.shape != (vertices, 3) or not np.isfinite(corners).all():
        raise DataError(f"{where} has vertices that are not three finite numbers")
    if triangles.min() < 0 or triangles.max() >= vertices:
        raise DataError(f"{where} has faces with vertices beyond its {vertices}")
    return Mesh(torch.from_numpy(corners), torch.from_numpy(triangles))


def _triangles(lines: list[str]) -> NDArray[Any]:
    """Faces as triangles; what follows the corners on a line, colours for instance, is left."""
    fans = []
    for line in lines:
        words = line.split()
        count = int(words[0])
        corners = [int(word) for word in words[1 : 1 + count]]
        if count < 3 or len(corners) != count:
            raise ValueError(f"a face is {line!r}")
        fans += [(corners[0], corners[i], corners[i + 1]) for i in range(1, count - 1)]
    return np.array(fans, dtype=np.int64)


def sample_surface(
    vertices: Float[Tensor, "s v 3"], faces: Int[Tensor, "f 3"], count: int, generator: torch.Generator
) -> Float[Tensor, "s n 3"]:
    """Points drawn independently and evenly from the surface of each mesh.

    A triangle is drawn by its area and a point in it as (1 - r) a + r (1 - t) b + r t c, with r the root of a uniform number: Osada,
    Funkhouser, Chazelle, Dobkin: Shape distributions (2002), section 4.1.

    Args:
        vertices: corners of every mesh.
        faces: their triangles, the same for all.
        count: n, points of each.
        generator: where the numbers come from.

    Raises:
        DataError: a mesh has no area.
    """
    a, b, c = (vertices[:, faces[:, corner]] for corner in range(3))
    area = torch.linalg.vector_norm(torch.linalg.cross(b - a, c - a), dim=-1)
    if not (area.sum(1) > 0).all():
        raise DataError("a mesh has no area: there is nothing to draw points from")
    chosen = torch.multinomial(area, count, replacement=True, generator=generator).unsqueeze(-1)
    root, share = torch.rand(2, len(vertices), count, 1, generator=generator, dtype=vertices.dtype)
    root = root.sqrt()
    a, b, c = (corner.take_along_dim(chosen, 1) for corner in (a, b, c))
    points: Tensor = (1 - root) * a + root * (1 - share) * b + root * share * c
    return points
