import pytest
import torch
from torch import nn

from torsor.check import equivariance_error
from torsor.dial import Conjugate, Conjugated, squeeze
from torsor.errors import GroupError, RepresentationError
from torsor.groups import SE, SO
from torsor.models import EGNN
from torsor.representations import Irreps, Points, Vectors
from torsor.signatures import PointClouds
from torsor.symmetry import Symmetry

SIGNATURE = PointClouds("2x0e + 1x1o", "1x1o")


def model():
    torch.manual_seed(0)
    return EGNN("2x0e + 1x1o", "1x1o", hidden=8, layers=2).double()


def test_conjugated_model_is_exactly_equivariant_to_the_conjugated_group(generator):
    wrong = Conjugated(model())
    report = equivariance_error(wrong, SIGNATURE.example(3, 4, generator, torch.float64), samples=4, generator=generator)
    assert report.max_relative < 1e-10


def test_conjugated_model_is_not_equivariant_to_the_right_group(generator):
    wrong, right = Conjugated(model()), model()
    inputs = SIGNATURE.example(3, 4, generator, torch.float64)
    report = equivariance_error(wrong, inputs, right.symmetry, samples=4, generator=generator)
    assert report.max_relative > 0.05


def test_conjugated_model_is_the_formula(generator):
    inputs = SIGNATURE.example(2, 4, generator, torch.float64)
    a = squeeze(2.0)
    back = torch.linalg.inv(a)
    features = torch.cat([inputs["features"][..., :2], inputs["features"][..., 2:] @ back.T], -1)
    wanted = model()(inputs["positions"] @ back.T, features) @ a.T
    torch.testing.assert_close(Conjugated(model(), a)(**inputs), wanted, rtol=0, atol=1e-12)


def test_weights_are_those_of_the_model():
    assert sum(p.numel() for p in Conjugated(model()).parameters()) == sum(p.numel() for p in model().parameters())


def test_conjugated_points_and_vectors_turn_by_a_g_inverse_a(generator):
    a, g = squeeze(1.7), SE(3).sample(2, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    rotation, shift = g[:, :3, :3], g[:, :3, 3]
    wanted = x @ (a @ rotation @ torch.linalg.inv(a)).mT
    torch.testing.assert_close(Conjugate(Vectors(), a).apply(SE(3), g, x), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(Conjugate(Points(), a).apply(SE(3), g, x), wanted + (shift @ a.T).unsqueeze(1), rtol=0, atol=1e-12)


def test_orthogonal_and_volume_changing_matrices_are_refused():
    with pytest.raises(GroupError, match="right one"):
        Conjugated(model(), torch.eye(3))
    with pytest.raises(GroupError, match="preserves volume"):
        Conjugated(model(), 2 * torch.eye(3))


def test_degree_two_is_refused_with_the_remedy():
    with pytest.raises(RepresentationError, match="degree 0 and 1"):
        Conjugate(Irreps("1x2e"), squeeze())


def test_named_outputs_are_each_moved():
    class Two(nn.Module):
        symmetry = Symmetry(SO(3), {"v": Vectors()}, {"length": Irreps("1x0e"), "same": Vectors()})

        def forward(self, v):
            return {"length": v.norm(dim=-1, keepdim=True), "same": v}

    v = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    output = Conjugated(Two())(v)
    torch.testing.assert_close(output["same"], v)
    torch.testing.assert_close(output["length"], (v @ torch.linalg.inv(squeeze()).T).norm(dim=-1, keepdim=True))
