import math

import pytest
import torch

from torsor.data.meshes import Mesh, parse_off, sample_surface
from torsor.errors import DataError

SQUARE = """OFF
# a square and a triangle twice as high, standing on it
7 2 0
0 0 0
1 0 0
1 1 0
0 1 0
0 0 0
1 0 0
0 0 4
4 0 1 2 3 255 0 0
3 4 5 6
"""


def test_faces_are_cut_into_fans_and_colours_are_left() -> None:
    mesh = parse_off(SQUARE, "here")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6]]
    assert mesh.vertices[6].tolist() == [0, 0, 4]


def test_first_line_that_runs_into_the_second_is_read() -> None:
    fused = parse_off(SQUARE.replace("OFF\n# a square and a triangle twice as high, standing on it\n", "OFF"), "here")
    assert torch.equal(fused.faces, parse_off(SQUARE, "here").faces)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "here is not an OFF file"),
        ("PLY\n", "here is not an OFF file"),
        ("OFF\n", "here is not a whole OFF file"),
        (SQUARE[:60], "here"),
        (SQUARE.rsplit("\n", 2)[0], "here breaks off: 7 vertices and 2 faces are announced, 8 lines follow"),
        (SQUARE.replace("3 4 5 6", "3 4 5 7"), "faces with vertices beyond its 7"),
        (SQUARE.replace("3 4 5 6", "3 4 5"), "a face is '3 4 5'"),
        (SQUARE.replace("0 0 4", "0 0 nan"), "not three finite numbers"),
        (SQUARE.replace("0 0 4", "0 0"), "here is not a whole OFF file"),
        (SQUARE.replace("7 2 0", "0 2 0"), "here breaks off"),
    ],
)
def test_damaged_files_are_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_off(text, "here")


def test_points_lie_on_the_surface_in_proportion_to_its_area(generator: torch.Generator) -> None:
    mesh = parse_off(SQUARE, "here")
    points = sample_surface(mesh.vertices.expand(2, -1, -1), mesh.faces, 20_000, generator)
    flat = points[..., 2] == 0
    # areas 1 and 2
    assert abs(float(flat.double().mean()) - 1 / 3) < 0.01
    square = points[flat]
    assert square.min() >= 0
    assert square.max() <= 1
    # uniform on the square: mean 1/2, variance 1/12, no correlation
    assert (square[:, :2].mean(0) - 0.5).abs().max() < 0.01
    covariance = square[:, :2].T.cov()
    torch.testing.assert_close(covariance, torch.eye(2, dtype=torch.float64) / 12, rtol=0, atol=2e-3)
    # uniform on the triangle: the centroid is the mean of its corners
    standing = points[~flat]
    torch.testing.assert_close(standing.mean(0), torch.tensor([1 / 3, 0, 4 / 3], dtype=torch.float64), rtol=0, atol=0.03)
    assert not torch.equal(points[0], points[1])


def test_points_of_a_sphere_have_its_area_and_its_moments(generator: torch.Generator) -> None:
    # an octahedron, divided: every point of a fine one is at distance about 1
    angle = torch.linspace(0, 2 * math.pi, 65, dtype=torch.float64)[:-1]
    rings = [
        torch.stack([math.sin(t) * angle.cos(), math.sin(t) * angle.sin(), torch.full_like(angle, math.cos(t))], -1)
        for t in torch.linspace(0, math.pi, 33).tolist()
    ]
    here = torch.arange(64)
    bands = [torch.stack([64 * k + here, 64 * k + (here + 1) % 64, 64 * (k + 1) + here], 1) for k in range(32)]
    bands += [torch.stack([64 * k + (here + 1) % 64, 64 * (k + 1) + (here + 1) % 64, 64 * (k + 1) + here], 1) for k in range(32)]
    mesh = Mesh(torch.cat(rings), torch.cat(bands))
    points = sample_surface(mesh.vertices.unsqueeze(0), mesh.faces, 40_000, generator)[0]
    assert (points.norm(dim=-1) - 1).abs().max() < 0.01
    torch.testing.assert_close(points.T.cov(), torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=0.01)


def test_a_mesh_without_area_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(DataError, match="has no area"):
        sample_surface(torch.zeros(1, 3, 3, dtype=torch.float64), torch.tensor([[0, 1, 2]]), 4, generator)
