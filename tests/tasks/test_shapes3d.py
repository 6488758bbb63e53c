from pathlib import Path

import pytest
import torch
from torch import Tensor

from torsor.check import equivariance_error
from torsor.data.shapes import CLASSES
from torsor.errors import ConfigError
from torsor.groups import SE, SO, S
from torsor.models import SE3TransformerConfig
from torsor.tasks import REGISTRY
from torsor.tasks.shapes3d import Shapes3DConfig, about_z, invariants, posed, seen

SMALL = {"points": 24, "train_size": 90, "valid_size": 15, "test_size": 75}


def seeded(seed: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_default_is_fifteen_classes_turned_in_any_way() -> None:
    config = REGISTRY.load("shapes3d")
    task = config(**SMALL).build()
    assert [len(samples) for _, samples in task.splits.items()] == [90, 15, 75]
    assert str(task.signature.rep_out) == "15x0e"
    assert task.signature.rep_in.dim == 0
    assert task.symmetry.group == SE(3) * S()
    assert task.symmetry.exactness == "exact"
    assert "not comparable" in task.notes[0]


def test_clouds_are_centred_and_of_radius_one_and_noise_comes_on_top() -> None:
    positions = Shapes3DConfig(**SMALL).build().splits.train["positions"]
    assert positions.mean(1).abs().max() < 1e-6
    torch.testing.assert_close(positions.norm(dim=-1).amax(1), torch.ones(90))
    clouds = torch.randn(200, 24, 3, generator=seeded(), dtype=torch.float64)
    difference = seen(clouds, 24, 0.1, seeded()) - seen(clouds, 24, 0.0, seeded())
    assert float(difference.std()) == pytest.approx(0.1, rel=0.03)


def test_a_part_of_the_surface_is_seen_from_one_side() -> None:
    clouds = torch.randn(50, 40, 3, generator=seeded(), dtype=torch.float64)
    clouds = clouds / clouds.norm(dim=-1, keepdim=True)
    part = seen(clouds, 20, 0.0, seeded())
    # every cloud keeps the points of one half space, so its covariance is smaller along one direction than across it
    values = torch.linalg.eigvalsh(part.mT @ part)
    whole = torch.linalg.eigvalsh(clouds.mT @ clouds)
    assert (values[:, 0] / values[:, 2]).mean() < 0.8 * (whole[:, 0] / whole[:, 2]).mean()


def test_smaller_training_set_is_a_prefix_and_leaves_the_test_set_alone() -> None:
    settings = {**SMALL, "train_pose": "upright", "noise": 0.02, "visible": 0.7}
    small, large = (Shapes3DConfig(**{**settings, "train_size": size}).build().splits for size in (50, 90))
    for name in small.train:
        assert torch.equal(small.train[name], large.train[name][:50])
        assert torch.equal(small.test[name], large.test[name])


@pytest.mark.parametrize("pose", ["upright", "about z", "any"])
def test_poses_turn_clouds_as_they_say(pose: str) -> None:
    clouds = torch.randn(400, 5, 3, generator=seeded(), dtype=torch.float64)
    turned = posed(clouds, pose, seeded(7))
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(clouds, clouds), rtol=0, atol=1e-6)
    height = (turned - clouds)[..., 2].abs().max()
    flat = (turned - clouds)[..., :2].abs().max()
    assert (height < 1e-12) == (pose != "any")
    assert (flat < 1e-12) == (pose == "upright")
    # orientation is kept: the triple product of three points
    triple = [torch.linalg.det(x[:, :3]) for x in (clouds, turned)]
    torch.testing.assert_close(*triple, rtol=0, atol=1e-9)
    # a turned direction is spread evenly over the sphere, or the circle
    if pose == "any":
        axis = posed(torch.tensor([[[0.0, 0, 1]]], dtype=torch.float64).expand(4000, 1, 3), pose, seeded(8))[:, 0]
        torch.testing.assert_close(axis.T @ axis / 4000, torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=0.03)


def test_training_objects_are_turned_anew_in_every_step_and_test_objects_never() -> None:
    task = Shapes3DConfig(**SMALL).build()
    batch = task.splits.train.take(slice(4))
    one, two = (task.prepare(batch, seeded(seed))["positions"] for seed in (1, 2))
    assert (one - two).abs().max() > 0.1
    torch.testing.assert_close(torch.cdist(one, one), torch.cdist(two, two), rtol=0, atol=1e-3)
    high = Shapes3DConfig(heights=True, **SMALL).build()
    turned = high.prepare(high.splits.train.take(slice(4)), seeded(1))
    assert torch.equal(turned["features"], turned["positions"][..., 2:])
    assert torch.equal(task.prepare(batch, seeded(1))["positions"], one)
    assert torch.equal(task.splits.test["positions"], Shapes3DConfig(**SMALL).build().splits.test["positions"])


def test_heights_are_fed_and_leave_turns_about_the_vertical_axis_alone(generator: torch.Generator) -> None:
    task = Shapes3DConfig(heights=True, train_pose="about z", test_pose="about z", **{**SMALL, "points": 10}).build()
    batch = task.splits.test.to(torch.float64).take(slice(2))
    inputs = task.inputs(batch)
    assert torch.equal(inputs["features"][..., 0], batch["positions"][..., 2])
    assert inputs["edge_features"][0, 2, 5, 0] == batch["positions"][0, 2, 2] - batch["positions"][0, 5, 2]
    assert task.symmetry.group == SO(2) * S()
    assert (str(task.signature.rep_in), task.signature.edge_features) == ("1x0e", 1)

    moved = task.symmetry.transform(task.symmetry.sample(batch, generator), batch)
    assert (moved["positions"] - batch["positions"]).abs().max() > 0.1
    assert torch.equal(moved["label"], batch["label"])
    assert torch.equal(moved["positions"][..., 2].sort(1).values, batch["positions"][..., 2].sort(1).values)
    model = SE3TransformerConfig(degrees=2, channels=4, depth=1, heads=2, radial_width=8).build(task.signature).double()

    def network(positions: Tensor) -> Tensor:
        return model(**task.inputs({"positions": positions, "features": positions[..., 2:]}))

    about = equivariance_error(network, {"positions": batch["positions"]}, task.symmetry, generator=generator)
    any_way = Shapes3DConfig(**SMALL).build().symmetry
    broken = equivariance_error(network, {"positions": batch["positions"]}, any_way, generator=generator)
    assert about.max_relative < 1e-10
    assert broken.max_relative > 1e-4


def test_upright_objects_have_the_symmetry_of_the_vertical_axis_alone() -> None:
    assert Shapes3DConfig(train_pose="upright", test_pose="about z", **SMALL).build().symmetry.group == SO(2) * S()
    assert Shapes3DConfig(train_pose="upright", test_pose="any", **SMALL).build().symmetry.group == SE(3) * S()


def test_rotations_of_the_plane_become_rotations_of_space_about_z(generator: torch.Generator) -> None:
    matrix = about_z(SO(2).sample(5, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand(5, 3, 3), rtol=0, atol=1e-14)
    assert (matrix[:, :, 2] == torch.tensor([0.0, 0, 1])).all()


def test_loss_and_error_of_known_answers() -> None:
    task = Shapes3DConfig(**SMALL).build()
    batch = task.splits.test.take(slice(10))
    right = torch.nn.functional.one_hot(batch["label"], 15).float()
    assert task.metrics(right, batch)["error"].tolist() == [0] * 10
    assert task.metrics(right.roll(1, 1), batch)["error"].tolist() == [100] * 10
    assert float(task.loss(torch.zeros(10, 15), batch)) == pytest.approx(torch.tensor(15.0).log().item())
    assert float(task.loss(100 * right, batch)) < 1e-6


def test_baselines_lie_between_guessing_and_the_floor() -> None:
    task = Shapes3DConfig(points=128, train_size=300, valid_size=15, test_size=300).build()
    figures = {name: values["error"] for name, values in task.baselines().items()}
    assert figures["most frequent class"] == pytest.approx(100 * 14 / 15, abs=2)
    assert figures["pose floor"] == pytest.approx(100 * 2 / 15)
    assert figures["pose floor"] < figures["nearest mean of invariants"] < 60
    upright = Shapes3DConfig(heights=True, train_pose="about z", test_pose="about z", points=128, train_size=300, test_size=300).build()
    high = {name: values["error"] for name, values in upright.baselines().items()}
    assert "pose floor" not in high
    assert high["nearest mean of invariants"] < figures["nearest mean of invariants"] - 5


def test_cones_and_funnels_cannot_be_told_apart_without_the_vertical_axis() -> None:
    task = Shapes3DConfig(points=64, train_size=600, valid_size=15, test_size=15, train_pose="upright").build()
    rows, labels = invariants(task.splits.train["positions"].double()), task.splits.train["label"]
    high = invariants(task.splits.train["positions"].double(), vertical=True)
    names = tuple(CLASSES)
    for name, other in (("cone", "funnel"), ("door", "mattress")):
        means = [rows[labels == names.index(each)].mean(0) for each in (name, other)]
        spread = rows[labels == names.index(name)].std(0)
        assert ((means[0] - means[1]).abs() / spread).max() < 0.7
        means = [high[labels == names.index(each)].mean(0) for each in (name, other)]
        spread = high[labels == names.index(name)].std(0)
        assert ((means[0] - means[1]).abs() / spread).max() > 2


def test_invariants_do_not_change_when_a_cloud_is_moved(generator: torch.Generator) -> None:
    clouds = torch.randn(6, 30, 3, generator=generator, dtype=torch.float64)
    for vertical, pose in ((False, "any"), (True, "about z")):
        moved = posed(clouds, pose, generator)[:, torch.randperm(30, generator=generator)] + 3.0
        torch.testing.assert_close(invariants(moved, vertical), invariants(clouds, vertical), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 3}, "points is 3: give 4 or more"),
        ({"visible": 0.0}, "visible is 0.0: give a share"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"test_size": 0}, "test_size is 0"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Shapes3DConfig(**settings).build()


def test_scans_have_validation_objects_that_do_not_train(tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "scanobjectnn").mkdir()
    for split, count in (("train", 12), ("test", 5)):
        data = np.random.default_rng(count).normal(size=(count, 30, 3))
        np.savez(tmp_path / "scanobjectnn" / f"{split}.npz", data=data, label=np.arange(count) % 15)
    settings = {"source": "scanobjectnn", "points": 24, "folder": str(tmp_path), "valid_size": 4, "test_size": 5, "train_pose": "upright"}
    splits = Shapes3DConfig(train_size=8, **settings).build().splits
    assert sorted([*splits.train["label"].tolist(), *splits.valid["label"].tolist()]) == list(range(12))
    few = Shapes3DConfig(train_size=5, **settings).build().splits
    assert torch.equal(few.train["positions"], splits.train["positions"][:5])
    assert torch.equal(few.valid["positions"], splits.valid["positions"])


def test_published_meshes_make_a_task(shared_data: Path) -> None:
    settings = {"train_size": 80, "valid_size": 40, "test_size": 40, "points": 64}
    task = Shapes3DConfig(source="geometric-shapes", folder=str(shared_data), **settings).build()
    assert len(task.classes) == 40
    assert task.baselines()["most frequent class"]["error"] == pytest.approx(97.5)
    assert "one mesh a class" in task.notes[0]
    assert "pose floor" not in task.baselines()
