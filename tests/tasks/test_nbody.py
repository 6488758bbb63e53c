import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from torsor.data.nbody import FRAME_TIME
from torsor.errors import ConfigError, DataError
from torsor.groups import E, S
from torsor.representations import Irreps
from torsor.tasks import REGISTRY
from torsor.tasks.nbody import VARIANTS, NBodyConfig

SMALL = {"train_size": 60, "valid_size": 20, "test_size": 30}
VARIANT_NAMES = sorted(VARIANTS)


def test_registry_builds_the_task_by_name() -> None:
    assert REGISTRY.load("nbody")(**SMALL).build().name == "nbody"


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_batches_have_the_shapes_of_the_signature(variant: str) -> None:
    task = NBodyConfig(variant=variant, **SMALL).build()
    assert [len(samples) for _, samples in task.splits.items()] == [60, 20, 30]
    batch = task.splits.train.take(torch.tensor([5, 2]))
    n = task.signature.points
    assert batch["positions"].shape == (2, n, 3)
    assert batch["features"].shape == (2, n, task.signature.rep_in.dim)
    assert batch["target"].shape == (2, n, task.signature.rep_out.dim)
    if task.signature.edge_features:
        assert batch["edge_features"].shape == (2, n, n, 1)
    assert "target" not in task.inputs(batch)
    assert set(task.symmetry.inputs) == set(batch)


def test_charges_become_features_where_asked_for() -> None:
    task = NBodyConfig(charges=True, **SMALL).build()
    assert task.signature.rep_in == Irreps("1x0e + 1x1o")
    batch = task.splits.train.take(slice(4))
    charges = batch["features"][..., 0]
    assert torch.equal(charges.unsqueeze(1) * charges.unsqueeze(2), batch["edge_features"][..., 0])


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_the_answer_itself_has_no_loss_and_no_error(variant: str) -> None:
    task = NBodyConfig(variant=variant, **SMALL).build()
    batch = task.splits.test.take(slice(None))
    answer = batch["target"] / task.scale
    assert task.loss(answer, batch) == 0
    for values in task.metrics(answer, batch).values():
        assert values.shape == (30,)
        assert values.max() < 1e-12


def test_metrics_are_in_the_units_of_the_simulation() -> None:
    task = NBodyConfig(**SMALL).build()
    batch = task.splits.test.take(slice(None))
    metrics = task.metrics(torch.zeros_like(batch["target"]), batch)
    by_hand = batch["target"].double().square().mean(1)
    torch.testing.assert_close(metrics["mse_position"].double(), by_hand[:, :3].mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(metrics["mse_velocity"].double(), by_hand[:, 3:].mean(1), rtol=1e-6, atol=0)
    assert abs(float(task.loss(torch.zeros_like(batch["target"]), batch)) * task.scale**2 - float(by_hand.mean())) < 1e-6


@pytest.mark.parametrize("variant", ["headline", "gravity"])
def test_smaller_training_set_is_a_prefix_and_leaves_the_test_set_alone(variant: str) -> None:
    small = NBodyConfig(variant=variant, **SMALL).build().splits
    large = NBodyConfig(variant=variant, **{**SMALL, "train_size": 300}).build().splits
    for name in small.train:
        torch.testing.assert_close(small.train[name], large.train[name][:60], rtol=0, atol=1e-5)
        assert torch.equal(small.test[name], large.test[name])


def test_splits_and_seeds_have_systems_of_their_own() -> None:
    config = NBodyConfig(train_size=20, valid_size=20, test_size=20)
    splits, other = config.build().splits, replace(config, seed=1).build().splits
    drawn = [samples["positions"] for _, samples in (*splits.items(), *other.items())]
    for i, a in enumerate(drawn):
        for b in drawn[:i]:
            assert (a - b).abs().flatten(1).amax(1).min() > 0.1


def test_constant_velocity_on_the_headline_setting_lies_in_the_measured_bands() -> None:
    # heavy tails: a thousand systems scatter by 5 %, so more of them are drawn
    figures = NBodyConfig(train_size=1000, valid_size=10, test_size=3000).build().baselines()
    assert 0.071 < figures["constant velocity"]["mse_position"] < 0.083
    assert 0.253 < figures["constant velocity"]["mse_velocity"] < 0.270
    assert figures["no change"]["mse_position"] > figures["constant velocity"]["mse_position"]
    assert figures["least-squares linear"]["mse_position"] < 1.02 * figures["constant velocity"]["mse_position"]
    assert figures["least-squares linear"]["mse_velocity"] < 1.02 * figures["constant velocity"]["mse_velocity"]

    assert 0.003 < figures["equivariance floor"]["mse_position"] < 0.006
    assert 0.03 < figures["equivariance floor"]["mse_velocity"] < 0.06


def test_equivariance_floor_is_left_out_where_the_simulator_is_symmetric() -> None:
    assert "equivariance floor" not in NBodyConfig(clip="norm", box=math.inf, **SMALL).build().baselines()


def test_gravity_baselines_agree_with_the_measured_ones_of_the_original() -> None:
    figures = NBodyConfig(variant="gravity", train_size=500, valid_size=10, test_size=8000).build().baselines()
    assert figures["no change"]["mse_position"] == pytest.approx(0.0159, rel=0.05)
    assert figures["constant velocity"]["mse_position"] == pytest.approx(0.0057, rel=0.1)


def test_constant_velocity_is_computed_over_the_time_of_the_horizon() -> None:
    task = NBodyConfig(variant="egnn", **SMALL).build()
    test = task.splits.test
    error = (test["target"] - 10 * FRAME_TIME * test["features"]).double().square().mean()
    assert task.baselines()["constant velocity"]["mse_position"] == pytest.approx(float(error), rel=1e-5)


def test_only_what_is_symmetric_says_so() -> None:
    exact = NBodyConfig(clip="norm", box=math.inf).build()
    assert exact.symmetry.exactness == "exact"
    assert exact.notes == ()
    assert NBodyConfig(variant="gravity").build().symmetry.exactness == "exact"
    published = NBodyConfig().build()
    assert published.symmetry.exactness == "approximate"
    assert "not rotation symmetric" in published.notes[0]
    assert "not translation symmetric" in published.notes[1]
    assert published.symmetry.group == E(3) * S()


def test_symmetry_moves_inputs_and_targets_of_a_batch_together(generator: torch.Generator) -> None:
    task = NBodyConfig(variant="gravity", **SMALL).build()
    batch = task.splits.train.to(torch.float64).take(slice(4))
    g = task.symmetry.sample(batch, generator)
    moved = task.symmetry.transform(g, batch)
    # displacement of the moved system = the moved displacement: lengths as before, once permutations are undone by sorting

    def lengths(target: Tensor) -> Tensor:
        return torch.linalg.vector_norm(target, dim=-1).sort(1).values

    torch.testing.assert_close(lengths(moved["target"]), lengths(batch["target"]), rtol=0, atol=1e-10)
    assert (moved["target"] - batch["target"]).abs().max() > 0.01
    torch.testing.assert_close(moved["target"], task.symmetry.transform_output(g, batch["target"]), rtol=0, atol=1e-12)


def test_test_systems_may_have_more_bodies_and_lie_elsewhere() -> None:
    config = NBodyConfig(variant="gravity", test_particles=6, **SMALL)
    splits = config.build().splits
    assert splits.train["positions"].shape[1] == 4
    assert splits.test["positions"].shape[1] == 6
    assert config.build().signature.points == 6
    near, far = (NBodyConfig(variant="gravity", test_shift=shift, **SMALL).build().splits.test for shift in (0.0, 200.0))
    torch.testing.assert_close(far["positions"], near["positions"] + torch.tensor([200.0, 0, 0]))
    assert torch.equal(far["target"], near["target"])


def test_published_set_gives_the_task_and_its_prefix(shared_data: Path) -> None:
    task = NBodyConfig(variant="egnn", source="published", folder=str(shared_data)).build()
    assert [len(samples) for _, samples in task.splits.items()] == [3000, 2000, 2000]
    simulated = NBodyConfig(variant="egnn", train_size=10, valid_size=10, test_size=1000).build()
    theirs, ours = (float(t.splits.test["target"].square().mean()) for t in (task, simulated))
    assert ours == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_size": 0}, "train_size is 0"),
        ({"particles": 1}, "particles is 1"),
        ({"box": -1.0}, "box is -1.0"),
        ({"variant": "gravity", "box": 5.0}, "clip and box are for charged bodies"),
        ({"source": "published"}, "variant is 'headline'"),
        ({"source": "published", "variant": "egnn", "particles": 6}, "particles cannot be changed in it"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NBodyConfig(**settings).build()


def test_missing_published_data_names_the_setting_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    with pytest.raises(DataError, match="give the setting 'folder', or the variable TORSOR_DATA"):
        _ = NBodyConfig(variant="egnn", source="published").build().splits
    with pytest.raises(DataError, match="no file"):
        _ = NBodyConfig(variant="egnn", source="published", folder=str(tmp_path)).build().splits
