"""Top tagging: what is fed, metrics against oracles, baselines, further tests, invariance of the labels, and refusals."""

import numpy as np
import pytest
import torch

from torsor.data import jets
from torsor.dial import Augment
from torsor.errors import ConfigError, DataError, SignatureError
from torsor.groups.lorentz import minkowski_square
from torsor.models import EGNNConfig, LGATrSlimConfig
from torsor.tasks.toptagging import UNIT_GEV, TopTaggingConfig, logistic_regression, misranked
from torsor.training import TrainConfig, train

SMALL = TopTaggingConfig(train_size=200, valid_size=20, test_size=100, constituents=24)


@pytest.fixture(scope="module")
def task():
    return SMALL.build()


def test_the_splits_have_the_sizes_asked_for_and_a_smaller_one_is_a_prefix(task):
    assert [len(samples) for _, samples in task.splits.items()] == [200, 20, 100]
    other = TopTaggingConfig(train_size=50, valid_size=20, test_size=100, constituents=24).build()
    assert torch.equal(other.splits.train["momenta"], task.splits.train["momenta"][:50])
    assert torch.equal(other.splits.test["momenta"], task.splits.test["momenta"])
    assert not torch.equal(task.splits.test["momenta"][:20], task.splits.valid["momenta"])


def test_a_batch_holds_momenta_in_units_of_20_gev(task):
    batch = task.inputs(task.splits.test.take(slice(None)))
    assert set(batch) == {"momenta", "mask"}
    assert batch["momenta"].dtype == torch.float32
    masses = UNIT_GEV * minkowski_square(batch["momenta"].double().sum(1)).sqrt()
    assert (masses[::2] - jets.TOP[0]).abs().max() < jets.LARGEST_OFFSET + 0.1
    assert batch["momenta"].shape == (100, 24, 4)


def test_another_seed_gives_other_jets():
    one, other = (TopTaggingConfig(4, 4, 4, 8, seed=seed).build().splits.train["momenta"] for seed in (0, 1))
    assert not torch.equal(one, other)


def test_the_loss_is_the_mean_cross_entropy(task):
    odds = torch.tensor([[2.0], [-1.0], [0.0]], dtype=torch.float64)
    target = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    p = 1 / (1 + torch.exp(-odds[:, 0]))
    expected = -torch.log(torch.stack((p[0], p[1], 1 - p[2])))
    assert abs(float(task.loss(odds, {"target": target}) - expected.mean())) < 1e-14
    found = task.metrics(odds, {"target": target})
    assert (found["cross_entropy"] - expected).abs().max() < 1e-14
    assert found["error"].tolist() == [0.0, 1.0, 0.5]


def test_the_mean_of_the_misranked_shares_is_one_minus_auc(generator):
    """Against the definition: all pairs of a top and a parton."""
    odds = torch.randn(60, generator=generator, dtype=torch.float64).round(decimals=1)
    target = (torch.rand(60, generator=generator) < 0.3).double()
    tops, partons = odds[target == 1].tolist(), odds[target == 0].tolist()
    wrong = sum((a < b) + 0.5 * (a == b) for a in tops for b in partons) / (len(tops) * len(partons))
    assert abs(float(misranked(odds, target).mean()) - wrong) < 1e-14


def test_a_batch_of_one_kind_has_no_ranks_and_counts_as_chance():
    assert misranked(torch.tensor([1.0, 2.0]), torch.ones(2)).tolist() == [0.5, 0.5]


def test_logistic_regression_finds_where_the_gradient_vanishes(generator):
    features = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    target = (features @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + torch.randn(300, generator=generator) > 0).double()
    weights = logistic_regression(features, target, ridge=0.1).requires_grad_()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(features @ weights, target, reduction="sum")
    gradient = torch.autograd.grad(loss + 0.05 * weights.square().sum(), weights)[0]
    assert gradient.abs().max() < 1e-10
    assert weights[1] < -1 < 0.2 < weights[0]


def test_the_mass_of_a_jet_tells_something_and_the_majority_nothing(task):
    figures = task.baselines()
    assert figures["majority"]["error"] == 0.5
    assert figures["majority"]["one_minus_auc"] == 0.5
    assert abs(figures["majority"]["cross_entropy"] - np.log(2)) < 1e-6
    assert 0.05 < figures["jet mass"]["error"] < 0.3
    assert figures["jet mass"]["one_minus_auc"] < figures["jet mass"]["error"]
    assert set(figures["jet mass"]) == set(task.units)


def test_boosted_jets_have_the_same_masses_and_are_tested_beside_the_others():
    task = TopTaggingConfig(200, 20, 100, 24, also_test=("boosted",)).build()
    boosted, test = task.further_tests["boosted"], task.splits.test
    masses = [minkowski_square(samples["momenta"].double().sum(1)).sqrt() for samples in (boosted, test)]
    assert ((masses[0] - masses[1]).abs() < 1e-3 * masses[1]).all()
    assert boosted["momenta"][..., 0].amax() > 1.5 * test["momenta"][..., 0].amax()
    assert torch.equal(boosted["target"], test["target"])
    figures = task.baselines()
    assert set(figures["jet mass"]) == set(task.units)
    assert abs(figures["jet mass"]["error (boosted)"] - figures["jet mass"]["error"]) < 0.02


def test_augmentation_moves_momenta_and_leaves_labels(task):
    batch = task.splits.train.take(slice(8))
    moved = Augment(task.symmetry)(batch, torch.Generator().manual_seed(0))
    assert torch.equal(moved["target"], batch["target"])
    assert (moved["momenta"] - batch["momenta"]).abs().max() > 0.1
    masses = [minkowski_square(b["momenta"].double().sum(1)).sqrt() for b in (moved, batch)]
    assert ((masses[0] - masses[1]).abs() < 1e-3 * masses[1]).all()


def test_the_published_set_is_read_from_a_folder(tmp_path):
    (tmp_path / "toptagging").mkdir()
    momenta = np.tile(np.array([50.0, 30.0, 0.0, 10.0], dtype=np.float32), (6, 7, 1))
    arrays = {f"kinematics_{split}": momenta for split in ("train", "val", "test")}
    arrays |= {f"labels_{split}": np.array([0, 1, 0, 1, 1, 0]) for split in ("train", "val", "test")}
    np.savez(tmp_path / "toptagging" / "toptagging_full.npz", **arrays)
    task = TopTaggingConfig(5, 4, 3, 6, source="published", folder=str(tmp_path)).build()
    assert [len(samples) for _, samples in task.splits.items()] == [5, 4, 3]
    assert task.splits.train["momenta"].shape == (5, 6, 4)
    assert task.splits.valid["target"].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert task.symmetry.exactness == "approximate"
    with pytest.raises(DataError, match="7 samples were asked for and there are 6"):
        _ = TopTaggingConfig(7, 4, 3, 6, source="published", folder=str(tmp_path)).build().splits


def test_training_refuses_a_model_of_points_in_one_line(task, tmp_path):
    with pytest.raises(SignatureError, match=r"egnn cannot serve particles: .*it serves PointClouds, not Particles; models of this family"):
        train(task, EGNNConfig(), TrainConfig(steps=1), tmp_path / "run", quiet=True)


def test_an_equivariant_tagger_learns_and_its_figures_survive_boosts(tmp_path):
    """Thirty steps on two hundred jets are enough to beat chance by far, and a boost of rapidity 2 changes next to nothing."""
    task = TopTaggingConfig(200, 20, 100, 24, also_test=("boosted",)).build()
    result = train(
        task, LGATrSlimConfig(4, 8, 1, 2), TrainConfig(steps=30, batch_size=32, learning_rate=1e-2), tmp_path / "run", quiet=True
    )
    assert set(result.test) == set(task.units)
    assert result.test["one_minus_auc"] < 0.4
    assert abs(result.test["one_minus_auc (boosted)"] - result.test["one_minus_auc"]) < 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_size": 0}, "train_size is 0: give 1 or more"),
        ({"constituents": 2}, "constituents is 2: give 3 or more"),
        ({"also_test": ("boosted", "boosted")}, "give each test set once"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TopTaggingConfig(**settings).build()
