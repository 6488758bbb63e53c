"""Energies, forces and properties of molecules.

Forces: rMD17 (Christensen, von Lilienfeld 2020) and MD17 (Chmiela et al. 2017), or the user's own molecules. Properties: QM9 (Ramakrishnan
et al. 2014; twelve targets, L1 loss on standardised targets as in SE(3)-Transformers, section 4.3, and LieTransformer, section 5.2) and
QM7. The default, ethanol's official split 1, ships with torsor and works offline.

The symmetry is exact: energies do not change under E(3) x S(n), forces turn and are permuted with the atoms. Energies are kcal/mol, forces
kcal/mol/angstrom, positions angstrom; force and energy errors are told in meV as well.

Axes: b batch, n atoms of the largest molecule.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.data.atom_features import BOND_KINDS, AtomFeatures, bond_kinds, charge_powers, elements_and_number, one_hot
from torsor.data.catalogue import MoleculeSets, Request, load
from torsor.data.molecules import KCAL_PER_MOL_IN_EV, Molecules
from torsor.data.qm9 import FREE_ATOMS, PROPERTIES
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError, unknown_name
from torsor.groups import E, S
from torsor.nn.energy_forces import EnergyForces
from torsor.representations import Irreps, Permuted, Trivial
from torsor.signatures import PointClouds, Pool
from torsor.tasks.base import Task, with_targets

MEV = 1000 * KCAL_PER_MOL_IN_EV
"""A kcal/mol in meV."""
ENERGY_UNITS = {"energy_mae_mev": "meV", "energy_mae_kcal": "kcal/mol"}
FORCE_UNITS = {"force_mae_mev": "meV/angstrom", "force_mae_kcal": "kcal/mol/angstrom"}
ENERGY_ACTION = (Trivial(), Trivial())
FORCE_ACTION = (Irreps("1x1o"), Permuted(1))
DESCRIBE = {"elements": one_hot, "charge powers": charge_powers, "bonds": elements_and_number}
"""The features of an atom; "bonds" adds features of pairs."""
Reference = Literal["fitted", "mean", "free atoms", "none"]


@dataclass(frozen=True)
class MoleculesConfig(Settings):
    """Which molecules, and what to predict of them.

    Args:
        dataset: "rmd17", "md17", "qm7", "qm9", the partial "qm9-under14" (U0, homo, lumo, gap), "qm9-all-targets" (197 molecules) and
            "qm9-11k" (energy), or "file" for the user's own.
        molecule: molecule of rMD17 or MD17.
        split: official split of rMD17 (1 to 5); elsewhere the seed of a random split. Full QM9 has one published split.
        target: "forces", "energy", "energy+forces", or a property: "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G",
            "Cv" of QM9, or any key of the user's file.
        forces: "gradient" of a predicted energy, or "direct" vectors, one an atom (target "forces" alone).
        train_size: training molecules, the first of the pool; all that are not for validation if not given.
        valid_size: validation molecules, the last of the pool; what is customary if not given.
        test_size: test molecules, the first of the test set; all if not given.
        features: what is told of an atom. "elements", one-hot; "charge powers", one-hot times 1, Z/9 and (Z/9)^2 (LieTransformer's);
            "bonds", one-hot and atomic number, and four kinds of bonds for each pair, told from their lengths (SE(3)-Transformer).
        reference: what is subtracted from a property before it is learned. "fitted", contributions of atoms by least squares over the
            training molecules; "mean", their mean; "free atoms", the published values of free atoms (U0, U, H, G and Cv of QM9) and then
            the mean; "none". Left out: "fitted" for what grows with the molecule, "mean" for what does not.
        standardise: whether a property is learned in multiples of its standard deviation over the training molecules, or in its own unit.
        pool: how the outputs of atoms become a property; left out: "sum" for what grows with the molecule, "mean" for what does not.
        energy_weight: weight of the energy's squared error against the forces', in "energy+forces".
        folder: folder of data sets; the variable TORSOR_DATA if not given. Ethanol's split 1 of rMD17 needs none.
        file: extended XYZ file or ASE database (.db), for "file".
        energy_unit: unit of the energies in `file` ("eV", "kcal/mol", "Hartree", ...); forces are in it per angstrom.
        download: fetch missing files of rMD17 and QM9 into `folder`, with their checksums verified.
    """

    dataset: Literal["rmd17", "md17", "qm7", "qm9", "qm9-under14", "qm9-all-targets", "qm9-11k", "file"] = "rmd17"
    molecule: str = "ethanol"
    split: int = 1
    target: str = "forces"
    forces: Literal["gradient", "direct"] = "gradient"
    train_size: int | None = None
    valid_size: int | None = None
    test_size: int | None = None
    features: AtomFeatures = "elements"
    reference: Reference | None = None
    standardise: bool = True
    pool: Pool | None = None
    energy_weight: float = 1.0
    folder: str | None = None
    file: str | None = None
    energy_unit: str = "eV"
    download: bool = False

    def build(self) -> MoleculesTask:
        """Read the molecules and make the task.

        Raises:
            ConfigError: a value makes no sense, or the target does not go with the data set.
            DataError: files are missing or damaged.
        """
        _check(self)
        request = Request(self.dataset, self.molecule, self.split, self.target, self.folder, self.file, self.energy_unit, self.download)
        sets = load(request)
        for name in self.target.split("+") if "forces" in self.target else (self.target,):
            if name not in sets.pool.values:
                raise unknown_name(f"target of {self.dataset}", self.target, _targets(sets.pool))
        return (ForcesTask if "forces" in self.target.split("+") else PropertyTask)(self, sets)


@dataclass(frozen=True)
class QM9Config(MoleculesConfig):
    """Properties of the 130,831 molecules of QM9 in the published split: `MoleculesConfig` under another name, with QM9 as its data set.

    Args:
        dataset: "qm9", or a partial set of it: "qm9-under14" (U0, homo, lumo, gap), "qm9-all-targets" (197 molecules), "qm9-11k" (energy).
        target: "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G" or "Cv".
    """

    dataset: Literal["rmd17", "md17", "qm7", "qm9", "qm9-under14", "qm9-all-targets", "qm9-11k", "file"] = "qm9"
    target: str = "homo"


class MoleculesTask(Task):
    """What both kinds of molecular task share: the splits, one-hot elements as features, and a reference energy that is fitted.

    Args:
        config: which molecules.
        sets: the molecules.
    """

    name = "molecules"

    def __init__(self, config: MoleculesConfig, sets: MoleculeSets) -> None:
        self.config = config
        self.notes = sets.notes
        self.molecules = _split(config, sets)
        self.elements = tuple(sorted({*sets.pool.elements, *sets.test.elements}))
        self.points = max(sets.pool.numbers.shape[1], sets.test.numbers.shape[1])
        self.padded = not all(part.mask.all() for part in (sets.pool, sets.test))

    @cached_property
    def splits(self) -> Splits:
        """Train, validation and test molecules in float32."""
        return Splits(*(Samples(self._inputs(part) | self._targets(part)).to(torch.float32) for part in self.molecules))

    @abstractmethod
    def _targets(self, molecules: Molecules) -> dict[str, Tensor]:
        """The targets of a batch, less what the reference explains."""

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arguments of `forward`; kinds of bonds are told here, batch by batch, because those of all molecules fill a memory."""
        inputs = super().inputs(batch)
        if self.config.features == "bonds":
            inputs["edge_features"] = bond_kinds(batch["features"][..., -1], batch["positions"])
        return inputs

    def _inputs(self, molecules: Molecules) -> dict[str, Tensor]:
        features = DESCRIBE[self.config.features](molecules.numbers, self.elements)
        return {"positions": molecules.positions, "features": features} | ({"mask": molecules.mask} if self.padded else {})

    def _signature(self, rep_out: str, pool: Pool | None) -> PointClouds:
        width = DESCRIBE[self.config.features](torch.zeros(1, 1, dtype=torch.int64), self.elements).shape[-1]
        pairs = len(BOND_KINDS) if self.config.features == "bonds" else 0
        return PointClouds(Irreps(f"{width}x0e"), Irreps(rep_out), pairs, pool, self.points)

    def _atom_counts(self, name: str) -> Float[Tensor, "elements"]:
        """What an atom of each element contributes to a value, by least squares over the training molecules."""
        train = self.molecules[0]
        solution: Tensor = torch.linalg.lstsq(train.counts(self.elements), train[name].unsqueeze(1), driver="gelsd").solution
        return solution.squeeze(1)


class ForcesTask(MoleculesTask):
    """Predict the force on every atom, and with "energy+forces" the energy besides.

    A gradient model returns one pooled energy in multiples of `scale` (the root mean square of the training forces, times an angstrom) and
    is wrapped so that its forces come out in multiples of `scale`; a direct model returns "1x1o" an atom. Loss: mean squared error in
    multiples of `scale`.
    """

    def __init__(self, config: MoleculesConfig, sets: MoleculeSets) -> None:
        super().__init__(config, sets)
        self.gradient = config.forces == "gradient"
        self.signature = self._signature("1x0e", "sum") if self.gradient else self._signature("1x1o", None)
        self.targets = tuple(config.target.split("+"))
        self.headline = "force_mae_mev"
        self.units = FORCE_UNITS | (ENERGY_UNITS if "energy" in self.targets else {})
        actions = {name: {"energy": ENERGY_ACTION, "forces": FORCE_ACTION}[name] for name in self.targets}
        symmetry = self.signature.symmetry(E(3) * S())
        output = {"energy": ENERGY_ACTION, "forces": FORCE_ACTION} if self.gradient else FORCE_ACTION
        self.symmetry = with_targets(symmetry, actions, output)

    @cached_property
    def scale(self) -> float:
        """Root mean square of the components of the training forces, kcal/mol/angstrom."""
        train = self.molecules[0]
        return float(train["forces"][train.mask].square().mean().sqrt())

    @cached_property
    def reference(self) -> Float[Tensor, "elements"]:
        """What an atom of each element contributes to the energy."""
        return self._atom_counts("energy")

    def wrap(self, model: nn.Module) -> nn.Module:
        """A gradient model becomes one that returns {"energy", "forces"}; a direct one stays as it is."""
        return EnergyForces(model) if self.gradient else model

    def loss(self, output: Any, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean squared error of the forces, and of the energy with its weight, in multiples of `scale`."""
        forces = output["forces"] if self.gradient else output
        error = (forces - batch["forces"] / self.scale).square()
        loss: Tensor = (error[batch["mask"]] if "mask" in batch else error).mean()
        if "energy" in self.targets:
            loss = loss + self.config.energy_weight * (output["energy"] - batch["energy"] / self.scale).square().mean()
        return loss

    def metrics(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Mean absolute error over atoms and axes, and of the energy."""
        forces = (output["forces"] if self.gradient else output) * self.scale
        error = (forces - batch["forces"]).abs().mean(-1)
        mask = batch["mask"] if "mask" in batch else torch.ones_like(error, dtype=torch.bool)
        force = (error * mask).sum(1) / mask.sum(1)
        metrics = {"force_mae_mev": MEV * force, "force_mae_kcal": force}
        return metrics | (_energy_metrics(output["energy"] * self.scale, batch) if "energy" in self.targets else {})

    def baselines(self) -> dict[str, dict[str, float]]:
        """No force at all; for the energy the mean, and a sum over atoms."""
        test, batch = self.molecules[2], self.splits.test.to(torch.float64).take(slice(None))
        forces = torch.zeros_like(batch["forces"])
        if "energy" not in self.targets:
            return {"zero force": _means(self.metrics({"forces": forces} if self.gradient else forces, batch))}
        mean = self.molecules[0]["energy"].mean() - test.counts(self.elements) @ self.reference
        energies = {"mean energy, zero force": mean, "atom-count linear energy, zero force": torch.zeros_like(mean)}
        return {name: _means(self.metrics({"energy": e / self.scale, "forces": forces}, batch)) for name, e in energies.items()}

    def _targets(self, molecules: Molecules) -> dict[str, Tensor]:
        targets = {"forces": molecules["forces"]}
        if "energy" in self.targets:
            targets["energy"] = molecules["energy"] - molecules.counts(self.elements) @ self.reference
        return targets


class PropertyTask(MoleculesTask):
    """Predict one number of a molecule: its energy, or a property.

    A model returns one pooled number ("sum" for what grows with the molecule, "mean" for what does not, unless `pool` says otherwise), the
    difference from the reference in multiples of `scale`. Loss: mean absolute error in multiples of `scale`.
    """

    def __init__(self, config: MoleculesConfig, sets: MoleculeSets) -> None:
        super().__init__(config, sets)
        self.target = config.target
        extensive = self.target == "energy" or (self.target in PROPERTIES and PROPERTIES[self.target].extensive)
        self.kind: Reference = config.reference or ("fitted" if extensive else "mean")
        self.signature = self._signature("1x0e", config.pool or ("sum" if extensive else "mean"))
        symmetry = self.signature.symmetry(E(3) * S())
        self.symmetry = with_targets(symmetry, {"target": ENERGY_ACTION})
        self.units = ENERGY_UNITS if self.target == "energy" else {"mae": sets.pool.units.get(self.target, "unit of the file")}
        self.headline = next(iter(self.units))

    @cached_property
    def scale(self) -> float:
        """Standard deviation of the training targets from their reference; 1 where there is none, or it is not asked for."""
        deviation = float(self._targets(self.molecules[0])["target"].std(unbiased=False))
        return deviation if deviation > 0 and self.config.standardise else 1.0

    @cached_property
    def reference(self) -> Float[Tensor, "elements"]:
        """What an atom of each element contributes, before the mean is subtracted; zero where the reference does not count atoms."""
        if self.kind == "fitted":
            return self._atom_counts(self.target)
        free = FREE_ATOMS[self.target] if self.kind == "free atoms" else dict.fromkeys(self.elements, 0.0)
        return torch.tensor([free[z] for z in self.elements], dtype=torch.float64)

    @cached_property
    def mean(self) -> float:
        """Mean of what the atoms leave of the training molecules; 0 where that is not subtracted."""
        train = self.molecules[0]
        left = train[self.target] - train.counts(self.elements) @ self.reference
        return float(left.mean()) if self.kind in ("mean", "free atoms") else 0.0

    def loss(self, output: Float[Tensor, "b 1"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean absolute error in multiples of `scale`."""
        return (output.squeeze(-1) - batch["target"] / self.scale).abs().mean()

    def metrics(self, output: Float[Tensor, "b 1"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Absolute error in the published unit."""
        prediction = output.squeeze(-1) * self.scale
        if self.target == "energy":
            return _energy_metrics(prediction, {"energy": batch["target"]})
        return {"mae": (prediction - batch["target"]).abs()}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The mean of the training molecules, and a sum over atoms fitted to them."""
        train, _, test = self.molecules
        truth = test[self.target]
        predictions = {
            "mean": train[self.target].mean().expand_as(truth),
            "atom-count linear": test.counts(self.elements) @ self._atom_counts(self.target),
        }
        shifted = {name: (prediction - self._reference(test)).unsqueeze(1) / self.scale for name, prediction in predictions.items()}
        batch = {"target": truth - self._reference(test)}
        return {name: _means(self.metrics(output, batch)) for name, output in shifted.items()}

    def _reference(self, molecules: Molecules) -> Float[Tensor, "m"]:
        return molecules.counts(self.elements) @ self.reference + self.mean

    def _targets(self, molecules: Molecules) -> dict[str, Tensor]:
        return {"target": molecules[self.target] - self._reference(molecules)}


def _energy_metrics(energy: Float[Tensor, "b"], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    error = (energy - batch["energy"]).abs()
    return {"energy_mae_mev": MEV * error, "energy_mae_kcal": error}


def _means(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in metrics.items()}


def _targets(molecules: Molecules) -> list[str]:
    both = ["energy+forces"] if {"energy", "forces"} <= set(molecules.values) else []
    return [*molecules.values, *both]


def _check(config: MoleculesConfig) -> None:
    """Refuse settings that contradict each other."""
    if config.forces == "direct" and config.target != "forces":
        raise ConfigError(f"forces = 'direct' predicts forces alone, but target is {config.target!r}: take target 'forces', or 'gradient'")
    changed = [name for name, default in (("reference", None), ("standardise", True), ("pool", None)) if getattr(config, name) != default]
    if changed and "forces" in config.target.split("+"):
        raise ConfigError(f"{changed[0]} is for properties, but target is {config.target!r}: leave it out")
    if config.reference == "free atoms" and (config.target not in FREE_ATOMS or config.dataset not in ("qm9", "qm9-all-targets")):
        known = ", ".join(FREE_ATOMS)
        raise ConfigError(f"reference 'free atoms' is for {known} of qm9, not for {config.target!r} of {config.dataset}: take 'fitted'")


def _split(config: MoleculesConfig, sets: MoleculeSets) -> tuple[Molecules, Molecules, Molecules]:
    """Training molecules from the front of the pool, validation molecules from its end."""
    pool, test = len(sets.pool), len(sets.test)
    valid_size = sets.valid_size if config.valid_size is None else config.valid_size
    train_size = pool - valid_size if config.train_size is None else config.train_size
    test_size = test if config.test_size is None else config.test_size
    if train_size < 1 or valid_size < 1 or train_size + valid_size > pool:
        raise ConfigError(f"train_size {train_size} and valid_size {valid_size} do not fit the {pool} molecules to learn from: give less")
    if not 1 <= test_size <= test:
        raise ConfigError(f"test_size is {test_size}: give 1 to {test}")
    places = (torch.arange(train_size), torch.arange(pool - valid_size, pool))
    return sets.pool.take(places[0]), sets.pool.take(places[1]), sets.test.take(torch.arange(test_size))
