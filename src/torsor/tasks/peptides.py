"""Long-range interactions in molecules: functions and shapes of peptides, and atoms that touch though they are bonds apart.

Dwivedi et al.: Long range graph benchmark (2022): Peptides-func, Peptides-struct and PCQM-Contact, from local files, or their stand-ins
from `data.peptide_chains`.

Axes: b batch, s samples, n nodes, c labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from torsor.config import Settings
from torsor.data import long_range_graphs as lrgb
from torsor.data import peptide_chains as chains
from torsor.data.archives import require_folder
from torsor.data.graphs import GraphSamples
from torsor.data.molecular_graphs import ATOM_FEATURES, BOND_FEATURES, ELEMENT_CHANNELS, molecular_graphs
from torsor.data.samples import Splits
from torsor.errors import ConfigError
from torsor.representations import Pairs, Trivial
from torsor.signatures import Graphs
from torsor.tasks.base import Task, with_targets
from torsor.tasks.rankings import average_precision_shares, link_ranks, mean_over_links

SPLITS = ("train", "valid", "test")
LENGTHS, ATOMS = (4, 12), 160
"""Residues of a generated peptide, and places for its atoms."""
HELIX_LENGTHS = (6, 8)
"""Residues of a generated peptide with contacts."""
HITS = (1, 3, 10)


@dataclass(frozen=True)
class MoleculeGraphsConfig(Settings):
    """Which molecules.

    Args:
        source: "generate" for random peptides, a stand-in; "published" to read the benchmark from `folder`.
        train_size: training molecules, all if not given (2,000 of the generated); a smaller set is a prefix of a larger one.
        valid_size: validation molecules, all if not given (300 of the generated).
        test_size: test molecules, likewise.
        folder: folder of data sets for "published"; the variable TORSOR_DATA if not given.
        seed: of the generated peptides.
    """

    source: Literal["generate", "published"] = "generate"
    train_size: int | None = None
    valid_size: int | None = None
    test_size: int | None = None
    folder: str | None = None
    seed: int = 0

    def sizes(self) -> dict[str, int | None]:
        """Samples of each split; None for all there are.

        Raises:
            ConfigError: a split is empty.
        """
        given = {split: getattr(self, f"{split}_size") for split in SPLITS}
        for split, size in given.items():
            if size is not None and size < 1:
                raise ConfigError(f"{split}_size is {size}: give 1 or more")
        if self.source == "published":
            return given
        return {split: size or (2000 if split == "train" else 300) for split, size in given.items()}


@dataclass(frozen=True)
class PeptidesFuncConfig(MoleculeGraphsConfig):
    """Settings of Peptides-func: see `MoleculeGraphsConfig`."""

    def build(self) -> PeptidesFuncTask:
        """Make the task."""
        return PeptidesFuncTask(self)


@dataclass(frozen=True)
class PeptidesStructConfig(MoleculeGraphsConfig):
    """Settings of Peptides-struct: see `MoleculeGraphsConfig`."""

    def build(self) -> PeptidesStructTask:
        """Make the task."""
        return PeptidesStructTask(self)


@dataclass(frozen=True)
class PcqmContactConfig(MoleculeGraphsConfig):
    """Settings of PCQM-Contact: see `MoleculeGraphsConfig`."""

    def build(self) -> PcqmContactTask:
        """Make the task."""
        return PcqmContactTask(self)


class MoleculeGraphsTask(Task):
    """What the three problems share: molecules as graphs, split.

    Args:
        config: which molecules.
        outputs: numbers that a model returns.
        level: of what.
        atoms: places for the atoms of a published molecule, and of a generated one.
    """

    config: MoleculeGraphsConfig
    kind: str

    def __init__(self, config: MoleculeGraphsConfig, outputs: int, level: str, atoms: tuple[int, int]) -> None:
        config.sizes()
        self.config = config
        self.generated = config.source == "generate"
        self.signature = Graphs(ATOM_FEATURES, BOND_FEATURES, outputs, level, atoms[self.generated])
        stand_in = "random peptides with targets of their sequence, a stand-in for the benchmark: not comparable with published tables"
        features = "features of atoms and bonds are read from SMILES: the published ones hold hybridisation, radicals and conjugation, too"
        self.notes = (stand_in,) if self.generated else (features,)

    @property
    def splits(self) -> Splits:
        """Train, validation and test molecules; generated or read once a process."""
        return Splits(*(self._split(split) for split in SPLITS))

    def _split(self, split: str) -> GraphSamples:
        size = self.config.sizes()[split]
        if self.generated:
            assert size is not None
            return self.generate(split, size)
        found = _published(self.kind, self.config.folder)[split]
        return found if size is None else found.prefix(size)

    @abstractmethod
    def generate(self, split: str, size: int) -> GraphSamples:
        """A split of the stand-in."""


class PeptidesFuncTask(MoleculeGraphsTask):
    """Say which of ten functions a peptide has.

    Fed: the graph of the peptide, features of its atoms and bonds. Returned: the logarithm of the odds of each label. Loss: cross entropy,
    meant over labels. Metrics: one minus the average precision, meant over labels, and the cross entropy.

    Args:
        config: which molecules.
    """

    name = "peptides-func"
    kind = "func"
    headline = "one_minus_ap"
    units: Mapping[str, str] = {"one_minus_ap": "", "cross_entropy": "nats"}

    def __init__(self, config: PeptidesFuncConfig) -> None:
        super().__init__(config, lrgb.LABELS, "graph", (lrgb.PEPTIDE_ATOMS, ATOMS))
        self.symmetry = with_targets(self.signature.symmetry(), {"target": Trivial()})

    def loss(self, output: Float[Tensor, "b c"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Cross entropy."""
        return binary_cross_entropy_with_logits(output, batch["target"])

    def metrics(self, output: Float[Tensor, "b c"], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Odds and labels, which the average precision needs all of, and the cross entropy."""
        entropy = binary_cross_entropy_with_logits(output, batch["target"], reduction="none").mean(-1)
        return {"odds": output, "labels": batch["target"], "cross_entropy": entropy}

    def over_split(self, kept: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "s"]]:
        """The average precision as shares of the samples."""
        shares = average_precision_shares(kept["odds"], kept["labels"]).to(kept["odds"].device)
        return {"one_minus_ap": shares, "cross_entropy": kept["cross_entropy"]}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The frequency of each label; and the number of atoms as a score, up or down by the training peptides."""
        train, test = self._split("train"), self._split("test")
        labels = train["target"].double()
        odds, mean = labels.mean(0).logit(1e-6), _sizes(train).mean()
        slopes = ((_sizes(train) - mean).unsqueeze(-1) * (labels - labels.mean(0))).mean(0).sign()
        tilt = slopes * (_sizes(test) - mean).unsqueeze(-1) / lrgb.PEPTIDE_ATOMS  # enough to rank, too little to count
        scores = {"frequency": odds.expand(len(test), -1), "size": odds + tilt}
        target = {"target": test["target"].double()}
        return {name: _means(self.over_split(self.metrics(score, target))) for name, score in scores.items()}

    def generate(self, split: str, size: int) -> GraphSamples:
        """Peptides whose ten labels say whether the autocorrelations at lags 1 to 10 are positive."""
        samples = _chains(self.config.seed, split, size)
        return GraphSamples(samples.graphs, ATOMS, {"target": (samples["target"][:, : lrgb.LABELS] > 0).double()})


class PeptidesStructTask(MoleculeGraphsTask):
    """Tell eleven properties of the shape of a peptide from its graph.

    Fed: the graph of the peptide, features of its atoms and bonds. Returned: the eleven numbers, each in units of its standard deviation.
    Loss and metric: the mean absolute error.

    Args:
        config: which molecules.
    """

    name = "peptides-struct"
    kind = "struct"
    headline = "mae"
    units: Mapping[str, str] = {"mae": "standard deviations"}

    def __init__(self, config: PeptidesStructConfig) -> None:
        super().__init__(config, len(lrgb.STRUCTURE), "graph", (lrgb.PEPTIDE_ATOMS, ATOMS))
        self.symmetry = with_targets(self.signature.symmetry(), {"target": Trivial()})

    def loss(self, output: Float[Tensor, "b c"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean absolute error."""
        return (output - batch["target"]).abs().mean()

    def metrics(self, output: Float[Tensor, "b c"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Mean absolute error of every peptide."""
        return {"mae": (output - batch["target"]).abs().mean(-1)}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The median of each number; and the line through the training peptides over the number of atoms (least squares)."""
        train, test = self._split("train"), self._split("test")
        target, truth = train["target"].double(), {"target": test["target"].double()}
        design = torch.stack((torch.ones(len(train), dtype=torch.float64), _sizes(train)), -1)
        line = torch.linalg.lstsq(design, target).solution
        guesses = {
            "median": target.median(0).values.expand(len(test), -1),
            "size": torch.stack((torch.ones(len(test), dtype=torch.float64), _sizes(test)), -1) @ line,
        }
        return {name: _means(self.metrics(guess, truth)) for name, guess in guesses.items()}

    def generate(self, split: str, size: int) -> GraphSamples:
        """Peptides with eleven autocorrelations, each in units of its standard deviation about its mean over the training peptides."""
        samples = _chains(self.config.seed, split, size)
        train = _chains(self.config.seed, "train", self.config.sizes()["train"] or 1)["target"]
        deviation = train.std(0, correction=0).clamp(min=1e-6)
        return GraphSamples(samples.graphs, ATOMS, {"target": (samples["target"] - train.mean(0)) / deviation})


class PcqmContactTask(MoleculeGraphsTask):
    """Say which atoms of a molecule touch though they are bonds apart.

    Fed: the graph of the molecule, features of its atoms and bonds. Returned: the logarithm of the odds of each ordered pair. Loss: cross
    entropy of all pairs of different atoms. Metrics: for each contact and each of its two atoms the other one is ranked among all atoms
    (ties count half); one minus the mean reciprocal rank and the shares of ranks above 1, 3 and 10, as published, each meant over the
    contacts of a molecule first; and the first without rivals that are contacts themselves ("filtered").

    Args:
        config: which molecules.
    """

    name = "pcqm-contact"
    kind = "contact"
    headline = "one_minus_mrr"
    units: Mapping[str, str] = {"one_minus_mrr": "", "one_minus_mrr_filtered": ""} | {f"one_minus_hits_{k}": "" for k in HITS}

    def __init__(self, config: PcqmContactConfig) -> None:
        super().__init__(config, 1, "pair", (lrgb.CONTACT_ATOMS, lrgb.CONTACT_ATOMS))
        self.symmetry = with_targets(self.signature.symmetry(), {"contacts": Pairs(1, 2)})

    def loss(self, output: Float[Tensor, "b n n 1"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Cross entropy of all ordered pairs of different atoms, meant over the pairs of a molecule first."""
        mask = batch["mask"]
        pairs = mask.unsqueeze(1) & mask.unsqueeze(2) & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        entropy = binary_cross_entropy_with_logits(output[..., 0], batch["contacts"], reduction="none")
        return (entropy.where(pairs, 0).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)).mean()

    def metrics(self, output: Float[Tensor, "b n n 1"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Ranks of the contacts of every molecule; a molecule without any has found none."""
        contacts, scores = batch["contacts"] > 0, output[..., 0]
        ranks = link_ranks(scores, contacts, batch["mask"], filtered=False)
        filtered = link_ranks(scores, contacts, batch["mask"], filtered=True)
        found = {"mrr": 1 / ranks, "mrr_filtered": 1 / filtered} | {f"hits_{k}": (ranks <= k).to(ranks.dtype) for k in HITS}
        return {f"one_minus_{name}": 1 - mean_over_links(values, contacts) for name, values in found.items()}

    def baselines(self) -> dict[str, dict[str, float]]:
        """Every pair alike; and how often training atoms of the two elements touch."""
        train, test = self._split("train"), self._split("test")
        rates = _element_rates(train)
        sums: dict[str, dict[str, float]] = {"alike": {}, "elements": {}}
        for start in range(0, len(test), 64):
            batch = test.to(torch.float64).take(slice(start, start + 64))
            elements = _elements(batch["features"])
            scores = {"alike": torch.zeros_like(batch["adjacency"]), "elements": rates[elements.unsqueeze(2), elements.unsqueeze(1)]}
            for name, score in scores.items():
                for metric, values in self.metrics(score.unsqueeze(-1), batch).items():
                    sums[name][metric] = sums[name].get(metric, 0.0) + float(values.sum()) / len(test)
        return sums

    def generate(self, split: str, size: int) -> GraphSamples:
        """Short peptides with the contacts of an alpha helix."""
        return _helices(self.config.seed, split, size)


@lru_cache(maxsize=6)
def _chains(seed: int, split: str, size: int) -> GraphSamples:
    """Random peptides with eleven autocorrelations."""
    peptides = chains.random_peptides(size, LENGTHS, _generator(seed, split))
    targets = torch.stack([chains.autocorrelations(peptide.sequence, len(lrgb.STRUCTURE)) for peptide in peptides])
    return GraphSamples(molecular_graphs([peptide.molecule for peptide in peptides]), ATOMS, {"target": targets})


@lru_cache(maxsize=6)
def _helices(seed: int, split: str, size: int) -> GraphSamples:
    """Random short peptides with contacts."""
    peptides = chains.random_peptides(size, HELIX_LENGTHS, _generator(seed, split), chains.SMALL)
    pairs = {"contacts": [chains.contacts(peptide) for peptide in peptides]}
    return GraphSamples(molecular_graphs([peptide.molecule for peptide in peptides], pairs), lrgb.CONTACT_ATOMS)


def _generator(seed: int, split: str) -> torch.Generator:
    """Splits have generators of their own, so that the size of one leaves the others as they are."""
    return torch.Generator().manual_seed(len(SPLITS) * seed + SPLITS.index(split))


@lru_cache(maxsize=3)
def _published(kind: str, folder: str | None) -> dict[str, GraphSamples]:
    """The splits of a published set."""
    here = require_folder(folder, "the long-range graph benchmark")
    found = lrgb.read_contacts(here) if kind == "contact" else lrgb.read_peptides(here, kind)
    targets = {} if found.targets is None else {"target": found.targets}
    everything = GraphSamples(found.graphs, lrgb.CONTACT_ATOMS if kind == "contact" else lrgb.PEPTIDE_ATOMS, targets)
    return {split: everything.subset(found.splits[split]) for split in SPLITS}


def _sizes(samples: GraphSamples) -> Float[Tensor, "s"]:
    """Atoms of each molecule."""
    return samples.graphs.sizes.double()


def _means(found: Mapping[str, Tensor]) -> dict[str, float]:
    return {metric: float(values.mean()) for metric, values in found.items()}


def _elements(features: Tensor) -> Tensor:
    """The element channel of each atom."""
    return features[..., :ELEMENT_CHANNELS].to(torch.uint8).argmax(-1)


def _element_rates(samples: GraphSamples) -> Float[Tensor, "k k"]:
    """How often an atom of one element touches one of another, among all ordered pairs of atoms of a molecule."""
    graphs = samples.graphs
    assert graphs.pairs is not None
    atoms, touching = graphs.nodes["features"], graphs.pairs["contacts"]
    elements = _elements(atoms.rows)
    counts = torch.zeros(len(graphs), ELEMENT_CHANNELS, dtype=torch.float64)
    counts.index_put_((atoms.owners, elements), torch.ones(len(elements), dtype=torch.float64), accumulate=True)
    first, second = elements[atoms.starts[touching.owners].unsqueeze(-1) + touching.rows.long()].unbind(-1)
    hits = torch.zeros(ELEMENT_CHANNELS, ELEMENT_CHANNELS, dtype=torch.float64)
    hits.index_put_((first, second), torch.ones(len(first), dtype=torch.float64), accumulate=True)
    return hits / (counts.T @ counts).clamp(min=1)
