"""How many pairs of graphs do untrained networks tell apart, and how much of that is noise?

The published protocol (Balcilar et al. 2021; Kim et al., Learning Probabilistic Symmetrization, 2023): a hundred networks with random
weights map each graph to ten numbers. A pair counts as separated if in any of the networks its two outputs are further apart than 0.001, as
the sum of absolute differences. For a network that draws samples that says nothing: two estimates for the *same* graph are further apart
than that.

So there is a control, always: copies of graphs with other names for their nodes, which nothing may separate. With the noise moved along
with the nodes the outputs have to agree; with noise drawn anew they show how far apart two estimates of the same are.

And there is a test that allows for the noise. X and Y are outputs for two graphs, X' and Y' outputs for copies of them, all with noise of
their own. |X - Y| - (|X - X'| + |Y - Y'|) / 2 has a mean of half an energy distance of the two laws: zero if each number has the same law
for both graphs, positive if not. A pair is separated if the mean over networks is more than five standard errors of the distance between
copies.

Axes: t networks, s graphs, o numbers of an output, p pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from torsor.config import Settings
from torsor.data import expressivity
from torsor.data.archives import require_folder
from torsor.data.expressivity import GraphPairs
from torsor.data.graphs import GraphSamples, sparse
from torsor.data.satisfiability import LARGEST, PAIRS
from torsor.errors import ConfigError
from torsor.nn.noise import draw_noise
from torsor.signatures import Graphs
from torsor.tasks.protocol import Measurement, Protocol

SIGMAS = 5.0
"""Standard errors above zero from which on a pair is separated for good."""
ROUNDING = 1e-9
"""Distances below this part of the size of the outputs are rounding."""
BLOCK = 1 << 22
"""Distances to hold in memory at once."""

READERS: dict[str, Callable[[Path], GraphPairs]] = {
    "csl": expressivity.csl,
    "sr25": expressivity.sr25,
    "brec": expressivity.brec,
}
"""Sets that are read from a local folder; GRAPH8c and EXP are made."""


@dataclass(frozen=True)
class SeparationConfig(Settings):
    """Which graphs, and how many networks and copies.

    Args:
        graphs: "graph8c" (11,117 graphs, all pairs), "exp" (600 pairs), "csl", "sr25" or "brec", the last three from a local folder.
        published: whether EXP is read from its published text file in `folder`, and not generated.
        features: "kinds and degrees" of nodes (the kind is 1 where all nodes are alike), or "none".
        size: graphs to take, all if not given; the first ones.
        networks: networks with weights of their own. Five standard errors take 13 or more of a network that draws samples.
        outputs: numbers that a network returns for a graph.
        threshold: the published distance of outputs from which on a pair is separated.
        copies: graphs of which relabelled copies go through the same protocol.
        batch_size: graphs at once.
        folder: folder of data sets; the variable TORSOR_DATA if not given.
        seed: of the generated graphs.
    """

    graphs: Literal["graph8c", "exp", "csl", "sr25", "brec"] = "graph8c"
    published: bool = False
    features: Literal["kinds and degrees", "none"] = "kinds and degrees"
    size: int | None = None
    networks: int = 100
    outputs: int = 10
    threshold: float = 1e-3
    copies: int = 1000
    batch_size: int = 100
    folder: str | None = None
    seed: int = 0

    def build(self) -> GraphSeparation:
        """Make the protocol.

        Raises:
            ConfigError: a value makes no sense.
        """
        return GraphSeparation(self)


class GraphSeparation(Protocol):
    """Count the pairs of graphs that untrained networks do not tell apart.

    Args:
        config: which graphs, and how many networks and copies.
    """

    name = "graph-separation"
    headline = "unseparated"
    units: Mapping[str, str] = {
        "unseparated": "pairs",
        "unseparated_z": "pairs",
        "false_moved": "% of copies",
        "false_anew": "% of copies",
        "false_z": "% of copies",
        "copy_distance": "",
    }
    meanings: Mapping[str, str] = {
        "unseparated": "pairs that no network separates by the threshold, as published",
        "unseparated_z": "pairs that are not further apart than copies of the same graph, by five standard errors",
        "false_moved": "control: copies of the same graph separated by the threshold, noise moved along with the nodes",
        "false_anew": "control: copies of the same graph separated by the threshold, noise drawn anew",
        "false_z": "control: copies of the same graph separated by five standard errors",
        "copy_distance": "median distance of outputs for copies of the same graph, noise drawn anew",
    }
    controls = ("false_moved", "false_anew", "unseparated_z", "false_z", "copy_distance")

    def __init__(self, config: SeparationConfig) -> None:
        for name, least in (("networks", 3), ("outputs", 1), ("copies", 1), ("batch_size", 1)):
            if getattr(config, name) < least:
                raise ConfigError(f"{name} is {getattr(config, name)}: give {least} or more")
        if config.size is not None and config.size < 2:
            raise ConfigError(f"size is {config.size}: give 2 graphs or more")
        self.config, self.networks = config, config.networks
        self.chosen = _chosen(config.graphs, config.published, config.size, config.folder, config.seed)
        features = 0 if config.features == "none" else 2
        places = max(len(graph) for graph in self.chosen.graphs)
        self.signature = Graphs(node_features=features, outputs=config.outputs, level="graph", nodes=_places(config, places))
        self.notes = self.chosen.notes

    def measure(self, model: Any, seed: int = 0, report: Callable[[int], None] | None = None) -> Measurement:
        """The published count, the control and the test for networks of one kind, in double precision."""
        started = time.perf_counter()
        samples, runs, parameters = self._samples(), [], 0
        for number in range(self.networks):
            network = _network(model, self.signature, seed + number)
            parameters = sum(parameter.numel() for parameter in network.parameters())
            runs.append(_Runs(network, self.signature, samples, self.config, torch.Generator().manual_seed(seed + number)).all())
            if report is not None:
                report(number + 1)
        figures = self._figures(_Outputs(*(torch.stack(each) for each in zip(*runs, strict=True))))
        fed = 2 * len(samples) + 4 * self.config.copies
        return Measurement(figures, self.networks, fed, parameters, time.perf_counter() - started)

    def _samples(self) -> GraphSamples:
        kinds = self.chosen.kinds or tuple(torch.ones(len(graph), dtype=torch.int64) for graph in self.chosen.graphs)
        features = [torch.stack((k, g.sum(1)), -1) for k, g in zip(kinds, self.chosen.graphs, strict=True)]
        assert self.signature.nodes is not None
        return GraphSamples(sparse(self.chosen.graphs, {"features": features}), self.signature.nodes, dtype=torch.float64)

    def _figures(self, outputs: _Outputs) -> dict[str, float]:
        within = (outputs.first - outputs.again).abs().sum(-1)
        floor = ROUNDING * float(outputs.first.abs().sum(-1).mean())
        drawn = float(within.max()) > floor
        unseparated = unseparated_z = 0
        for block in blocks(outputs.first, self.chosen.pairs):
            separated = block.distances.amax(0) > self.config.threshold
            really = really_separated(block.distances, within[:, block.first], within[:, block.second], floor, drawn)
            unseparated += int((block.counted & ~separated).sum())
            unseparated_z += int((block.counted & ~really).sum())
        moved = (outputs.original - outputs.moved).abs().sum(-1)
        anew = (outputs.original - outputs.copy).abs().sum(-1)
        own, other = ((a - b).abs().sum(-1) for a, b in ((outputs.original, outputs.third), (outputs.copy, outputs.fourth)))
        return {
            "unseparated": float(unseparated),
            "unseparated_z": float(unseparated_z),
            "false_moved": 100 * float((moved > self.config.threshold).any(0).double().mean()),
            "false_anew": 100 * float((anew > self.config.threshold).any(0).double().mean()),
            "false_z": 100 * float(really_separated(anew, own, other, floor, drawn).double().mean()),
            "copy_distance": float(anew.median()),
        }


class _Outputs(NamedTuple):
    """Outputs of networks, each with noise of its own but for `moved`."""

    first: Float[Tensor, "*t s o"]
    again: Float[Tensor, "*t s o"]
    original: Float[Tensor, "*t c o"]
    moved: Float[Tensor, "*t c o"]
    copy: Float[Tensor, "*t c o"]
    third: Float[Tensor, "*t c o"]
    fourth: Float[Tensor, "*t c o"]


@dataclass(frozen=True)
class _Runs:
    """One network on all graphs, their copies, and the copies of the control.

    Args:
        network: in evaluation mode.
        signature: of the graphs.
        samples: the graphs.
        config: how many copies, and graphs at once.
        generator: of relabellings and noise.
    """

    network: nn.Module
    signature: Graphs
    samples: GraphSamples
    config: SeparationConfig
    generator: torch.Generator

    @torch.no_grad()
    def all(self) -> _Outputs:
        """Every run, a batch after another."""
        everything = [self.twice(batch) for batch in self._batches(torch.arange(len(self.samples)))]
        first, again = (torch.cat(part) for part in zip(*everything, strict=True))
        chosen = torch.randperm(len(self.samples), generator=self.generator)[torch.arange(self.config.copies) % len(self.samples)]
        control = [self.controlled(batch) for batch in self._batches(chosen)]
        return _Outputs(first, again, *(torch.cat(part) for part in zip(*control, strict=True)))

    def twice(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Outputs for graphs, and for copies of them."""
        return self.output(inputs), self.output(self.relabelled(inputs))

    def controlled(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Outputs for graphs, for copies with the noise moved along, for copies with noise of their own, and for copies of both."""
        contract = getattr(self.network, "symmetry", self.signature.symmetry())
        noisy = inputs | draw_noise(self.network, inputs, self.generator)
        moved = contract.transform(contract.sample(inputs, self.generator), noisy)
        copy = {name: moved[name] for name in inputs}
        runs = (self.output(copy), self.output(self.relabelled(inputs)), self.output(self.relabelled(copy)))
        return self.network(**noisy), self.network(**moved), *runs

    def output(self, inputs: dict[str, Tensor]) -> Tensor:
        """Outputs with noise of their own."""
        outputs: Tensor = self.network(**inputs, **draw_noise(self.network, inputs, self.generator))
        return outputs

    def relabelled(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copies: the same graphs with other names for their nodes."""
        contract = self.signature.symmetry()
        return contract.transform(contract.sample(inputs, self.generator), inputs)

    def _batches(self, indices: Tensor) -> Iterator[dict[str, Tensor]]:
        names = ("adjacency", "features", "mask") if self.signature.node_features else ("adjacency", "mask")
        for part in indices.split(self.config.batch_size):  # type: ignore[no-untyped-call]
            batch = self.samples.take(part)
            yield {name: batch[name] for name in names}


def really_separated(
    between: Float[Tensor, "t *p"], first: Float[Tensor, "t *#p"], second: Float[Tensor, "t *#p"], floor: float = 0.0, drawn: bool = True
) -> Bool[Tensor, "*p"]:
    """Whether pairs are further apart than copies of the same are, by five standard errors of the distance between copies.

    Where the laws of both graphs are the same, so are those of the three distances in a network: their variance among each other estimates
    that of any, and the variance of the excess is at most 3/2 of it, as distances from the same output do not vary against each other. All
    three count, because noise may be rare: most networks order most graphs alike however the noise falls. So five standard errors take 13
    networks at least.

    Args:
        between: distances of the two outputs of each pair in each network.
        first: distances of the outputs of two copies of the first of each pair.
        second: of the second.
        floor: mean differences that are not larger are rounding.
        drawn: whether outputs for copies differ at all; where they do not, any difference above the floor counts.
    """
    excess = between.mean(0) - (first.mean(0) + second.mean(0)) / 2
    if not drawn:
        return excess > floor
    squares = (between - first).square_().sum(0) + (between - second).square_().sum(0) + (first - second).square_().sum(0)
    return (excess > floor) & (excess > SIGMAS * (squares / 4).sqrt() / len(between))


class Block(NamedTuple):
    """Some of the pairs.

    Args:
        distances: of the outputs of each pair in each network, `[t, *p]`.
        first: numbers of the first graphs, to be broadcast to `[*p]`.
        second: of the second.
        counted: which pairs count; a rectangle of all pairs has some twice.
    """

    distances: Float[Tensor, "t *p"]
    first: Int64[Tensor, "*#p"]
    second: Int64[Tensor, "*#p"]
    counted: Bool[Tensor, "*p"]


def blocks(outputs: Float[Tensor, "t s o"], pairs: Int64[Tensor, "p 2"] | None) -> Iterator[Block]:
    """Pairs with their distances, so many at once as fit into memory.

    Args:
        outputs: of each network for each graph.
        pairs: which ones; None for all pairs of different graphs.
    """
    networks, graphs = outputs.shape[:2]
    room = max(1, BLOCK // networks)
    if pairs is not None:
        for part in pairs.split(room):  # type: ignore[no-untyped-call]
            first, second = part.unbind(-1)
            yield Block((outputs[:, first] - outputs[:, second]).abs().sum(-1), first, second, torch.ones(len(part), dtype=torch.bool))
        return
    rows = max(1, room // graphs)
    for start in range(0, graphs - 1, rows):
        first, second = torch.arange(start, min(start + rows, graphs)).unsqueeze(-1), torch.arange(start, graphs).unsqueeze(0)
        yield Block(torch.cdist(outputs[:, start : start + rows], outputs[:, start:], p=1), first, second, first < second)


def _network(model: Any, signature: Graphs, seed: int) -> nn.Module:
    """A network with weights of its own, in evaluation mode and double precision, which keeps rounding far below the threshold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = model.build(signature)
    return network.double().eval()


def _places(config: SeparationConfig, largest: int) -> int:
    """Places for nodes: as many as EXP is published with, however few of its graphs are taken."""
    return LARGEST if config.graphs == "exp" and not config.published else largest


@lru_cache(maxsize=4)
def _chosen(graphs: str, published: bool, size: int | None, folder: str | None, seed: int) -> GraphPairs:
    """The graphs and pairs, of the first graphs only where a size is given."""
    if graphs == "graph8c":
        found = expressivity.graph8c()
    elif graphs == "exp":
        count = PAIRS if size is None else min(PAIRS, size // 2)
        found = expressivity.exp(require_folder(folder, "EXP") if published else None, seed, count)
    else:
        found = READERS[graphs](require_folder(folder, graphs.upper()))
    whole = 2 * PAIRS if graphs == "exp" else len(found.graphs)
    if size is None or size >= whole:
        return found
    pairs = None if found.pairs is None else found.pairs[(found.pairs < size).all(1)]
    if pairs is not None and not len(pairs):
        raise ConfigError(f"size is {size}: no pair of {graphs} is among the first {size} graphs")
    kinds = None if found.kinds is None else found.kinds[:size]
    return GraphPairs(found.graphs[:size], pairs, kinds, (*found.notes, f"the first {size:,} of {whole:,} graphs only"))
