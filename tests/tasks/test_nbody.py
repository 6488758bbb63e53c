import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from torsor.data.nbody import FRAME_TIME
from torsor.errors import ConfigError, DataError
from torsor.groups import E, S
from torsor.models import TransformerConfig
from torsor.representations import Irreps
from torsor.tasks import REGISTRY
from torsor.tasks.nbody import VARIANTS, NBodyConfig
from torsor.training import TrainConfig, evaluate, load_run, train
from torsor.training.evaluation import Numerics

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


def test_further_test_sets_are_shifted_and_have_more_bodies_and_leave_the_others_alone() -> None:
    plain = NBodyConfig(variant="gravity", **SMALL)
    task = replace(plain, also_test=("shifted", "more bodies")).build()
    for name in plain.build().splits.test:
        assert torch.equal(task.splits.test[name], plain.build().splits.test[name])
    further = task.further_tests
    assert list(further) == ["shifted", "more bodies"]
    torch.testing.assert_close(further["shifted"]["positions"], task.splits.test["positions"] + torch.tensor([200.0, 0, 0]))
    assert torch.equal(further["shifted"]["target"], task.splits.test["target"])
    # five planets, and one star of mass 1 or more
    assert further["more bodies"]["positions"].shape[1] == 6
    assert ((further["more bodies"]["features"][..., 0] >= 1).sum(1) == 1).all()
    assert task.signature.points == 6
    assert plain.build().further_tests == {}
    assert task.units == dict.fromkeys(("mse_position", "mse_position (shifted)", "mse_position (more bodies)"), "length^2")
    for figures in task.baselines().values():
        assert set(figures) == set(task.units)
        assert figures["mse_position (shifted)"] == pytest.approx(figures["mse_position"], rel=1e-6)
        assert figures["mse_position (more bodies)"] != pytest.approx(figures["mse_position"], rel=1e-3)


def test_figures_on_further_test_sets_stand_beside_those_of_the_test_set(tmp_path: Path) -> None:
    task = NBodyConfig(variant="gravity", also_test=("shifted", "more bodies"), **SMALL).build()
    result = train(task, TransformerConfig(width=16, heads=2, layers=1), TrainConfig(steps=2, batch_size=8), tmp_path, quiet=True)
    assert set(result.test) == set(task.units)
    # the transformer centres its clouds, so that moving them changes rounding alone
    assert result.test["mse_position (shifted)"] == pytest.approx(result.test["mse_position"], rel=1e-3)
    loaded = load_run(tmp_path)
    again = evaluate(loaded.model, task, task.further_tests["more bodies"], Numerics(torch.device("cpu"), "float32")).means
    assert again["mse_position"] == pytest.approx(result.test["mse_position (more bodies)"], rel=1e-6)


def test_planets_of_the_gravity_set_are_the_published_ones() -> None:
    task = NBodyConfig(variant="gravity", train_size=10, valid_size=10, test_size=2000).build()
    test = task.splits.test.to(torch.float64)
    mass, velocity = test["features"][..., 0], test["features"][..., 1:]
    star = mass.argmax(1, keepdim=True)
    planet = torch.ones_like(mass, dtype=torch.bool).scatter(1, star, False)
    centre = test["positions"].take_along_dim(star[..., None], 1)
    spoke = (test["positions"] - centre)[planet].unflatten(0, (-1, 3))
    radius, speed = spoke.norm(dim=-1), velocity[planet].unflatten(0, (-1, 3)).norm(dim=-1)
    assert radius.min() > 0.0999
    assert radius.max() < 1.0001
    assert not velocity[~planet].any()
    # circular speed sqrt(M / r), up to N(0, 0.01^2) along it
    circular = (mass.take_along_dim(star, 1) / radius).sqrt()
    assert (speed - circular).std() == pytest.approx(0.01, rel=0.05)
    # uniform in the plane: the square of the radius is uniform between 0.01 and 1
    assert radius.square().mean() == pytest.approx(0.505, abs=0.01)
    # both senses, seen from one side of the plane that the first planet defines
    turning = torch.linalg.cross(spoke, velocity[planet].unflatten(0, (-1, 3)))
    same = ((turning * turning[:, :1]).sum(-1) > 0)[:, 1:].double().mean()
    assert same == pytest.approx(0.5, abs=0.03)
    for values, low, high in ((mass[~planet], 1.0, 10.0), (mass[planet], 0.01, 0.1)):
        assert values.min() >= low - 1e-6
        assert values.max() <= high + 1e-6
        assert values.log().mean() == pytest.approx((math.log(low) + math.log(high)) / 2, abs=0.05)
    # clouds lie N(0, 20^2) from the origin
    assert centre.std() == pytest.approx(20, rel=0.05)


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
        ({"also_test": ("shifted", "shifted")}, "give each test set once"),
        ({"source": "published", "variant": "egnn", "also_test": ("more bodies",)}, "leave 'more bodies' out of also_test"),
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
