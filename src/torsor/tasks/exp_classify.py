"""Is the formula of a graph satisfiable? Pairs of graphs that message passing does not tell apart.

Abboud, Ceylan, Grohe, Lukasiewicz: The surprising power of graph neural networks with random node initialization (2021), with the split of
Balcilar et al. (2021) that Kim et al.: Learning Probabilistic Symmetrization (2023) use, too. No network whose answers colour refinement
bounds can do better than chance, and the answer does not depend on the names of the nodes.

Axes: b batch, n nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from torsor.config import Settings
from torsor.data.archives import require_folder
from torsor.data.expressivity import FOLDER, read_formulas
from torsor.data.graphs import GraphSamples, sparse
from torsor.data.samples import Splits
from torsor.data.satisfiability import LARGEST, PAIRS, FormulaGraph, pairs
from torsor.errors import ConfigError
from torsor.representations import Trivial
from torsor.signatures import Graphs
from torsor.tasks.base import Task, with_targets

VALID, TEST = range(200), range(200, 400)
"""The published split by number of graph; what is left, from 400 on, is for training."""
PUBLISHED_LARGEST = 73
"""Nodes of the largest graph of the published text file."""


@dataclass(frozen=True)
class ExpClassifyConfig(Settings):
    """Which formulas.

    Args:
        train_size: training graphs, at most 800; a smaller set is a prefix of a larger one.
        source: "generate", or "published" to read the text file of EXP from `folder`.
        folder: folder of data sets for "published"; the variable TORSOR_DATA if not given.
        seed: of the generated formulas.
    """

    train_size: int = 2 * PAIRS - len(VALID) - len(TEST)
    source: Literal["generate", "published"] = "generate"
    folder: str | None = None
    seed: int = 0

    def build(self) -> ExpClassifyTask:
        """Make the task.

        Raises:
            ConfigError: there are not so many training graphs.
        """
        return ExpClassifyTask(self)


class ExpClassifyTask(Task):
    """Tell formulas that can be satisfied from those that cannot.

    Fed: the graph of the formula; of each node its kind (0 for a clause, 1 for a literal) and its degree. Returned: the logarithm of the
    odds that the formula is satisfiable. Metrics: the share of graphs on the wrong side of even odds, and the cross entropy.

    Args:
        config: which formulas.
    """

    name = "exp-classify"
    headline = "error"

    def __init__(self, config: ExpClassifyConfig) -> None:
        most = 2 * PAIRS - len(VALID) - len(TEST)
        if not 1 <= config.train_size <= most:
            raise ConfigError(f"train_size is {config.train_size}: EXP has 1 to {most} training graphs")
        self.config = config
        generated = config.source == "generate"
        self.signature = Graphs(node_features=2, outputs=1, level="graph", nodes=LARGEST if generated else PUBLISHED_LARGEST)
        self.symmetry = with_targets(self.signature.symmetry(), {"target": Trivial()})
        self.units = {"error": "", "cross_entropy": "nats"}
        stand_in = "pairs of our own generator: as hard for message passing as the published ones, but other formulas"
        text = "the published text file, another draw than the published pickle: its graphs have up to 73 nodes, not 64"
        self.notes = (stand_in if generated else text,)

    @property
    def splits(self) -> Splits:
        """Train, validation and test graphs; generated or read once a process."""
        config = self.config
        samples = _samples(config.source, config.folder, config.seed, self.signature.nodes)
        train = samples.subset(torch.arange(TEST.stop, TEST.stop + config.train_size))
        return Splits(train, *(samples.subset(torch.tensor(part)) for part in (VALID, TEST)))

    def loss(self, output: Float[Tensor, "b 1"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Cross entropy."""
        return binary_cross_entropy_with_logits(output[:, 0], batch["target"])

    def metrics(self, output: Float[Tensor, "b 1"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Wrong side and cross entropy of every graph; even odds are half wrong."""
        odds, target = output[:, 0], batch["target"]
        side = (2 * target - 1) * odds.sign()
        return {"error": (1 - side) / 2, "cross_entropy": binary_cross_entropy_with_logits(odds, target, reduction="none")}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The more frequent answer of the training graphs, as likely as it is there. Both are as frequent in whole pairs."""
        splits = self.splits
        share = splits.train["target"].double().mean()
        target = splits.test["target"].double()
        found = self.metrics(share.logit(1e-6).expand(len(target), 1), {"target": target})
        return {"majority": {metric: float(value.mean()) for metric, value in found.items()}}


@lru_cache(maxsize=4)
def _samples(source: str, folder: str | None, seed: int, places: int) -> GraphSamples:
    """All graphs, in their published order."""
    if source == "generate":
        return formula_samples(pairs(PAIRS, seed), places)
    return formula_samples(read_formulas(require_folder(folder, "EXP") / FOLDER / "EXP_GRAPHSAT.txt"), places)


def formula_samples(formulas: tuple[FormulaGraph, ...], places: int) -> GraphSamples:
    """Graphs of formulas as samples: features are kind and degree, the target is 1 where the formula is satisfiable."""
    features = [torch.stack((formula.kinds, formula.adjacency.sum(1)), -1) for formula in formulas]
    graphs = sparse([formula.adjacency for formula in formulas], {"features": features})
    return GraphSamples(graphs, places, {"target": torch.tensor([float(formula.satisfiable) for formula in formulas])})
