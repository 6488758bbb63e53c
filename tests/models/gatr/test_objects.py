import pytest
import torch

from torsor import groups
from torsor.models.gatr import objects
from torsor.representations import PROJECTIVE, Multivectors

E3 = groups.E(3)
COUNT = 8


@pytest.fixture
def motion(generator):
    """Motions of both signs, with shifts of the size of the data."""
    return E3.sample(COUNT, generator=generator, dtype=torch.float64)


@pytest.fixture
def vectors(generator):
    """Three sets of vectors or points."""
    return torch.randn(3, COUNT, 3, generator=generator, dtype=torch.float64)


def turned(g, v):
    return (E3.linear(g) @ v[..., None]).squeeze(-1)


def moved(g, p):
    return E3.act(g, p[:, None]).squeeze(1)


def determinant(g):
    return torch.linalg.det(E3.linear(g)).round()[:, None]


def rho(g, x):
    return Multivectors().apply(E3, g, x)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def quaternions(generator):
    q = torch.randn(COUNT, 4, generator=generator, dtype=torch.float64)
    return q / q.norm(dim=-1, keepdim=True)


def rotation_of(q):
    """The matrix of a quaternion (i, j, k, w), from q v q*."""
    v, w = q[..., :3], q[..., 3:]
    columns = []
    for axis in torch.eye(3, dtype=q.dtype):
        t = 2 * torch.linalg.cross(v, axis.expand_as(v))
        columns.append(axis + w * t + torch.linalg.cross(v, t))
    return torch.stack(columns, -1)


def test_objects_move_as_their_multivectors(motion, vectors):
    g, (v, p, w) = motion, vectors
    axial = determinant(g) * turned(g, w)
    close(rho(g, objects.embed_scalar(v[:, 0])), objects.embed_scalar(v[:, 0]))
    close(rho(g, objects.embed_plane(v, p)), objects.embed_plane(turned(g, v), moved(g, p)))
    close(rho(g, objects.embed_vector(v)), objects.embed_vector(turned(g, v)))
    close(rho(g, objects.embed_line(w, p)), objects.embed_line(axial, moved(g, p)))
    close(rho(g, objects.embed_twist(w, v, p)), objects.embed_twist(axial, turned(g, v), moved(g, p)))


def test_points_polar_lines_and_numbers_change_their_sign_under_reflections(motion, vectors):
    g, (v, p, _) = motion, vectors
    assert {-1.0, 1.0} == set(determinant(g).flatten().tolist())
    close(rho(g, objects.embed_point(p)), determinant(g) * objects.embed_point(moved(g, p)))
    close(rho(g, objects.embed_line(v, p)), determinant(g) * objects.embed_line(turned(g, v), moved(g, p)))
    close(rho(g, objects.embed_pseudoscalar(v[:, 0])), determinant(g) * objects.embed_pseudoscalar(v[:, 0]))


def test_objects_come_back(generator, vectors):
    v, p, _ = vectors
    close(objects.extract_scalar(objects.embed_scalar(v[:, 0])), v[:, 0])
    close(objects.extract_pseudoscalar(objects.embed_pseudoscalar(v[:, 0])), v[:, 0])
    close(objects.extract_point(objects.embed_point(p)), p)
    close(objects.extract_point(-2.5 * objects.embed_point(p)), p)
    close(objects.extract_direction(objects.embed_plane(v, p)), v)
    for found, expected in zip(objects.extract_plane(objects.embed_plane(v, p)), (v, (v * p).sum(-1)), strict=True):
        close(found, expected)
    for found, expected in zip(objects.extract_line(objects.embed_line(v, p)), (v, torch.linalg.cross(p, v)), strict=True):
        close(found, expected)
    q = quaternions(generator)
    close(objects.extract_rotation(3 * objects.embed_rotation(q)), q)
    position, frame = objects.extract_pose(objects.embed_pose(p, q))
    close(position, p)
    close(frame, rotation_of(q))


def test_motors_move_points(generator, vectors):
    v, p, _ = vectors
    q = quaternions(generator)
    motor = PROJECTIVE.product(objects.embed_translation(v), objects.embed_rotation(q))
    found = PROJECTIVE.sandwich(motor, objects.embed_point(p))
    close(found, objects.embed_point((rotation_of(q) @ p[..., None]).squeeze(-1) + v))


def test_planes_reflect_points(vectors):
    v, p, x = vectors
    n = v / v.norm(dim=-1, keepdim=True)
    reflected = x - 2 * ((x - p) * n).sum(-1, keepdim=True) * n
    found = PROJECTIVE.sandwich(objects.embed_plane(n, p), objects.embed_point(x), odd=True)
    close(found, -objects.embed_point(reflected))


def test_poses_are_read_out_in_the_moved_frame_at_half_turns_too(motion, generator, vectors):
    q = quaternions(generator)
    q[:4, 3] = 0  # half turns, where the trace of the rotation is -1
    q = q / q.norm(dim=-1, keepdim=True)
    p = vectors[0]
    planes = Multivectors().apply(E3, motion, objects.embed_pose(p, q))
    position, frame = objects.extract_pose(planes)
    torch.testing.assert_close(position, moved(motion, p), rtol=0, atol=1e-11)
    torch.testing.assert_close(frame, E3.linear(motion) @ rotation_of(q), rtol=0, atol=1e-11)


def test_axes_make_a_point_and_three_planes_through_it(motion, vectors):
    p, a, b = vectors
    pose = objects.embed_axes(p, a, b)
    close(objects.extract_point(pose[:, 0]), p)
    meet = PROJECTIVE.wedge(PROJECTIVE.wedge(pose[:, 1], pose[:, 2]), pose[:, 3])
    torch.testing.assert_close(objects.extract_point(meet), p, rtol=0, atol=1e-10)
    proper = torch.where(determinant(motion)[..., None] > 0, motion, motion @ torch.diag(torch.tensor([-1.0, -1, -1, 1], dtype=p.dtype)))
    found = Multivectors().apply(E3, proper, pose)
    close(found, objects.embed_axes(moved(proper, p), turned(proper, a), turned(proper, b)))


def test_points_of_small_weight_are_read_out_without_a_jump():
    x = objects.embed_point(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)).expand(7, 16).clone()
    x[:, 14] = torch.tensor([-1.0, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 1.0])
    x.requires_grad_()
    found = objects.extract_point(x)
    close(found, -found.flip(0))  # odd in the weight
    assert found.isfinite().all()
    assert found[2:5].abs().max() < 1e-2  # near zero, not near infinity
    assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()
    inside, outside = (
        objects.extract_point(x.detach()[5:6] * torch.cat((torch.ones(14), torch.tensor([f, 1.0])))) for f in (0.999999, 1.000001)
    )
    torch.testing.assert_close(inside, outside, rtol=1e-5, atol=0)


def test_the_penalty_is_zero_for_points_of_either_sign():
    x = objects.embed_point(torch.randn(5, 3, dtype=torch.float64))
    assert objects.point_penalty(x) == objects.point_penalty(-x) == 0
    assert objects.point_penalty(3 * x) == 4
