"""The separation protocol: what it counts, and what its control says about the count."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from torsor.config import Settings
from torsor.data.canonical_forms import indistinguishable
from torsor.data.graph8c import connected_graphs
from torsor.dial.symmetrize.averages import Haar
from torsor.dial.symmetrize.module import Symmetrized
from torsor.errors import ConfigError, DataError
from torsor.models.gin import GINConfig
from torsor.models.mlp import MLPConfig
from torsor.signatures import Graphs
from torsor.tasks.graph_separation import SIGMAS, SeparationConfig, blocks, really_separated

PERCEPTRON = MLPConfig(widths=(64, 32), activation="tanh", output_activation="tanh", output_scale=1.0)
SMALL = SeparationConfig(size=30, networks=20, copies=40, features="none")


@dataclass(frozen=True)
class AveragedConfig(Settings):
    """The perceptron, averaged over ten random relabellings."""

    samples: int = 10

    def build(self, signature: Graphs) -> nn.Module:
        return Symmetrized(PERCEPTRON.build(signature), Haar(signature.symmetry()), samples=self.samples)


@dataclass(frozen=True)
class DegreesConfig(Settings):
    """A random function of the sorted degrees: invariant without any noise."""

    def build(self, signature: Graphs) -> nn.Module:
        return Degrees(signature)


class Degrees(nn.Module):
    def __init__(self, signature: Graphs) -> None:
        super().__init__()
        assert signature.nodes is not None
        self.layer = nn.Linear(signature.nodes, signature.outputs)

    def forward(self, adjacency: Tensor, mask: Tensor) -> Tensor:
        return self.layer(adjacency.sum(-1).sort(-1).values)


@dataclass(frozen=True)
class ConstantConfig(Settings):
    """The same numbers for every graph."""

    def build(self, signature: Graphs) -> nn.Module:
        return Constant(signature.outputs)


class Constant(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.randn(outputs))

    def forward(self, adjacency: Tensor, mask: Tensor) -> Tensor:
        return self.value.expand(len(adjacency), -1)


def test_an_average_over_samples_separates_every_graph_from_itself() -> None:
    """The published zero of sampled arms says nothing: its control fails. With the noise moved along nothing is separated falsely."""
    figures = SMALL.build().measure(AveragedConfig()).figures
    assert figures["unseparated"] == 0
    assert figures["false_anew"] > 90
    assert figures["copy_distance"] > 0.01
    assert figures["false_moved"] == 0
    assert figures["false_z"] == 0
    assert figures["unseparated_z"] > 100


def test_what_separates_pairs_for_good_is_found_through_the_noise() -> None:
    """With many samples the test finds most pairs apart, and still no graph from itself."""
    small = SeparationConfig(size=20, networks=30, copies=30, features="none").build()
    few, many = (small.measure(AveragedConfig(samples)).figures for samples in (2, 100))
    assert many["unseparated_z"] < few["unseparated_z"]
    assert many["false_z"] == many["false_moved"] == 0


def test_an_invariant_function_is_counted_exactly() -> None:
    figures = SMALL.build().measure(DegreesConfig()).figures
    degrees = connected_graphs(8)[:30].sum(-1).sort(-1).values
    equal = int((degrees[:, None] == degrees).all(-1).triu(1).sum())
    assert equal > 0
    assert figures["unseparated"] == figures["unseparated_z"] == equal
    assert figures["false_moved"] == figures["false_anew"] == figures["false_z"] == figures["copy_distance"] == 0


def test_a_network_without_the_symmetry_fails_both_controls() -> None:
    figures = SMALL.build().measure(PERCEPTRON).figures
    assert figures["unseparated"] == 0
    assert figures["false_moved"] > 90
    assert figures["false_anew"] > 90
    assert figures["false_z"] == 0


def test_a_constant_separates_nothing() -> None:
    figures = SMALL.build().measure(ConstantConfig()).figures
    assert figures["unseparated"] == figures["unseparated_z"] == 30 * 29 / 2
    assert figures["false_anew"] == 0


def test_message_passing_separates_no_pair_of_exp() -> None:
    protocol = SeparationConfig(graphs="exp", size=20, networks=4, copies=10).build()
    assert protocol.signature == Graphs(node_features=2, outputs=10, nodes=64)
    found = protocol.measure(GINConfig(output_scale=1.0))
    assert found.figures["unseparated"] == found.figures["unseparated_z"] == 10
    assert found.figures["false_moved"] == 0
    assert (found.networks, found.samples) == (4, 2 * 20 + 4 * 10)


def test_circular_skip_links_and_strongly_regular_graphs_are_not_separated_by_message_passing(shared_data: Path) -> None:
    for graphs, size, pairs in (("csl", 32, 15 * 15 + 30 * 2), ("sr25", None, 105), ("brec", 6, 3)):
        protocol = SeparationConfig(graphs=graphs, size=size, networks=3, copies=3, folder=str(shared_data)).build()
        figures = protocol.measure(GINConfig(output_scale=1.0)).figures
        assert figures["unseparated"] == figures["unseparated_z"] == pairs
    assert "280 of the 400 pairs of BREC" in protocol.notes[0]


def test_figures_are_those_of_their_seed() -> None:
    protocol = SeparationConfig(size=10, networks=3, copies=4).build()
    first, again, other = (protocol.measure(AveragedConfig(2), seed).figures for seed in (0, 0, 7))
    assert first == again
    assert first != other


def test_progress_is_told() -> None:
    told: list[int] = []
    SeparationConfig(size=5, networks=3, copies=2, features="none").build().measure(DegreesConfig(), report=told.append)
    assert told == [1, 2, 3]


def test_five_standard_errors_are_those_of_a_loop(generator: torch.Generator) -> None:
    between, first, second = torch.rand(3, 30, 50, generator=generator, dtype=torch.float64) / 10
    between = between + torch.linspace(0, 2, 50)
    found = really_separated(between, first, second)
    for pair in range(50):
        excess = sum(float(between[t, pair] - (first[t, pair] + second[t, pair]) / 2) for t in range(30)) / 30
        variance = 1.5 * sum(float(torch.stack((between, first, second))[:, t, pair].var()) for t in range(30)) / 30
        assert bool(found[pair]) == (excess > SIGMAS * (variance / 30) ** 0.5)
    assert 0 < found.sum() < 50


def test_copies_are_not_called_different_by_the_test(generator: torch.Generator) -> None:
    """20,000 pairs of equal laws, wide in some networks and narrow in others: at five standard errors hardly one is found."""
    width = 3 * torch.rand(60, 20_000, generator=generator, dtype=torch.float64).square()
    x, y, x_copy, y_copy = torch.randn(4, 60, 20_000, 3, generator=generator) * width.unsqueeze(-1)
    between, first, second = ((a - b).abs().sum(-1) for a, b in ((x, y), (x, x_copy), (y, y_copy)))
    assert really_separated(between, first, second).sum() <= 1
    moved = (x - y - 3 * width.unsqueeze(-1)).abs().sum(-1)
    assert really_separated(moved, first, second).double().mean() > 0.8


def test_the_standard_error_is_not_below_the_spread_of_equal_laws(generator: torch.Generator) -> None:
    x, y, x_copy, y_copy = torch.randn(4, 40, 20_000, 10, generator=generator, dtype=torch.float64)
    between, first, second = ((a - b).abs().sum(-1) for a, b in ((x, y), (x, x_copy), (y, y_copy)))
    spread = (between - (first + second) / 2).mean(0).std()
    stated = (1.5 * torch.stack((between, first, second)).var(0).sum(0).mean()).sqrt() / 40
    assert 1 <= stated / spread < 1.5


def test_noise_that_is_rare_is_not_taken_for_a_difference(generator: torch.Generator) -> None:
    """Two estimates agree in nine networks of ten, and are far apart in the tenth."""
    between, first, second = (torch.rand(3, 40, 20_000, generator=generator, dtype=torch.float64) < 0.1).double()
    assert not really_separated(between, first, second).any()
    assert really_separated(torch.ones(40, 1), torch.zeros(40, 1), torch.zeros(40, 1)).all()
    assert not really_separated(torch.ones(12, 1), torch.zeros(12, 1), torch.zeros(12, 1)).any()


def test_rounding_is_not_taken_for_a_difference() -> None:
    between = torch.full((5, 1), 1e-14, dtype=torch.float64) + 1e-16 * torch.arange(5).unsqueeze(-1)
    nothing = torch.zeros(5, 1, dtype=torch.float64)
    assert really_separated(between, nothing, nothing, drawn=False).all()
    assert not really_separated(between, nothing, nothing, 1e-9, drawn=False).any()


def test_blocks_hold_every_pair_once(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torsor.tasks.graph_separation.BLOCK", 100)
    outputs = torch.randn(4, 11, 3, generator=generator, dtype=torch.float64)
    seen: dict[tuple[int, int], Tensor] = {}
    for block in blocks(outputs, None):
        first, second = torch.broadcast_tensors(block.first, block.second)
        for i, j in block.counted.nonzero().tolist():
            pair = int(first[i, j]), int(second[i, j])
            assert pair not in seen
            seen[pair] = block.distances[:, i, j]
    assert set(seen) == {(i, j) for i in range(11) for j in range(i + 1, 11)}
    listed = torch.tensor(sorted(seen))
    found = torch.cat([block.distances for block in blocks(outputs, listed)], 1)
    assert torch.allclose(found, torch.stack([seen[pair] for pair in sorted(seen)], 1), atol=1e-12)
    assert torch.allclose(seen[2, 5], (outputs[:, 2] - outputs[:, 5]).abs().sum(-1), atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"networks": 2}, "networks is 2: give 3"), ({"size": 1}, "size is 1: give 2"), ({"copies": 0}, "copies is 0: give 1")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SeparationConfig(**settings).build()


def test_sets_that_are_read_need_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    with pytest.raises(DataError, match="SR25 is read from a local folder"):
        SeparationConfig(graphs="sr25").build()


@pytest.mark.slow
def test_message_passing_leaves_at_least_the_312_pairs_of_graph8c_that_look_alike() -> None:
    figures = SeparationConfig(networks=3, copies=20, batch_size=2000).build().measure(GINConfig(output_scale=1.0)).figures
    classes = indistinguishable(connected_graphs(8)).bincount()
    floor = int((classes * (classes - 1) // 2).sum())
    assert figures["unseparated"] >= floor
    assert figures["unseparated_z"] >= floor
    assert figures["false_moved"] == 0
