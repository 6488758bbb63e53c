import pytest
import torch

from torsor.data.meshes import sample_surface
from torsor.data.shapes import CLASSES, OF_EACH, POSE_FLOOR, PRIMITIVES, compose, draw_objects
from torsor.data.shapes import _uniform as uniform


def seeded(seed: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_have_unit_size_and_a_closed_or_open_rim(name: str) -> None:
    mesh = PRIMITIVES[name]()
    extent = mesh.vertices.amax(0) - mesh.vertices.amin(0)
    flat = {"ring": [1, 1, 0.24], "handle": [1, 0.24, 1]}.get(name, [1, 1, 1])
    torch.testing.assert_close(extent, torch.tensor(flat, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(mesh.vertices.amax(0) + mesh.vertices.amin(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert mesh.faces.unique().tolist() == list(range(len(mesh.vertices)))


def test_areas_of_primitives_are_those_of_geometry() -> None:
    expected = {"box": 6.0, "cylinder": 4.712, "cup": 3.927, "cone": 2.541, "ellipsoid": 3.1416}
    for name, area in expected.items():
        mesh = PRIMITIVES[name]()
        a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
        found = 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=-1).sum()
        assert float(found) == pytest.approx(area, rel=0.02), name


def test_classes_are_equally_frequent_and_a_smaller_set_is_a_prefix_of_a_larger_one() -> None:
    clouds, labels = draw_objects(OF_EACH * len(CLASSES) * 2, 16, seeded())
    assert labels.bincount().tolist() == [2 * OF_EACH] * len(CLASSES)
    few, some = draw_objects(70, 16, seeded())
    assert torch.equal(few, clouds[:70])
    assert torch.equal(some, labels[:70])
    assert not torch.equal(draw_objects(70, 16, seeded(5))[0], few)


def farthest(points: torch.Tensor, others: torch.Tensor) -> float:
    """How far the farthest point is from the nearest of the others."""
    return float((points.unsqueeze(2) - others.unsqueeze(1)).norm(dim=-1).amin(2).max())


@pytest.mark.parametrize(
    ("name", "other", "turn"),
    [
        ("cone", "funnel", [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        ("door", "mattress", [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    ],
)
def test_two_pairs_of_classes_differ_by_a_rotation_alone(name: str, other: str, turn: list) -> None:
    turn = torch.tensor(turn, dtype=torch.float64)
    assert torch.linalg.det(turn) == pytest.approx(1)
    here, faces = compose(CLASSES[name](uniform(seeded())))
    there, same = compose(CLASSES[other](uniform(seeded())))
    # the same set of corners, once it is turned
    assert farthest(here @ turn.T, there) < 1e-12
    assert farthest(here, there) > 0.01
    assert torch.equal(faces, same)
    assert pytest.approx(2 / 15) == POSE_FLOOR


def test_objects_stand_on_the_ground_and_are_wider_than_a_line() -> None:
    for name, build in CLASSES.items():
        vertices, faces = compose(build(uniform(seeded())))
        points = sample_surface(vertices, faces, 500, seeded())
        assert torch.linalg.eigvalsh(points[0].T.cov())[0] > 1e-4, name
        assert points.abs().max() < 2.5
