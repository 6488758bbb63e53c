"""Every molecular data set by name: what to learn from, what to test on, and what has to be said beside the figures.

A set is a *pool* and a test set. Training molecules are the first of the pool, validation molecules the last, so that a smaller training
set is a prefix of a larger one and neither touches the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from torsor.data import qm9, qm9_subsets, rmd17
from torsor.data.archives import data_folder, require_folder
from torsor.data.molecules import ENERGY_UNITS, Molecules
from torsor.data.xyz import read_ase, read_xyz
from torsor.errors import DataError, unknown_name


@dataclass(frozen=True)
class Request:
    """Which molecules to read.

    Args:
        dataset: name in `DATASETS`.
        molecule: molecule of rMD17 or MD17.
        split: official split of rMD17; seed of the random split of all others but full QM9, which has a published one.
        target: "forces", "energy", "energy+forces" or a property; what has to be read from the user's own file.
        folder: folder of data sets; the variable TORSOR_DATA if not given.
        file: the user's own file, for "file".
        energy_unit: unit of the energies of "file".
        download: whether missing files may be fetched into the folder.
    """

    dataset: str
    molecule: str
    split: int
    target: str
    folder: str | None = None
    file: str | None = None
    energy_unit: str = "eV"
    download: bool = False


@dataclass(frozen=True)
class MoleculeSets:
    """What a molecular task is made of.

    Args:
        pool: training molecules first, validation molecules last.
        test: test molecules.
        valid_size: customary number of validation molecules.
        notes: sentences to print beside figures.
    """

    pool: Molecules
    test: Molecules
    valid_size: int
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=4)
def load(request: Request) -> MoleculeSets:
    """Read a data set; a second request in the same process is answered from memory.

    Raises:
        UnknownNameError: there is no such data set or molecule.
        DataError: files are missing or damaged.
    """
    if request.dataset not in DATASETS:
        raise unknown_name("molecular data set", request.dataset, DATASETS)
    return DATASETS[request.dataset](request)


def _rmd17(request: Request) -> MoleculeSets:
    folder = data_folder(request.folder) if (request.molecule, request.split) != ("ethanol", 1) or request.folder else None
    pool, test = rmd17.read_rmd17(request.molecule, request.split, folder, request.download)
    return MoleculeSets(pool, test, 50, ("validation frames are the last of the official 1,000 training frames",))


def _md17(request: Request) -> MoleculeSets:
    molecules, whole = rmd17.read_md17(request.molecule, require_folder(request.folder, "MD17"))
    note = "MD17 frames are drawn at random from one trajectory: neighbours in time may lie in training and test"
    window = () if whole else (f"only the first {len(molecules):,} frames of MD17: not comparable with published tables",)
    return _random(molecules, request.split, (note, *window))


def _qm9(request: Request) -> MoleculeSets:
    molecules = qm9.read_qm9(require_folder(request.folder, "QM9"), request.download)
    train, valid, test = qm9.published_split(len(molecules))
    return MoleculeSets(molecules.take(torch.cat([train, valid])), molecules.take(test), len(valid))


def _qm9_under14(request: Request) -> MoleculeSets:
    folder = require_folder(request.folder, "the set of small QM9 molecules")
    molecules = (qm9_subsets.read_orbitals if request.target in qm9_subsets.ORBITALS else qm9_subsets.read_under14)(folder)
    note = f"{len(molecules):,} small molecules of QM9's 130,831: not comparable with published QM9 tables"
    return _random(molecules, request.split, (note,))


def _qm9_all_targets(request: Request) -> MoleculeSets:
    molecules = qm9_subsets.read_all_targets(require_folder(request.folder, "the set of small QM9 molecules with all targets"))
    note = f"{len(molecules):,} small molecules of QM9's 130,831: shows that it runs, not comparable with published QM9 tables"
    return _random(molecules, request.split, (note,))


def _qm9_11k(request: Request) -> MoleculeSets:
    molecules = qm9_subsets.read_11k(require_folder(request.folder, "the set of QM9 molecules with nine heavy atoms"))
    note = "10,994 molecules of QM9, energies at another level of theory: not comparable with published QM9 tables"
    return _random(molecules, request.split, (note,))


def _qm7(request: Request) -> MoleculeSets:
    molecules = qm9.read_qm7(require_folder(request.folder, "QM7"))
    partial = () if len(molecules) == 7165 else (f"{len(molecules):,} of QM7's 7,165 molecules: not comparable with published tables",)
    return _random(molecules, request.split, ("random split, not the five published folds", *partial))


def _file(request: Request) -> MoleculeSets:
    if request.file is None:
        raise DataError('no file was given: set file = "molecules.xyz" (extended XYZ, or an ASE database .db)')
    path = Path(request.file).expanduser()
    energies = request.target in ("energy", "forces", "energy+forces")
    names = request.target.split("+") if energies else [request.target]
    scalars, vectors = tuple(name for name in names if name != "forces"), tuple(name for name in names if name == "forces")
    read = read_ase if path.suffix == ".db" else read_xyz
    molecules = read(path, scalars, vectors)
    return _random(_in_kcal(molecules, request.energy_unit) if energies else molecules, request.split, ())


def _in_kcal(molecules: Molecules, unit: str) -> Molecules:
    if unit not in ENERGY_UNITS:
        raise unknown_name("energy unit", unit, ENERGY_UNITS)
    factor = ENERGY_UNITS[unit] / ENERGY_UNITS["kcal/mol"]
    units = {"energy": "kcal/mol", "forces": "kcal/mol/angstrom"}
    values = {name: factor * value for name, value in molecules.values.items()}
    return Molecules(molecules.numbers, molecules.positions, values, {name: units[name] for name in values})


def _random(molecules: Molecules, seed: int, notes: tuple[str, ...]) -> MoleculeSets:
    """A tenth for testing, a tenth for validation, drawn by the seed."""
    tenth = len(molecules) // 10
    if tenth < 1:
        raise DataError(f"{len(molecules)} molecules are too few to split: give 10 or more")
    order = torch.randperm(len(molecules), generator=torch.Generator().manual_seed(seed))
    return MoleculeSets(molecules.take(order[tenth:]), molecules.take(order[:tenth]), tenth, notes)


DATASETS: dict[str, Callable[[Request], MoleculeSets]] = {
    "rmd17": _rmd17,
    "md17": _md17,
    "qm7": _qm7,
    "qm9": _qm9,
    "qm9-under14": _qm9_under14,
    "qm9-all-targets": _qm9_all_targets,
    "qm9-11k": _qm9_11k,
    "file": _file,
}
"""Reader of every data set."""
