"""The task on springs: exact targets, published sizes, baselines with known values, and both ways to learn a motion."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from torsor.data.springs import spring_potential
from torsor.errors import ConfigError
from torsor.groups import E, S
from torsor.models import EGNNConfig, TransformerConfig
from torsor.nn.hamiltonian import DirectDynamics, HamiltonianDynamics
from torsor.nn.noise import with_noise
from torsor.tasks.springs import SpringsConfig, SpringsTask

SMALL: dict[str, Any] = {"train_size": 40, "test_size": 60}
MODEL = TransformerConfig(width=8, heads=2, layers=1)


def task(**settings: Any) -> SpringsTask:
    return SpringsConfig(**{**SMALL, **settings}).build()


def rows(task: SpringsTask, split: str = "test", dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return getattr(task.splits, split).to(dtype).take(slice(None))


def test_samples_are_chunks_of_five_times_whose_first_is_given() -> None:
    batch = rows(task())
    assert batch["target_positions"].shape == (60, 5, 6, 2)
    assert torch.equal(batch["target_positions"][:, 0], batch["positions"])
    assert torch.equal(batch["target_momenta"][:, 0], batch["momenta"])
    torch.testing.assert_close(batch["times"], (torch.arange(5).double() * 5 / 499).expand(60, -1), rtol=0, atol=1e-7)
    assert batch["features"].shape == (60, 6, 2)


def test_sizes_are_the_published_ones() -> None:
    assert SpringsConfig().sizes == (3000, 2000, 2000)
    assert SpringsConfig(train_size=100).sizes == (100, 100, 2000)


def test_splits_differ_and_smaller_ones_are_prefixes() -> None:
    splits = task(valid_size=40).splits
    first = [samples["positions"][:40] for _, samples in splits.items()]
    assert not any(torch.equal(a, b) for a, b in ((first[0], first[1]), (first[0], first[2]), (first[1], first[2])))
    smaller = task(train_size=7).splits.train
    assert all(torch.equal(smaller[name], splits.train[name][:7]) for name in smaller)
    assert not torch.equal(task(seed=1).splits.train["positions"], splits.train["positions"])


def test_symmetry_moves_a_batch_to_another_true_motion() -> None:
    """Turned, reflected, moved and permuted targets are where the turned, reflected, moved and permuted first states go."""
    springs = task()
    batch = rows(springs)
    moved = springs.symmetry.transform(springs.symmetry.sample(batch, torch.Generator().manual_seed(0)), batch)
    assert springs.symmetry.group == E(2) * S()
    truth = springs._predictions
    output = truth(springs.splits.test.__class__(moved))["true energy"]
    assert float(springs.metrics(output, moved)["mse"].max()) < 1e-7
    assert (moved["target_momenta"] - batch["target_momenta"]).abs().max() > 0.1


def test_loss_of_no_change_is_one_and_the_metric_is_over_the_whole_state() -> None:
    springs = task()
    batch = rows(springs, "train")
    still = {name: batch[name][:, None].expand(-1, 5, -1, -1) for name in ("positions", "momenta")}
    assert float(springs.loss(still, batch)) == pytest.approx(1, rel=1e-5)
    error = torch.cat([still[name] - batch[f"target_{name}"] for name in still], -1).square().mean((1, 2, 3))
    torch.testing.assert_close(springs.metrics(still, batch)["mse"], error)


def test_perfect_predictions_have_no_error_and_conserve_everything() -> None:
    springs = task(rollout=20)
    batch = springs.further_tests["rollout"].to(torch.float64).take(slice(None))
    perfect = {name: batch[f"target_{name}"] for name in ("positions", "momenta")}
    metrics = springs.metrics(perfect, batch)
    assert set(metrics) == {"mse", "energy_error", "momentum_error", "angular_momentum_error", "mse_step_1", "mse_step_20"}
    assert float(metrics["mse"].max()) == 0
    assert all(float(values.max()) < 1e-4 for values in metrics.values())


def test_conservation_errors_are_what_they_say() -> None:
    springs = task()
    batch = rows(springs)
    wrong = {"positions": batch["target_positions"].clone(), "momenta": batch["target_momenta"].clone()}
    wrong["momenta"][:, -1, 0] += torch.tensor([0.3, 0.4], dtype=torch.float64)
    metrics = springs.metrics(wrong, batch)
    torch.testing.assert_close(metrics["momentum_error"], torch.full((60,), 0.5, dtype=torch.float64), rtol=1e-4, atol=0)
    x, y = wrong["positions"][:, -1, 0].unbind(-1)
    torch.testing.assert_close(metrics["angular_momentum_error"], (0.4 * x - 0.3 * y).abs(), rtol=0, atol=1e-4)
    p, mass = batch["target_momenta"][:, -1, 0], batch["features"][:, 0, 0]
    gain = (0.3 * p[:, 0] + 0.4 * p[:, 1] + 0.125) / mass
    energy = (batch["momenta"].square().sum(-1) / (2 * batch["features"][..., 0])).sum(1) + spring_potential(
        batch["positions"], batch["features"]
    )
    torch.testing.assert_close(metrics["energy_error"], (gain / energy).abs(), rtol=0, atol=1e-4)


def test_baselines_are_the_published_scale_and_in_order() -> None:
    springs = task(train_size=300, test_size=500, rollout=100)
    figures = springs.baselines()
    assert figures["no change"]["mse"] == pytest.approx(0.167, rel=0.15)
    assert figures["no change"]["mse (rollout)"] == pytest.approx(6.8, rel=0.15)
    assert figures["least-squares linear"]["mse"] < 0.5 * figures["straight lines"]["mse"]
    assert figures["straight lines"]["mse"] < figures["no change"]["mse"]
    assert figures["true energy"]["mse"] < 1e-9
    assert figures["true energy"]["mse_step_100 (rollout)"] < 1e-6
    assert set(figures["true energy"]) == set(springs.units)


def test_the_least_error_of_the_leapfrog_is_told() -> None:
    coarse, fine = (task(method="leapfrog", substeps=n).baselines()["true energy"]["mse"] for n in (1, 2))
    assert 1e-7 < coarse < 1e-5
    assert coarse / fine == pytest.approx(16, rel=0.2)


@pytest.mark.parametrize("variant", ["springs", "gravity"])
@pytest.mark.parametrize("dynamics", ["hamiltonian", "direct"])
def test_every_setting_trains(variant: str, dynamics: str) -> None:
    springs = task(variant=variant, dynamics=dynamics, train_size=20, test_size=10)
    torch.manual_seed(0)
    network = springs.wrap(replace(MODEL, output_scale=0.1).build(springs.signature))
    assert isinstance(network, DirectDynamics if dynamics == "direct" else HamiltonianDynamics)
    batch = rows(springs, "train", torch.float32)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = springs.loss(network(**with_noise(network, springs.inputs(batch), torch.Generator())), batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] < 3


def test_untrained_hamiltonian_predicts_straight_lines_nearly() -> None:
    springs = task()
    torch.manual_seed(0)
    network = springs.wrap(EGNNConfig(hidden=8, layers=1).build(springs.signature))
    batch = rows(springs, dtype=torch.float32)
    with torch.no_grad():
        error = springs.metrics(network(**springs.inputs(batch)), batch)["mse"].mean()
    assert float(error) == pytest.approx(springs.baselines()["straight lines"]["mse"], rel=0.5)


def test_scales_are_those_of_the_training_motion() -> None:
    springs = task(train_size=2000)
    batch = rows(springs, "train")
    velocity = (batch["momenta"] / batch["features"][..., :1]).square().mean().sqrt()
    assert springs.derivative_scales[0] == pytest.approx(float(velocity), rel=0.01)
    gradient = torch.func.grad(lambda q: spring_potential(q, batch["features"]).sum())(batch["positions"])
    assert springs.derivative_scales[1] == pytest.approx(float(gradient.square().mean().sqrt()), rel=0.02)
    energy = spring_potential(batch["positions"], batch["features"]).mean()
    assert 0.5 < springs.energy_scale / float(energy) < 5


def test_test_systems_may_have_another_number_of_particles() -> None:
    springs = task(test_particles=8)
    assert springs.splits.train["positions"].shape[1] == 6
    assert springs.splits.test["positions"].shape[1] == 8
    assert springs.signature.points == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_size": 0}, "train_size is 0"),
        ({"particles": 1}, "particles is 1"),
        ({"test_particles": 1}, "test_particles is 1"),
        ({"substeps": 0}, "substeps is 0"),
        ({"chunk": 1}, "chunk is 1: give 2 to 500 times"),
        ({"variant": "gravity", "chunk": 201}, "give 2 to 200 times"),
        ({"rollout": 3}, "rollout is 3: give 5 to 499 steps, or 0 for none"),
        ({"dynamics": "direct", "method": "leapfrog"}, "method 'leapfrog' needs forces"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**settings)


def test_change_is_the_root_mean_square() -> None:
    assert task(train_size=2000).change == pytest.approx(math.sqrt(0.167), rel=0.04)
