"""Patterns in stochastic block models: the generator, the two errors, and the contract."""

import pytest
import torch
from torch import nn

from torsor.data.samples import Samples
from torsor.data.stochastic_blocks import LARGEST, PATTERN_SIZE, SIZES, block_graph, generate, patterns
from torsor.dial.symmetrize.averages import Haar
from torsor.errors import ConfigError
from torsor.nn.noise_sources import DrawnNoise
from torsor.signatures import Graphs
from torsor.tasks.pattern import PatternConfig, error_shares, of_nodes
from torsor.training.evaluation import Numerics, evaluate


@pytest.fixture(scope="module")
def task():
    return PatternConfig(train_size=60, valid_size=10, test_size=40).build()


def test_graphs_have_the_published_densities(generator: torch.Generator) -> None:
    hidden = patterns(0)
    inside, joined, sizes = [], [], []
    for index in range(60):
        graph = block_graph(hidden[index], generator)
        chosen = graph.labels.bool()
        sizes.append(len(graph.labels))
        assert int(chosen.sum()) == PATTERN_SIZE
        assert torch.equal(graph.adjacency, graph.adjacency.T)
        assert not graph.adjacency.diagonal().any()
        inside.append(graph.adjacency[chosen][:, chosen].double().sum() / (PATTERN_SIZE * (PATTERN_SIZE - 1)))
        joined.append(graph.adjacency[chosen][:, ~chosen].double().mean())
    assert torch.tensor(inside).mean() == pytest.approx(0.5, abs=0.02)
    assert torch.tensor(joined).mean() == pytest.approx(0.5, abs=0.01)
    assert 5 * SIZES[0] + PATTERN_SIZE <= min(sizes)
    assert max(sizes) <= LARGEST
    assert sum(sizes) / 60 == pytest.approx(5 * 19.5 + PATTERN_SIZE, abs=8)


def test_a_pattern_is_the_same_in_every_graph(generator: torch.Generator) -> None:
    hidden = patterns(1)[3]
    for _ in range(3):
        graph = block_graph(hidden, generator)
        chosen = graph.labels.bool()
        assert graph.values[chosen].sort().values.tolist() == hidden.values.sort().values.tolist()
        degrees = graph.adjacency[chosen][:, chosen].sum(1).sort().values
        assert torch.equal(degrees, hidden.adjacency.sum(1).sort().values)


def test_fewer_graphs_are_a_prefix_of_more_and_turns_go_through_the_patterns() -> None:
    few, more = (generate(count, patterns(2), torch.Generator().manual_seed(4)) for count in (2, 4))
    assert torch.equal(few["adjacency"], more.prefix(2)["adjacency"])
    values = more.take(slice(1))
    found = values["features"][0][values["target"][0] == 1].argmax(-1).sort().values
    assert torch.equal(found, patterns(2)[0].values.sort().values)


def test_the_contract_moves_labels_with_their_nodes(task, generator: torch.Generator) -> None:
    batch = task.splits.valid.take(slice(3))
    moved = task.symmetry.transform(task.symmetry.sample(batch, generator), batch)
    for row in range(3):
        hidden = batch["target"][row].bool()
        again = moved["target"][row].bool()
        before, after = batch["adjacency"][row][hidden].sum(-1), moved["adjacency"][row][again].sum(-1)
        assert torch.equal(before.sort().values, after.sort().values)


def test_error_is_the_mean_over_batches_of_the_class_averaged_error(generator: torch.Generator) -> None:
    nodes = torch.randint(1, 30, (10, 2), generator=generator)
    wrong = (torch.rand(10, 2, generator=generator) * (nodes + 1)).long()
    naive = []
    for start in (0, 4, 8):
        part = slice(start, start + 4)
        naive.append(float((wrong[part].sum(0) / nodes[part].sum(0)).double().mean()))
    assert float(error_shares(nodes, wrong, 4).mean()) == pytest.approx(sum(naive) / 3, abs=1e-7)
    total = (wrong.sum(0).double() / nodes.sum(0)).mean()
    assert float(error_shares(nodes, wrong, 10).mean()) == pytest.approx(float(total), abs=1e-12)


def test_a_class_that_is_not_there_counts_as_wrong() -> None:
    nodes, wrong = torch.tensor([[3, 0], [1, 0]]), torch.tensor([[1, 0], [0, 0]])
    assert float(error_shares(nodes, wrong, 2).mean()) == pytest.approx((0.25 + 1) / 2, abs=1e-12)


class Degrees(nn.Module):
    """Takes nodes of a degree above a bound for the pattern's; for pairs, everywhere on the diagonal."""

    def __init__(self, pairs: bool) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, adjacency, features, mask):
        odds = adjacency.sum(-1) - 50
        logits = torch.stack((-odds, odds), -1)
        return torch.diag_embed(logits.mT, dim1=1, dim2=2) if self.pairs else logits


def test_outputs_of_pairs_are_read_on_the_diagonal_and_figures_do_not_depend_on_the_batches_of_the_evaluation(task) -> None:
    numerics = Numerics(torch.device("cpu"), "float64")
    nodes = [evaluate(Degrees(False), task, task.splits.test, numerics, size).means for size in (7, 40)]
    pairs = evaluate(Degrees(True), task, task.splits.test, numerics, 40).means
    assert nodes[0] == pytest.approx(nodes[1], abs=1e-12)
    assert pairs == pytest.approx(nodes[0], abs=1e-12)
    assert set(pairs) == set(task.units)
    assert 0 < pairs["error"] < 0.5


def test_the_diagonal_of_pairs_is_that_of_each_class(generator: torch.Generator) -> None:
    output = torch.randn(2, 5, 5, 2, generator=generator)
    found = of_nodes(output)
    assert found.shape == (2, 5, 2)
    assert torch.equal(found[1, 3], output[1, 3, 3])


def test_loss_weighs_classes_by_the_share_of_the_other(task) -> None:
    logits = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.5, 0.0], [9.0, -9.0]]], dtype=torch.float64)
    batch = {"target": torch.tensor([[0, 1, 0, 1]]), "mask": torch.tensor([[True, True, True, False]])}
    chances = logits.log_softmax(-1)
    weighted = 1 / 3 * (chances[0, 0, 0] + chances[0, 2, 0]) + 2 / 3 * chances[0, 1, 1]
    assert float(task.loss(logits, batch)) == pytest.approx(float(-weighted / (4 / 3)), abs=1e-12)


def test_baselines_are_the_larger_class_and_the_best_bound_on_degrees(task) -> None:
    figures = task.baselines()
    assert figures["majority"] == {"error": 0.5, "error_global": 0.5}
    train = task.splits.train.take(slice(None))
    degrees, labels = train["adjacency"].sum(-1)[train["mask"]], train["target"][train["mask"]]
    naive = min(
        float(((degrees[labels == 0] > bound).double().mean() + (degrees[labels == 1] <= bound).double().mean()) / 2)
        for bound in degrees.unique().tolist()
    )
    assert figures["degree"]["error_global"] == pytest.approx(naive, abs=0.1)
    assert figures["degree"]["error_global"] < 0.45


def test_what_is_kept_is_one_row_a_graph(task) -> None:
    batch = task.splits.test.take(slice(4))
    output = torch.zeros(4, LARGEST, 2)
    kept = task.metrics(output, batch)
    assert kept["nodes"][:, 1].tolist() == [20] * 4
    assert torch.equal(kept["wrong"][:, 0], torch.zeros(4, dtype=torch.int64))
    assert torch.equal(kept["wrong"][:, 1], kept["nodes"][:, 1])


def test_empty_splits_are_refused_and_samples_are_named(task) -> None:
    with pytest.raises(ConfigError, match="valid_size is 0"):
        PatternConfig(valid_size=0).build()
    assert isinstance(task.splits.train, Samples)
    assert PatternConfig(level="pair").build().signature.level == "pair"


# -- the group average that mixes graphs of different sizes ------------------------------------------------------------------------------


def averaged_as_published(sizes: torch.Tensor, samples: int, places: int, generator: torch.Generator) -> torch.Tensor:
    """Permutations `[b, k, n]` as published: graphs are repeated one after another, a, a, b, b, but their sizes by turns, a, b, a, b."""
    drawn = sizes.repeat(samples)
    keys = torch.rand(len(drawn), places, generator=generator)
    behind = torch.arange(places) >= drawn.unsqueeze(-1)
    order = torch.where(behind, 1 + torch.arange(places), keys).argsort(-1)
    return order.unflatten(0, (len(sizes), samples))


def drawn_as_here(sizes: torch.Tensor, samples: int, places: int, generator: torch.Generator) -> torch.Tensor:
    signature = Graphs(nodes=places)
    inputs = {"adjacency": torch.zeros(len(sizes), places, places), "mask": torch.arange(places) < sizes.unsqueeze(-1)}
    (drawn,) = Haar(signature.symmetry()).draw(inputs, samples, DrawnNoise(generator)).values()
    return drawn


@pytest.mark.parametrize(("draws", "share"), [(averaged_as_published, 0.5), (drawn_as_here, 0.0)])
def test_a_group_average_that_repeats_sizes_by_turns_mixes_graphs_of_different_size(
    draws, share: float, generator: torch.Generator
) -> None:
    """Two graphs of 2 and 6 nodes: half of the published samples leave nodes 3 to 6 of the large one, or send a node of the small away."""
    sizes, samples = torch.tensor([2, 6]), 4000
    small, large = draws(sizes, samples, 6, generator)
    mixed = (small[:, :2] >= 2).any(-1).double().mean()
    still = (large[:, 2:] == torch.arange(2, 6)).all(-1).double().mean()
    # a uniform permutation of six sends one of the first two beyond them in all but 1/15 of the draws, and leaves the last four in 2/720
    assert float(mixed) == pytest.approx(share * 14 / 15, abs=0.03)
    assert float(still) == pytest.approx(share + (1 - share) * 2 / 720, abs=0.03)
