import pytest
import torch
from torch import nn

import torsor
from torsor.dial import Augment, OrbitAverage
from torsor.errors import GroupError
from torsor.groups import SO, E, O, S
from torsor.representations import Irreps, Pairs, Permuted, Points, Trivial, Vectors
from torsor.symmetry import Symmetry

SCENE = Symmetry(
    E(3) * S(),
    inputs={
        "positions": (Points(), Permuted(1)),
        "features": (Irreps("1x0e + 1x1o"), Permuted(1)),
        "edge_features": (Trivial(1), Pairs(1, 2)),
        "target": (Vectors(), Permuted(1)),
    },
    output=(Vectors(), Permuted(1)),
)


def scene(generator, batch=3, points=4, dtype=torch.float64):
    x = torch.randn(batch, points, 3, generator=generator, dtype=dtype)
    features = torch.randn(batch, points, 4, generator=generator, dtype=dtype)
    mask = torch.ones(batch, points, dtype=torch.bool)
    mask[0, -1] = False
    return {
        "positions": x,
        "features": features,
        "edge_features": torch.cdist(x, x).unsqueeze(-1),
        "target": x - (x * mask.unsqueeze(-1)).sum(1, keepdim=True) / mask.sum(1)[:, None, None],
        "mask": mask,
    }


class Plain(nn.Module):
    """Not equivariant; looks at every argument."""

    def forward(self, positions, features, edge_features, mask=None):
        weight = torch.linspace(1, 2, 9, dtype=positions.dtype).reshape(3, 3)
        seen = torch.ones_like(positions[..., :1]) if mask is None else mask.unsqueeze(-1).to(positions.dtype)
        pooled = (positions * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True)
        y = (positions - pooled) @ weight + features[..., 1:] * features[..., :1] + edge_features.sum(2).tanh() * features[..., 1:].abs()
        return y * seen


class Radial(nn.Module):
    """Equivariant by construction."""

    def forward(self, positions, features, edge_features, mask=None):
        return features[..., 1:] * edge_features.sum(2)


def test_haar_rotations_and_reflections_have_the_right_moments(generator):
    draws = 20000
    vectors = torch.eye(3, dtype=torch.float64).expand(draws, 3, 3)
    moved = Augment(Symmetry(O(3), {"v": Vectors()}, Vectors()))({"v": vectors}, generator)["v"].mT
    bound = 4 / draws**0.5
    assert moved.mean(0).abs().max() < bound
    second = torch.einsum("nij,nkl->ijkl", moved, moved) / draws
    eye = torch.eye(3, dtype=torch.float64)
    assert (second - torch.einsum("ik,jl->ijkl", eye, eye) / 3).abs().max() < bound
    assert abs(torch.linalg.det(moved).mean()) < bound


def test_haar_rotations_keep_handedness(generator):
    moved = Augment(Symmetry(SO(3), {"v": Vectors()}, Vectors()))({"v": torch.eye(3).expand(50, 3, 3)}, generator)["v"]
    torch.testing.assert_close(torch.linalg.det(moved), torch.ones(50))


def test_inputs_and_targets_move_together(generator):
    batch = scene(generator)
    moved = Augment(SCENE)(batch, generator)
    again = scene(generator) | {name: moved[name] for name in ("positions", "mask")}
    centre = (again["positions"] * again["mask"].unsqueeze(-1)).sum(1, keepdim=True) / again["mask"].sum(1)[:, None, None]
    wanted = (again["positions"] - centre)[moved["mask"]]
    torch.testing.assert_close(moved["target"][moved["mask"]], wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.cdist(moved["positions"], moved["positions"]), moved["edge_features"].squeeze(-1), rtol=0, atol=1e-6)


def test_every_item_gets_an_element_of_its_own(generator):
    batch = {"v": torch.ones(4, 3, dtype=torch.float64)}
    moved = Augment(Symmetry(SO(3), {"v": Vectors()}, Vectors()))(batch, generator)["v"]
    assert torch.pdist(moved).min() > 1e-3
    torch.testing.assert_close(batch["v"], torch.ones(4, 3, dtype=torch.float64))


def test_same_generator_same_batch():
    batch = scene(torch.Generator().manual_seed(0))
    first, second = (Augment(SCENE)(batch, torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_masked_places_stay_where_they_are(generator):
    moved = Augment(SCENE)(scene(generator), generator)
    assert not moved["mask"][0, -1]
    assert moved["mask"].sum() == 11


def inputs(batch):
    return {name: x for name, x in batch.items() if name != "target"}


def test_average_over_the_orbit_of_an_equivariant_module_is_the_module(generator):
    batch = inputs(scene(generator))
    average = OrbitAverage(Radial(), SCENE, samples=5, seed=3)
    torch.testing.assert_close(average(**batch), Radial()(**batch), rtol=0, atol=1e-10)


def test_average_undoes_each_element(generator):
    """Every term is g^-1 f(g x): the slow way, one element at a time."""
    batch = inputs(scene(generator))
    average = OrbitAverage(Plain(), SCENE, samples=3, seed=3)
    repeated = {name: x.repeat(3, *(1,) * (x.ndim - 1)) for name, x in batch.items()}
    g = SCENE.sample(repeated, torch.Generator().manual_seed(3))
    for m in range(3):
        one = tuple(element[3 * m : 3 * m + 3] for element in g)
        wanted = SCENE.transform_output(SCENE.group.inverse(one), Plain()(**SCENE.transform(one, batch)))
        torch.testing.assert_close(average.orbit(**batch)[m], wanted, rtol=0, atol=1e-10)


def test_chunks_and_positional_arguments_change_nothing(generator):
    batch = inputs(scene(generator))
    whole = OrbitAverage(Plain(), SCENE, samples=4)
    chunked = OrbitAverage(Plain(), SCENE, samples=4, max_batch=5)
    names = ("positions", "features", "edge_features", "mask")
    torch.testing.assert_close(chunked(*(batch[name] for name in names)), whole(**batch), rtol=0, atol=1e-12)


def test_residual_falls_with_the_number_of_samples(generator):
    batch = inputs(scene(generator))
    g = SCENE.sample(batch, generator)

    def residual(samples):
        average = OrbitAverage(Plain(), SCENE, samples)
        moved = SCENE.transform_output(SCENE.group.inverse(g), average(**SCENE.transform(g, batch)))
        return (moved - average(**batch)).square().mean().sqrt()

    assert residual(1024) < residual(4) / 4


def test_gradients_pass_through_the_average(generator):
    batch = inputs(scene(generator))
    batch["positions"].requires_grad_()
    OrbitAverage(Plain(), SCENE, samples=2)(**batch).square().sum().backward()
    assert batch["positions"].grad.isfinite().all()


def test_module_without_contract_is_refused():
    with pytest.raises(GroupError, match="has no contract"):
        OrbitAverage(Plain())


def test_contract_without_batch_axis_is_refused():
    with pytest.raises(GroupError, match="batch axis first"):
        Augment(Symmetry(SO(3), {"v": Vectors()}, Vectors(), batched=False))


def test_zero_samples_are_refused():
    with pytest.raises(GroupError, match="at least 1"):
        OrbitAverage(Plain(), SCENE, samples=0)


# -- the verb ----------------------------------------------------------------------------------------------------------------------------


def batches(count=3):
    generator = torch.Generator().manual_seed(5)
    return [{"positions": torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)} for _ in range(count)]


class Affine(nn.Module):
    """A linear map that no rotation commutes with, and a shift."""

    def __init__(self):
        super().__init__()
        drawn = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        self.weight, self.shift = drawn[:3], drawn[3]

    def forward(self, positions):
        return positions @ self.weight.T + self.shift


TURNED = Symmetry(SO(3), {"positions": Vectors()}, output=Vectors())


def test_batches_are_moved_anew_in_each_pass_and_the_same_for_a_seed():
    loader, first, again = batches(), torsor.augment(batches(), TURNED), torsor.augment(batches(), TURNED)
    passes = [[batch["positions"] for batch in first] for _ in range(2)]
    assert len(first) == 3
    assert all(torch.equal(x, y["positions"]) for x, y in zip(passes[0], again, strict=True))
    for moved, other, batch in zip(*passes, loader, strict=True):
        assert not torch.allclose(moved, other)
        # items are turned, each as a whole
        assert (moved @ moved.mT - batch["positions"] @ batch["positions"].mT).abs().max() < 1e-12


def test_an_augmented_module_moves_samples_in_training_and_none_in_evaluation():
    module = Affine()
    model = torsor.augment(module, TURNED)
    (batch,) = batches(1)
    noise = model.draw(batch, torch.Generator().manual_seed(1))
    moved = model(**batch, **noise)
    (turn,) = (x[:, 0] for x in noise.values())
    by_hand = module(batch["positions"] @ turn) @ turn.mT
    assert (moved - by_hand).abs().max() < 1e-12
    assert torch.equal(model.eval()(**batch), module(**batch))


def test_test_time_averaging_of_an_augmented_module_is_the_average_over_the_group():
    module = Affine()
    model = torsor.augment(module, TURNED, average=4000).eval()
    (batch,) = batches(1)
    expected = module.weight.trace() / 3 * batch["positions"]
    assert (model(**batch) - expected).abs().max() < 0.25
    assert model.symmetry.exactness == "coupled"


def test_batches_without_a_contract_are_refused():
    with pytest.raises(GroupError, match="give symmetry="):
        torsor.augment(batches())
