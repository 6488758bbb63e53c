import pytest
import torch
from torch import Tensor

from torsor.config import from_mapping
from torsor.errors import ConfigError
from torsor.groups import E, S
from torsor.tasks import REGISTRY
from torsor.tasks.geometry_toys import PROBLEMS, GeometryToysConfig

SMALL = {"train_size": 300, "valid_size": 20, "test_size": 300}


def answer(problem: str, batch: dict[str, Tensor]) -> Tensor:
    """The known answer, straight from what a model is fed."""
    positions, features = batch["positions"], batch.get("features")
    if problem == "distance":
        return torch.dist(positions[0, 0], positions[0, 1]).expand(1, 1)
    if problem == "norm":
        return features[0, 0].norm().expand(1, 1)
    marked = positions[0][features[0, :, 0] == 1][0]
    plain = positions[0][features[0, :, 0] == 0][0]
    if problem == "connect":
        return (marked - plain)[None]
    moved = plain + features[0][features[0, :, 0] == 1][0, 1:]
    return (moved - positions[0].mean(0))[None]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_answers_are_known_and_have_no_loss(problem: str) -> None:
    task = REGISTRY.load("geometry-toys")(problem=problem, **SMALL).build()
    samples = task.splits.test.to(torch.float64)
    for i in range(20):
        batch = samples.take(slice(i, i + 1))
        known = answer(problem, batch)
        assert task.loss(known, batch) < 1e-12
        assert task.metrics(known, batch)["mse"].shape == (1,)
    assert [len(split) for _, split in task.splits.items()] == [300, 20, 300]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_answers_move_with_the_question(problem: str, generator: torch.Generator) -> None:
    task = GeometryToysConfig(problem=problem, **SMALL).build()
    assert task.symmetry.group == E(3) * S()
    assert task.symmetry.exactness == "exact"
    batch = task.splits.train.to(torch.float64).take(slice(8))
    moved = task.symmetry.transform(task.symmetry.sample(batch, generator), batch)
    assert (moved["positions"] - batch["positions"]).abs().max() > 0.1
    for i in range(8):
        there = {name: x[i : i + 1] for name, x in moved.items()}
        torch.testing.assert_close(answer(problem, there), there["target"], rtol=0, atol=1e-5)


def test_baselines_are_the_spread_of_the_answers() -> None:
    figures = {problem: GeometryToysConfig(problem=problem, train_size=4000, test_size=4000).build().baselines() for problem in PROBLEMS}
    # a norm of three normals has variance 3 - 8/pi, a distance twice that; differences of two points have variance 2 an axis
    assert figures["norm"]["mean"]["mse"] == pytest.approx(3 - 8 / torch.pi, rel=0.06)
    assert figures["distance"]["mean"]["mse"] == pytest.approx(2 * (3 - 8 / torch.pi), rel=0.06)
    assert figures["connect"]["no translation"]["mse"] == pytest.approx(2.0, rel=0.06)
    assert figures["translate"]["no translation"]["mse"] == pytest.approx(1.5, rel=0.06)


def test_smaller_training_set_is_a_prefix_and_leaves_the_test_set_alone() -> None:
    small, large = (GeometryToysConfig(problem="translate", train_size=size).build().splits for size in (300, 700))
    for name in small.train:
        assert torch.equal(small.train[name], large.train[name][:300])
        assert torch.equal(small.test[name], large.test[name])
    assert not torch.equal(small.test["positions"][:100], small.train["positions"][:100])


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ConfigError, match="problem is 'angle'"):
        from_mapping(GeometryToysConfig, {"problem": "angle"})
    with pytest.raises(ConfigError, match="test_size is 0: give 1 or more"):
        GeometryToysConfig(test_size=0).build()
