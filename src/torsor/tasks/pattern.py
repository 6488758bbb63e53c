"""Which nodes of a graph are the pattern's? Nodes of two classes in stochastic block models.

Dwivedi et al.: Benchmarking graph neural networks (2020), PATTERN.

Axes: b batch, s samples, n nodes, c classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from torsor.config import Settings
from torsor.data.graphs import GraphSamples
from torsor.data.samples import Splits
from torsor.data.stochastic_blocks import LARGEST, VALUES, generate, patterns
from torsor.errors import ConfigError
from torsor.representations import Permuted
from torsor.signatures import Graphs
from torsor.tasks.base import Task, with_targets

SPLITS = ("train", "valid", "test")
CLASSES = 2
PUBLISHED_BATCH = 128
"""Graphs over which published accuracies are averaged by class, before the mean over such batches."""


@dataclass(frozen=True)
class PatternConfig(Settings):
    """Which graphs, and what a model returns.

    Args:
        train_size: training graphs; a smaller set is a prefix of a larger one.
        valid_size: validation graphs.
        test_size: test graphs.
        level: "node" for an output of each node; "pair" for one of each pair of nodes, of which the diagonal is read.
        seed: of the patterns and the graphs.
    """

    train_size: int = 10_000
    valid_size: int = 2_000
    test_size: int = 2_000
    level: Literal["node", "pair"] = "node"
    seed: int = 0

    def build(self) -> PatternTask:
        """Make the task.

        Raises:
            ConfigError: a split is empty.
        """
        return PatternTask(self)


class PatternTask(Task):
    """Tell the nodes of a hidden pattern from all others.

    Fed: the graph, and the value of each node, one-hot. Returned: a logit of each class for each node, or for each pair, of which those on
    the diagonal count. Loss: cross entropy of all nodes of a batch, each class weighted by the share of the other. Metrics: the mean over
    classes of the share of nodes that are classified wrongly, over batches of 128 graphs as published ("error", which depends on the order
    of the graphs a little) and over all nodes ("error_global").

    Args:
        config: which graphs.
    """

    name = "pattern"
    headline = "error"
    notes = ("graphs of our own generator, with the published parameters; not those of the published file",)

    def __init__(self, config: PatternConfig) -> None:
        for name in ("train_size", "valid_size", "test_size"):
            if getattr(config, name) < 1:
                raise ConfigError(f"{name} is {getattr(config, name)}: give 1 or more")
        self.config = config
        self.signature = Graphs(node_features=VALUES, outputs=CLASSES, level=config.level, nodes=LARGEST)
        self.symmetry = with_targets(self.signature.symmetry(), {"target": Permuted(1)})
        self.units = {"error": "", "error_global": ""}

    @property
    def splits(self) -> Splits:
        """Train, validation and test graphs; generated once a process."""
        sizes = (self.config.train_size, self.config.valid_size, self.config.test_size)
        return Splits(*(_samples(self.config.seed, split, size) for split, size in zip(SPLITS, sizes, strict=True)))

    def loss(self, output: Float[Tensor, "b n *m c"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Cross entropy of the nodes, with each class weighted by the share of nodes of other classes in the batch."""
        logits, labels = of_nodes(output)[batch["mask"]], batch["target"][batch["mask"]]
        weights = 1 - labels.bincount(minlength=CLASSES).to(logits.dtype) / len(labels)
        return cross_entropy(logits, labels, weights)

    def metrics(self, output: Float[Tensor, "b n *m c"], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of every graph, how many nodes of each class it has and how many of them are classified wrongly; ties go to class 0."""
        wrong = of_nodes(output).argmax(-1) != batch["target"]
        of_class = torch.stack([(batch["target"] == c) & batch["mask"] for c in range(CLASSES)], -1)
        return {"nodes": of_class.sum(1), "wrong": (of_class & wrong.unsqueeze(-1)).sum(1)}

    def over_split(self, kept: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "s"]]:
        """Each graph's share of both errors."""
        nodes, wrong = kept["nodes"], kept["wrong"]
        return {"error": error_shares(nodes, wrong, PUBLISHED_BATCH), "error_global": error_shares(nodes, wrong, len(nodes))}

    def baselines(self) -> dict[str, dict[str, float]]:
        """All nodes in the larger class; and the best bound on a node's degree, by class-averaged error of training graphs."""
        seed, sizes = self.config.seed, {"train": self.config.train_size, "test": self.config.test_size}
        train, test = (_degrees(_samples(seed, split, size)) for split, size in sizes.items())
        bounds = torch.unique(torch.cat([degrees for degrees, _ in train]))
        errors = _threshold_errors(train, bounds)
        best = float(bounds[errors.argmin()])
        figures = {}
        for name, bound in (("majority", float("inf")), ("degree", best)):
            counts = [_counted(degrees > bound, labels) for degrees, labels in test]
            nodes, wrong = (torch.stack(part) for part in zip(*counts, strict=True))
            found = self.over_split({"nodes": nodes, "wrong": wrong})
            figures[name] = {metric: float(value.mean()) for metric, value in found.items()}
        return figures


def of_nodes(output: Float[Tensor, "b n *m c"]) -> Float[Tensor, "b n c"]:
    """Outputs of nodes: as they are, or the diagonal of those of pairs."""
    return output.diagonal(dim1=1, dim2=2).movedim(-1, 1) if output.ndim == 4 else output


def error_shares(nodes: Tensor, wrong: Tensor, batch: int) -> Float[Tensor, "s"]:
    """Shares whose mean is the mean over batches of `batch` samples in a row of the mean over classes of the share that is wrong.

    A class that a batch has no node of counts as wholly wrong; graphs of PATTERN have nodes of both.

    Args:
        nodes: of each sample and class, `[s, c]`.
        wrong: how many of them are wrong.
        batch: samples in a batch; the last one may have fewer.
    """
    samples, classes = nodes.shape
    number = torch.arange(samples) // batch
    batches = int(number[-1]) + 1
    total = torch.zeros(batches, classes, dtype=torch.float64).index_add_(0, number, nodes.double())
    members = number.bincount().double()
    share = torch.where(total[number] > 0, wrong.double() / total.clamp(min=1)[number], 1 / members[number].unsqueeze(-1))
    return share.mean(-1) * samples / batches


@lru_cache(maxsize=6)
def _samples(seed: int, split: str, size: int) -> GraphSamples:
    """One split. Splits have generators of their own, so that the size of one leaves the others as they are."""
    generator = torch.Generator().manual_seed(len(SPLITS) * seed + SPLITS.index(split))
    return generate(size, patterns(seed), generator)


def _degrees(samples: GraphSamples) -> list[tuple[Tensor, Tensor]]:
    """Degrees and labels of the nodes of each graph."""
    edges, labels = samples.graphs.edges, samples.graphs.nodes["target"]
    first = labels.starts[edges.owners] + edges.rows[:, 0].long()
    degrees = first.bincount(minlength=len(labels.rows)).double()
    ends = labels.counts.cumsum(0)[:-1]
    return list(zip(degrees.tensor_split(ends), labels.rows.tensor_split(ends), strict=True))


def _counted(found: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes of each class, and how many of them are wrong."""
    wrong = found != labels.bool()
    return labels.bincount(minlength=CLASSES), labels[wrong].bincount(minlength=CLASSES)


def _threshold_errors(parts: list[tuple[Tensor, Tensor]], bounds: Tensor) -> Tensor:
    """Class-averaged error over all nodes where those of a degree above a bound are taken for the pattern's, for each bound."""
    degrees, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    outside, inside = degrees[labels == 0].sort().values, degrees[labels == 1].sort().values
    false = 1 - torch.searchsorted(outside, bounds, right=True).double() / len(outside)
    missed = torch.searchsorted(inside, bounds, right=True).double() / len(inside)
    return (false + missed) / 2
