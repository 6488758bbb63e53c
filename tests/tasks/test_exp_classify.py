"""Satisfiability from graphs: the split, the contract, the metrics, and what message passing cannot do."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from torsor.data.canonical_forms import indistinguishable
from torsor.errors import ConfigError, DataError
from torsor.tasks.exp_classify import ExpClassifyConfig


@pytest.fixture(scope="module")
def task():
    return ExpClassifyConfig().build()


def test_splits_are_the_published_ones_by_number_and_balanced(task) -> None:
    splits = task.splits
    assert [len(part) for _, part in splits.items()] == [800, 200, 200]
    for _, part in splits.items():
        assert part["target"].tolist() == [1.0, 0.0] * (len(part) // 2)
    few = ExpClassifyConfig(train_size=10).build().splits
    assert torch.equal(few.train["adjacency"], splits.train.take(slice(10))["adjacency"])
    assert len(few.valid) == 200


def test_graphs_fit_the_signature_and_both_of_a_pair_look_alike(task) -> None:
    batch = task.splits.test.take(slice(None))
    assert batch["adjacency"].shape == (200, 64, 64)
    assert batch["features"].shape == (200, 64, 2)
    assert torch.equal(batch["features"][..., 1], batch["adjacency"].sum(-1))
    assert set(batch["features"][..., 0].unique().tolist()) == {0.0, 1.0}
    numbers = indistinguishable(batch["adjacency"].bool(), batch["mask"], batch["features"][..., 0].long())
    assert torch.equal(numbers[::2], numbers[1::2])


def test_the_contract_moves_graphs_and_leaves_answers(task, generator: torch.Generator) -> None:
    batch = task.splits.valid.take(slice(5))
    g = task.symmetry.sample(batch, generator)
    moved = task.symmetry.transform(g, batch)
    assert torch.equal(moved["target"], batch["target"])
    assert torch.equal(moved["features"][..., 1], moved["adjacency"].sum(-1))
    assert not torch.equal(moved["adjacency"], batch["adjacency"])
    assert torch.equal(moved["mask"], batch["mask"])


def test_metrics_and_loss_are_those_of_their_definition(task) -> None:
    output = torch.tensor([[2.0], [-1.0], [0.5], [0.0]], dtype=torch.float64)
    batch = {"target": torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)}
    found = task.metrics(output, batch)
    assert found["error"].tolist() == [0.0, 1.0, 1.0, 0.5]
    assert task.loss(output, batch) == pytest.approx(float(found["cross_entropy"].mean()), abs=1e-12)
    assert task.loss(output, batch) == pytest.approx(float(binary_cross_entropy_with_logits(output[:, 0], batch["target"])), abs=1e-12)


def test_the_majority_is_right_half_of_the_time(task) -> None:
    majority = task.baselines()["majority"]
    assert majority["error"] == 0.5
    assert majority["cross_entropy"] == pytest.approx(0.6931, abs=1e-4)


def test_the_published_file_has_another_size_and_needs_a_folder(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    with pytest.raises(DataError, match="EXP is read from a local folder"):
        _ = ExpClassifyConfig(source="published").build().splits
    task = ExpClassifyConfig(source="published", folder=str(shared_data), train_size=4).build()
    assert task.signature.nodes == 73
    assert task.splits.test.take(slice(2))["adjacency"].shape == (2, 73, 73)
    assert task.splits.test["target"].mean() == 0.5
    assert "another draw" in task.notes[0]


def test_more_training_graphs_than_there_are_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 800 training graphs"):
        ExpClassifyConfig(train_size=801).build()
