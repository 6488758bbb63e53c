"""Long-range tasks: exact metrics, contracts, baselines, and published files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.data.test_long_range_graphs import write_splits, write_table
from torsor.errors import ConfigError, DataError
from torsor.tasks.peptides import PcqmContactConfig, PeptidesFuncConfig, PeptidesStructConfig
from torsor.tasks.rankings import average_precision_shares, link_ranks, mean_over_links
from torsor.training.evaluation import Numerics, evaluate

SMALL = {"train_size": 60, "valid_size": 10, "test_size": 40}
CPU = Numerics(torch.device("cpu"), "float64")


def naive_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """The area under the steps of precision over recall, threshold by threshold."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        reached = labels[chosen].sum() / labels.sum()
        area += (reached - recall) * labels[chosen].mean()
        recall = reached
    return area


@pytest.mark.parametrize("levels", [1000, 4])
def test_average_precision_is_that_of_its_definition_with_and_without_ties(levels: int, generator: torch.Generator) -> None:
    scores = torch.randint(levels, (60, 5), generator=generator).double()
    labels = (torch.rand(60, 5, generator=generator) < torch.tensor([0.1, 0.5, 0.9, 0.3, 0.2])).double()
    shares = average_precision_shares(scores, labels)
    naive = [naive_average_precision(scores[:, c].numpy(), labels[:, c].numpy()) for c in range(5)]
    assert float(shares.mean()) == pytest.approx(1 - np.mean(naive), abs=1e-12)


def test_a_perfect_ranking_has_average_precision_one_and_a_constant_one_that_of_chance() -> None:
    labels = torch.tensor([[1.0, 0], [0, 0], [1, 1], [0, 1]])
    assert float(average_precision_shares(labels.double(), labels).mean()) == pytest.approx(0, abs=1e-15)
    assert float(average_precision_shares(torch.zeros(4, 2), labels).mean()) == pytest.approx(0.5, abs=1e-15)


def test_classes_without_members_or_without_others_are_left_out() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 0, 1]])
    alone = average_precision_shares(torch.tensor([[0.1], [0.5], [0.9]]), labels[:, :1])
    shares = average_precision_shares(torch.tensor([[0.1, 0, 0], [0.5, 0, 0], [0.9, 0, 0]]), labels)
    assert float(shares.mean()) == pytest.approx(float(alone.mean()), abs=1e-15)


def naive_ranks(scores: Tensor, links: Tensor, mask: Tensor, filtered: bool) -> list[float]:
    ranks = []
    for b, i, j in links.nonzero().tolist():
        rivals = [k for k in range(len(mask[b])) if mask[b, k] and k != j and not (filtered and links[b, i, k])]
        above = sum(bool(scores[b, i, k] > scores[b, i, j]) for k in rivals)
        ranks.append(1 + above + sum(bool(scores[b, i, k] == scores[b, i, j]) for k in rivals) / 2)
    return ranks


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("levels", [10_000, 3])
def test_ranks_of_links_are_those_of_a_loop(filtered: bool, levels: int, generator: torch.Generator) -> None:
    scores = torch.randint(levels, (3, 7, 7), generator=generator).double()
    mask = torch.arange(7) < torch.tensor([[7], [5], [6]])
    links = (torch.rand(3, 7, 7, generator=generator) < 0.25) & mask.unsqueeze(1) & mask.unsqueeze(2)
    links[2] = False
    ranks = link_ranks(scores, links, mask, filtered)
    assert ranks.tolist() == naive_ranks(scores, links, mask, filtered)
    means = mean_over_links(1 / ranks, links)
    assert float(means[2]) == 0
    first = [1 / rank for rank, (b, _, _) in zip(ranks.tolist(), links.nonzero().tolist(), strict=True) if b == 0]
    assert float(means[0]) == pytest.approx(sum(first) / len(first), abs=1e-12)


def test_figures_do_not_depend_on_the_batches_of_the_evaluation() -> None:
    task = PeptidesFuncConfig(**SMALL).build()

    class Sizes(nn.Module):
        def forward(self, adjacency: Tensor, features: Tensor, edge_features: Tensor, mask: Tensor) -> Tensor:
            return mask.sum(-1, keepdim=True).double() * torch.linspace(-1, 1, 10, dtype=torch.float64)

    found = [evaluate(Sizes(), task, task.splits.test, CPU, size) for size in (7, 40)]
    assert found[0].means == pytest.approx(found[1].means, abs=1e-12)
    assert set(found[0].means) == set(task.units)
    test = task.splits.test
    scores = test.graphs.sizes.double().unsqueeze(-1) * torch.linspace(-1, 1, 10, dtype=torch.float64)
    labels = test["target"].numpy()
    naive = [naive_average_precision(scores[:, c].numpy(), labels[:, c]) for c in range(10) if 0 < labels[:, c].sum() < 40]
    assert found[0].means["one_minus_ap"] == pytest.approx(1 - np.mean(naive), abs=1e-12)


@pytest.mark.parametrize("config", [PeptidesFuncConfig, PeptidesStructConfig, PcqmContactConfig])
def test_contracts_move_molecules_and_their_targets(config, generator: torch.Generator) -> None:
    task = config(**SMALL).build()
    assert "stand-in" in task.notes[0]
    assert [len(part) for _, part in task.splits.items()] == [60, 10, 40]
    batch = task.splits.valid.to(torch.float64).take(slice(4))
    g = task.symmetry.sample(batch, generator)
    moved = task.symmetry.transform(g, batch)
    assert torch.equal(moved["adjacency"].sum((1, 2)), batch["adjacency"].sum((1, 2)))
    assert not torch.equal(moved["adjacency"], batch["adjacency"])
    shape = (4, *((53, 53, 1) if task.signature.level == "pair" else (task.signature.outputs,)))
    output = torch.randn(shape, generator=generator, dtype=torch.float64)
    before, after = task.loss(output, batch), task.loss(task.symmetry.transform_output(g, output), moved)
    assert float(before) == pytest.approx(float(after), abs=1e-12)
    kept = [task.metrics(y, x) for y, x in ((output, batch), (task.symmetry.transform_output(g, output), moved))]
    for name in kept[0]:
        assert torch.allclose(kept[0][name], kept[1][name], atol=1e-12)


def test_structural_targets_have_unit_scale_and_their_error_is_the_mean_absolute_one(generator: torch.Generator) -> None:
    task = PeptidesStructConfig(**SMALL).build()
    target = task.splits.train["target"]
    assert target.mean(0).abs().max() < 1e-6
    assert torch.allclose(target.std(0, correction=0)[:3], torch.ones(3, dtype=target.dtype), atol=1e-6)
    output, batch = torch.randn(5, 11, generator=generator), {"target": target[:5].float()}
    assert float(task.loss(output, batch)) == pytest.approx(float((output - batch["target"]).abs().mean()), abs=1e-6)
    assert float(task.metrics(output, batch)["mae"].mean()) == pytest.approx(float(task.loss(output, batch)), abs=1e-6)


def test_baselines_need_no_network_and_the_size_and_the_elements_tell_something() -> None:
    func, struct, contact = (
        config(**SMALL).build().baselines() for config in (PeptidesFuncConfig, PeptidesStructConfig, PcqmContactConfig)
    )
    assert set(func) == {"frequency", "size"}
    assert func["size"]["one_minus_ap"] < func["frequency"]["one_minus_ap"]
    assert set(struct) == {"median", "size"}
    assert all(0.3 < figures["mae"] < 1 for figures in struct.values())
    assert contact["elements"]["one_minus_mrr"] < contact["alike"]["one_minus_mrr"]
    task = PcqmContactConfig(**SMALL).build()
    first = task.splits.test.to(torch.float64).take(slice(1))
    alike = task.metrics(torch.zeros(1, 53, 53, 1, dtype=torch.float64), first)
    assert float(alike["one_minus_mrr"][0]) == pytest.approx(1 - 2 / (1 + int(first["mask"].sum())), abs=1e-12)


def test_published_peptides_are_read_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"smiles": "NCC(=O)" * (n % 3 + 1) + "O", "labels": str([n % 2, *[0] * 8, 1])} for n in range(12)]
    write_table(tmp_path, "func", rows, monkeypatch)
    write_splits(tmp_path, "func", train=list(range(8)), valid=[8, 9], test=[11, 10])
    task = PeptidesFuncConfig(source="published", folder=str(tmp_path), train_size=3).build()
    assert task.signature.nodes == 444
    assert "read from SMILES" in task.notes[0]
    assert [len(part) for _, part in task.splits.items()] == [3, 2, 2]
    assert task.splits.test["target"][:, 0].tolist() == [1.0, 0.0]
    assert task.splits.train.take(slice(2))["adjacency"].shape == (2, 444, 444)
    assert task.baselines()["frequency"]["one_minus_ap"] == pytest.approx(0.5, abs=1e-9)


def test_published_molecules_need_a_folder_and_splits_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    with pytest.raises(DataError, match="the long-range graph benchmark is read from a local folder"):
        _ = PcqmContactConfig(source="published").build().splits
    with pytest.raises(ConfigError, match="test_size is 0"):
        PeptidesStructConfig(test_size=0).build()
