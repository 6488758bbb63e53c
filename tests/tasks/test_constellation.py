"""The counting task: test sets that are moved, published augmentation, and how far one gets without a network."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from torsor.data.constellations import TYPES, nearest_distances, power_means, sorted_distances
from torsor.errors import ConfigError
from torsor.groups import SE, S
from torsor.models import SetTransformerConfig
from torsor.tasks.constellation import ConstellationConfig, ConstellationTask

SMALL: dict[str, Any] = {"train_size": 60, "valid_size": 40, "test_size": 50}


def task(**settings: Any) -> ConstellationTask:
    return ConstellationConfig(**{**SMALL, **settings}).build()


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def motion_between(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map and the shift that take one cloud to the other."""
    rows = torch.cat((before, torch.ones_like(before[:, :1])), 1).double()
    solution = torch.linalg.lstsq(rows, after.double()).solution
    return solution[:2].T, solution[2]


def test_samples_mask_out_absent_corners_and_hold_counts() -> None:
    train = task().splits.train
    assert train["positions"].shape == (60, 34, 2)
    assert train["mask"].dtype == torch.bool
    assert train["counts"].dtype == torch.int64
    assert torch.equal(train["mask"].sum(1), train["counts"] @ torch.tensor([4, 3, 5, 5]))
    assert train["positions"][~train["mask"]].abs().max() > 0.1


def test_published_sizes_are_the_defaults() -> None:
    config = ConstellationConfig()
    assert (config.train_size, config.test_size, config.repetitions, config.points) == (10_000, 1000, 2, 34)


def test_no_two_splits_share_samples() -> None:
    """The published script's test set is the beginning of its training set."""
    splits = task(train_size=50, valid_size=50).splits
    train, valid, test = (samples["positions"] for _, samples in splits.items())
    for a, b in ((train, valid), (train, test), (valid, test)):
        assert not (a[:, None] == b[None]).all((-1, -2)).any()
    smaller = task(train_size=9).splits.train
    assert torch.equal(smaller["positions"], train[:9])


@pytest.mark.parametrize(("content", "width"), [("constant", 1), ("distances", 33), ("moments", 10), ("local", 9)])
def test_content_features_are_what_they_say(content: str, width: int) -> None:
    counting = task(content=content)
    train = counting.splits.train
    assert counting.signature.rep_in.dim == width
    positions, present = train["positions"].double(), train["mask"]
    expected = {
        "constant": torch.ones(60, 34, 1).double(),
        "distances": sorted_distances(positions, present),
        "moments": power_means(positions, present),
        "local": torch.cat((nearest_distances(positions, present), (present.sum(1) / 34)[:, None, None].expand(-1, 34, 1)), -1),
    }[content]
    torch.testing.assert_close(train["features"].double(), expected, rtol=0, atol=1e-6)


def test_signature_asks_for_three_logits_of_four_types() -> None:
    signature = task().signature
    assert (str(signature.rep_out), signature.pool, signature.dimension, signature.points) == ("12x0e", "mean", 2, 34)
    assert task(repetitions=3).signature.rep_out.dim == 16


def test_contract_says_that_counts_do_not_change() -> None:
    counting = task()
    batch = counting.splits.train.take(slice(5))
    moved = counting.symmetry.transform(counting.symmetry.sample(batch, stream()), batch)
    assert counting.symmetry.group == SE(2) * S()
    assert torch.equal(moved["counts"], batch["counts"])
    assert (moved["positions"] - batch["positions"]).abs().max() > 0.1
    for name, columns in (("features", 33),):
        assert torch.equal(moved[name].flatten(1).sort(1).values, batch[name].flatten(1).sort(1).values)
        assert moved[name].shape[-1] == columns


def test_test_sets_hold_the_samples_and_a_moved_copy_of_each() -> None:
    counting = task()
    test, further = counting.splits.test, counting.further_tests
    for name, angle, shift in (("T2", 0.0, 10.0), ("SE2", math.radians(10), 0.0)):
        samples = further[name]
        assert len(samples) == 100
        assert torch.equal(samples["positions"][:50], test["positions"])
        assert torch.equal(samples["counts"][50:], test["counts"])
        linear, offset = motion_between(test["positions"].flatten(0, 1), samples["positions"][50:].flatten(0, 1))
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
        torch.testing.assert_close(linear, turn, rtol=0, atol=1e-5)
        torch.testing.assert_close(offset, torch.full((2,), shift).double(), rtol=0, atol=1e-5)


def test_a_larger_box_scales_positions_motions_and_local_features() -> None:
    small, large = task(content="local"), task(content="local", box=36.0)
    for split in ("train", "valid", "test"):
        here, there = getattr(small.splits, split), getattr(large.splits, split)
        torch.testing.assert_close(there["positions"], 36 * here["positions"])
        torch.testing.assert_close(there["features"][..., :8], 36 * here["features"][..., :8], rtol=1e-5, atol=1e-5)
        assert torch.equal(there["features"][..., 8], here["features"][..., 8])
    for name, samples in small.further_tests.items():
        torch.testing.assert_close(large.further_tests[name]["positions"], 36 * samples["positions"], rtol=1e-5, atol=1e-4)
    batches = [
        task(train="SE2", box=box).prepare(counting.splits.train.take(slice(3)), stream(4))
        for counting, box in ((small, 1.0), (large, 36.0))
    ]
    torch.testing.assert_close(batches[1]["positions"], 36 * batches[0]["positions"], rtol=1e-5, atol=1e-4)
    assert small.baselines()["clusters"] == large.baselines()["clusters"]


def test_random_motions_are_rigid_and_cover_the_circle() -> None:
    counting = task(test_size=400)
    test, samples = counting.splits.test, counting.further_tests["random SE2"]
    assert torch.equal(samples["counts"], test["counts"])
    torch.testing.assert_close(
        torch.cdist(samples["positions"].double(), samples["positions"].double()),
        torch.cdist(test["positions"].double(), test["positions"].double()),
        rtol=0,
        atol=1e-5,
    )
    angles = []
    for before, after in zip(test["positions"], samples["positions"], strict=True):
        linear, _ = motion_between(before, after)
        assert float(torch.linalg.det(linear)) == pytest.approx(1, abs=1e-4)
        angles.append(torch.atan2(linear[1, 0], linear[0, 0]))
    quadrants = torch.histc(torch.stack(angles), 4, -math.pi, math.pi) / 400
    assert ((quadrants - 0.25).abs() < 5 * (0.25 * 0.75 / 400) ** 0.5).all()


def test_published_augmentation_moves_a_batch_as_one() -> None:
    batch = task().splits.train.take(slice(6))
    turned = []
    for name in ("T2", "SE2"):
        counting = task(train=name)
        shifts = []
        for seed in range(30):
            moved = counting.prepare(batch, stream(seed))
            assert all(torch.equal(moved[key], batch[key]) for key in ("features", "mask", "counts"))
            linear, offset = motion_between(batch["positions"].flatten(0, 1), moved["positions"].flatten(0, 1))
            assert float(offset[0]) == pytest.approx(float(offset[1]), abs=1e-5)
            shifts.append(float(offset[0]))
            angle = float(torch.atan2(linear[1, 0], linear[0, 0]))
            turned.append((name, angle))
            torch.testing.assert_close(linear @ linear.T, torch.eye(2).double(), rtol=0, atol=1e-5)
        assert abs(sum(shifts) / 30 - 1) < 4 / 30**0.5
    assert max(abs(angle) for name, angle in turned if name == "T2") < 1e-5
    angles = [angle for name, angle in turned if name == "SE2"]
    assert min(angles) < -2
    assert max(angles) > 2
    assert torch.equal(task().prepare(batch, stream())["positions"], batch["positions"])


def test_metrics_are_the_share_of_wrong_counts_and_cross_entropy() -> None:
    counting = task()
    batch = counting.splits.test.take(slice(None))
    truth = torch.nn.functional.one_hot(batch["counts"], 3).double()
    metrics = counting.metrics((3 * truth).flatten(1), batch)
    assert not metrics["error"].any()
    torch.testing.assert_close(metrics["cross_entropy"], torch.full((50,), math.log(1 + 2 * math.exp(-3))).double())
    wrong = truth.clone()
    wrong[:, 0] = wrong[:, 0].roll(1, -1)
    metrics = counting.metrics((3 * wrong).flatten(1), batch)
    assert torch.equal(metrics["error"], torch.full((50,), 0.25).double())
    assert float(counting.loss((3 * wrong).flatten(1), batch)) == pytest.approx(float(metrics["cross_entropy"].mean()))


def test_baselines_say_how_little_the_published_accuracy_is() -> None:
    """0.50 for the most frequent count; the number of points alone gives the published 0.71; clusters without learning 0.95."""
    counting = task(train_size=3000, test_size=1000)
    figures = counting.baselines()
    assert set(figures["clusters"]) == set(counting.units)
    assert figures["most frequent count"]["error"] == pytest.approx(0.5, abs=0.03)
    assert figures["most frequent count"]["cross_entropy"] == pytest.approx(1.5 * math.log(2), abs=0.02)
    assert figures["number of points"]["error"] == pytest.approx(0.29, abs=0.03)
    assert figures["clusters"]["error"] < 0.06
    for name in ("T2", "SE2", "random SE2"):
        assert figures["clusters"][f"error ({name})"] == pytest.approx(figures["clusters"]["error"], abs=0.003)


def test_number_of_points_is_as_good_as_its_exact_posterior() -> None:
    """Enumerate the counts of four types: the table that is learned from samples comes near the best there is."""
    counts = torch.cartesian_prod(*[torch.arange(3)] * 4)
    weight = torch.tensor([0.25, 0.5, 0.25]).double()[counts].prod(1)
    points = counts @ torch.tensor([4, 3, 5, 5])
    best = 0.0
    for n in points.unique():
        here = points == n
        for kind in range(len(TYPES)):
            best += max(float(weight[here & (counts[:, kind] == k)].sum()) for k in range(3)) / 4
    figures = task(train_size=3000, test_size=1000).baselines()
    assert 1 - figures["number of points"]["error"] == pytest.approx(best, abs=0.025)


def test_overlapping_patterns_make_it_harder_without_the_quirk() -> None:
    assert task(quirk=False, train_size=300, test_size=200).baselines()["clusters"]["error"] > 0.15


def test_a_model_of_the_signature_learns() -> None:
    counting = task()
    torch.manual_seed(0)
    network = counting.wrap(SetTransformerConfig(width=16, heads=2, seeds=4).build(counting.signature))
    batch = counting.splits.train.take(slice(None))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = counting.loss(network(**counting.inputs(batch)), batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] < 1.4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"valid_size": 0}, "valid_size is 0"),
        ({"repetitions": 0}, "repetitions is 0"),
        ({"max_rotation": 2.0}, "max_rotation is 2.0: give a number from 0 to 1"),
        ({"presence": -0.5}, "presence is -0.5"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"box": 0.0}, "box is 0.0: give a positive number"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**settings)
