"""What holds for every task whose symmetry is on a dial: exact at 0, broken beyond, and moved test samples that tell the two apart."""

from dataclasses import replace

import pytest
import torch

from torsor.config import from_mapping
from torsor.data.tilted import Bodies, simulate
from torsor.errors import ConfigError
from torsor.models import MLPConfig
from torsor.tasks import REGISTRY
from torsor.tasks.breaking import fixed_direction
from torsor.tasks.digits import DigitsConfig
from torsor.tasks.inertia import InertiaConfig, moment_of_inertia
from torsor.tasks.invariant_regression import InvariantRegressionConfig, invariant
from torsor.tasks.tilted import TiltedConfig

SMALL = {"train_size": 300, "valid_size": 20, "test_size": 300}
TASKS = ("tilted", "invariant-regression", "inertia", "digits")
every = pytest.mark.parametrize("name", TASKS)


def task(name: str, **settings):
    return REGISTRY.load(name)(**{**SMALL, **settings}).build()


@every
def test_the_contract_says_whether_the_symmetry_is_exact(name) -> None:
    assert task(name).symmetry.exactness == "exact"
    assert task(name, strength=0.3).symmetry.exactness == "approximate"


@every
def test_smaller_training_set_is_a_prefix_and_leaves_the_test_set_alone(name) -> None:
    small, large = (task(name, train_size=size).splits for size in (300, 700))
    for key in small.train:
        assert torch.equal(small.train[key], large.train[key][:300])
        assert torch.equal(small.test[key], large.test[key])
    first = next(iter(small.train))
    assert not torch.equal(small.test[first], small.train[first])
    assert [len(split) for _, split in small.items()] == [300, 20, 300]


@every
def test_the_inputs_are_the_same_at_every_strength(name) -> None:
    """Figures at two strengths differ by what is broken alone."""
    exact, broken = (task(name, strength=strength) for strength in (0.0, 1.0))
    for key in exact.inputs(exact.splits.test.take(slice(None))):
        assert torch.equal(exact.splits.test[key], broken.splits.test[key])


@every
def test_a_seed_gives_other_samples_of_the_same_problem(name) -> None:
    first, second = (task(name, seed=seed) for seed in (0, 1))
    key = next(iter(first.splits.test))
    assert not torch.equal(first.splits.test[key], second.splits.test[key])
    assert set(first.units) == set(first.baselines()[next(iter(first.baselines()))])


@every
def test_a_plain_network_can_be_trained_on_it(name) -> None:
    problem = task(name, strength=1.0)
    torch.manual_seed(0)
    network = MLPConfig(hidden=16).build(problem.signature)
    batch = problem.splits.train.take(slice(32))
    output = network(**problem.inputs(batch))
    assert problem.loss(output, batch).isfinite()
    assert all(values.shape == (32,) for values in problem.metrics(output, batch).values())


@every
def test_settings_that_make_no_sense_are_named(name) -> None:
    kind = REGISTRY.load(name)
    with pytest.raises(ConfigError, match="test_size is 0: give 1 or more"):
        from_mapping(kind, {"test_size": 0})
    with pytest.raises(ConfigError, match=r"strength is -1\.0: give a number from 0 on"):
        kind(strength=-1.0)
    with pytest.raises(ConfigError, match="strength is inf"):
        kind(strength=float("inf"))


def test_directions_are_unit_vectors_and_always_the_same() -> None:
    assert fixed_direction(7).norm().item() == pytest.approx(1, abs=1e-12)
    assert torch.equal(fixed_direction(7), fixed_direction(7))


# -- regressions on vectors -----------------------------------------------------------------------------------------------------------

VECTORS = {
    "invariant-regression": (InvariantRegressionConfig, lambda x: invariant(x).unsqueeze(-1), "invariant part"),
    "inertia": (InertiaConfig, moment_of_inertia, "equivariant part"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_answers_without_breaking_are_the_closed_form_and_move_with_the_inputs(name) -> None:
    kind, closed, known = VECTORS[name]
    problem = kind(**SMALL).build()
    for samples in (problem.splits.test, problem.further_tests["moved"]):
        batch = samples.to(torch.float64).take(slice(None))
        torch.testing.assert_close(closed(batch["x"]), batch["target"], rtol=1e-5, atol=1e-5)
    assert problem.baselines()[known]["mse"] < 1e-8


@pytest.mark.parametrize("name", VECTORS)
def test_what_a_symmetric_model_cannot_know_is_the_strength_squared(name) -> None:
    kind, _, known = VECTORS[name]
    figures = kind(train_size=300, test_size=4000, strength=2.0).build().baselines()
    # 4,000 squares of normal numbers scatter by 2.2 per cent
    assert figures[known]["mse"] == pytest.approx(4.0, rel=0.1)
    assert figures[known]["mse (moved)"] == pytest.approx(figures[known]["mse"], rel=1e-4)
    assert figures["least-squares affine"]["mse (moved)"] > 1.1 * figures["least-squares affine"]["mse"]


def test_the_moment_of_inertia_is_that_of_a_dumbbell() -> None:
    """Two masses m at +-r on the x axis: 2 m r^2 about y and z, nothing about x."""
    x = torch.zeros(1, 20, dtype=torch.float64)
    x[0, :2], x[0, 5], x[0, 8] = 3.0, 2.0, -2.0
    assert moment_of_inertia(x).view(3, 3).tolist() == [[0, 0, 0], [0, 24, 0], [0, 0, 24]]


# -- bodies in a field ----------------------------------------------------------------------------------------------------------------


def test_only_what_turns_the_field_changes_the_answers(generator) -> None:
    """Moved answers are those of the moved start where the field is absent; in a field they are not."""
    exact, broken = (TiltedConfig(**SMALL, strength=strength).build() for strength in (0.0, 1.0))
    for problem, agrees in ((exact, True), (broken, False)):
        moved = problem.further_tests["moved"].to(torch.float64).take(slice(None))
        bodies = [moved["positions"], moved["features"][..., 1:], moved["features"][..., 0]]
        again = answers(problem, *bodies)
        assert bool((again - moved["target"]).abs().max() < 1e-4) is agrees


def answers(problem, x, v, q):
    field = torch.tensor([0, 0, problem.config.strength], dtype=torch.float64)
    return simulate(Bodies(x, v, q), field).positions - x


def test_the_equivariance_floor_is_that_of_many_directions(generator) -> None:
    problem = TiltedConfig(train_size=300, test_size=100, strength=1.0).build()
    figures = problem.baselines()
    batch = problem.splits.test.to(torch.float64).take(slice(None))
    x, v, q = batch["positions"], batch["features"][..., 1:], batch["features"][..., 0]
    directions = torch.nn.functional.normalize(torch.randn(30, 3, generator=generator, dtype=torch.float64), dim=-1)

    fields = torch.cat((directions, -directions))
    mean = torch.stack([simulate(Bodies(x, v, q), field).positions - x for field in fields]).mean(0)
    expected = (mean - batch["target"]).square().mean().item()
    assert figures["equivariance floor"]["mse"] == pytest.approx(expected, rel=0.03)
    # the floor is lower than the best symmetric line, and the best line that knows the field is lower than the floor
    assert figures["least-squares linear"]["mse"] > figures["equivariance floor"]["mse"] > figures["least-squares linear and field"]["mse"]
    assert figures["least-squares linear and field"]["mse (moved)"] > 2 * figures["least-squares linear and field"]["mse"]
    assert "equivariance floor" not in TiltedConfig(**SMALL).build().baselines()


def test_a_field_is_said_beside_every_figure() -> None:
    assert TiltedConfig().build().notes == ()
    assert "strength 0.5 along z" in TiltedConfig(strength=0.5).build().notes[0]
    with pytest.raises(ConfigError, match="bodies is 1: give 2 or more"):
        TiltedConfig(bodies=1)


# -- digits ---------------------------------------------------------------------------------------------------------------------------


def test_shifts_leave_the_label_and_the_spectrum_alone() -> None:
    problem = task("digits")
    before, after = problem.splits.test, problem.further_tests["moved"]
    assert torch.equal(before["label"], after["label"])
    spectra = [torch.fft.fft2(samples["x"].view(-1, 8, 8)).abs() for samples in (before, after)]
    torch.testing.assert_close(*spectra, rtol=0, atol=1e-4)
    assert (before["x"] != after["x"]).any(1).double().mean() > 0.9
    figures = problem.baselines()["nearest mean spectrum"]
    assert figures["error"] == figures["error (moved)"]
    assert figures["error"] < 0.4


def test_labels_change_in_the_right_half_as_often_as_the_strength_says() -> None:
    """1 - exp(-1) of one half, by one."""
    plain, renamed = (DigitsConfig(train_size=8000, strength=strength).build().splits.train["label"] for strength in (0.0, 1.0))
    step = (renamed - plain) % 10
    assert set(step.tolist()) == {0, 1}
    share = (1 - 1 / torch.e) / 2
    assert (step == 1).double().mean().item() == pytest.approx(share, abs=4 * (share * (1 - share) / 8000) ** 0.5)


def test_digits_stand_anywhere() -> None:
    pictures = DigitsConfig(train_size=4000).build().splits.train["x"]
    ink = pictures.mean(0)
    assert ink.std() < 0.1 * ink.mean()


def test_handwritten_digits_are_split_once_and_used_up(tmp_path) -> None:
    lines = (",".join(str((7 * i + k * k) % 17) for k in range(64)) + f",{i % 10}" for i in range(60))
    (tmp_path / "digits.csv").write_text("\n".join(lines))
    config = DigitsConfig(train_size=20, valid_size=10, test_size=20, source="handwritten", folder=str(tmp_path))
    small, large = (replace(config, train_size=size).build().splits for size in (20, 30))
    assert [len(split) for _, split in large.items()] == [30, 10, 20]
    for key in ("x", "label"):
        assert torch.equal(small.train[key], large.train[key][:20])
        assert torch.equal(small.test[key], large.test[key])
    with pytest.raises(ConfigError, match=r"sizes \[31, 10, 20\] are more than the 60 digits"):
        _ = replace(config, train_size=31).build().splits
