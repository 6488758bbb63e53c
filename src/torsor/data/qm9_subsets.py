"""Partial sets of QM9, where all of it is not at hand. Figures from them are not comparable with published tables.

A local folder may hold, in `qm9_subsets`: `qm9_under14_3d.npz` (molecules of at most 14 atoms with the atomisation energy, some with the
energies of the frontier orbitals), `qm9_targets_7500_smiles.csv.xz` (the twelve targets of molecules without geometry) and
`qm9_11k_b3lyp631gd.npz` (nine heavy atoms, total energies at another level of theory). The first two share 197 molecules, which thus have
everything.

Axes: m molecules, a atoms of all molecules in a row.
"""

from __future__ import annotations

import csv
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torsor.data.archives import read_npz
from torsor.data.molecules import HARTREE_IN_EV, KCAL_PER_MOL_IN_EV, Molecules, padded
from torsor.data.qm9 import PROPERTIES
from torsor.errors import DataError

FOLDER = "qm9_subsets"
HARTREE_IN_KCAL_PER_MOL = HARTREE_IN_EV / KCAL_PER_MOL_IN_EV
ORBITALS = ("homo", "lumo", "gap")
COLUMNS = {"U0": "u0", "U": "u298", "H": "h298", "G": "g298", "Cv": "cv"}
"""What the table calls a target, where that is another name."""


def read_under14(folder: Path) -> Molecules:
    """4,015 molecules of QM9 with at most 14 atoms: "U0", the atomisation energy at 0 K, in meV.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = folder / FOLDER / "qm9_under14_3d.npz"
    arrays = read_npz(path, ["N", "Z", "R", "U0_atomization_eV"])
    return padded(arrays["N"], arrays["Z"], arrays["R"], {"U0": 1000 * arrays["U0_atomization_eV"]}, {"U0": "meV"}, str(path))


def read_orbitals(folder: Path) -> Molecules:
    """The 1,335 of them whose frontier orbitals are known: "homo", "lumo" and their difference "gap", in meV.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = folder / FOLDER / "qm9_under14_3d.npz"
    arrays = read_npz(path, ["N", "Z", "R", "homo_lumo_eV", "in_homolumo_set"])
    known = np.flatnonzero(arrays["in_homolumo_set"])
    homo, lumo = (1000 * arrays["homo_lumo_eV"][known, column] for column in (0, 1))
    return _some(arrays, known, {"homo": homo, "lumo": lumo, "gap": lumo - homo}, str(path))


def read_all_targets(folder: Path) -> Molecules:
    """197 molecules with at most 14 atoms and all twelve targets, in the published units.

    Raises:
        DataError: a file is missing or damaged.
    """
    path = folder / FOLDER / "qm9_under14_3d.npz"
    arrays, table = read_npz(path, ["gdb_id", "N", "Z", "R"]), read_targets(folder / FOLDER / "qm9_targets_7500_smiles.csv.xz")
    known = np.array([place for place, number in enumerate(arrays["gdb_id"]) if int(number) in table], dtype=np.int64)
    if not len(known):
        raise DataError(f"{path} shares no molecule with the table of targets beside it")
    rows = [table[int(number)] for number in arrays["gdb_id"][known]]
    return _some(arrays, known, {name: np.array([row[name] for row in rows]) for name in PROPERTIES}, str(path))


def read_targets(path: Path) -> dict[int, dict[str, float]]:
    """The twelve targets in their published units, by the number of the molecule in QM9.

    The table has a column `mol_id` ("gdb_86609") and the targets in the units of the published files.

    Raises:
        DataError: the file is missing or damaged; names the line.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        rows = list(csv.DictReader(lzma.decompress(path.read_bytes()).decode("ascii").splitlines()))
    except (lzma.LZMAError, OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"{path} cannot be read as a table: {fault}") from fault
    table = {}
    for line, row in enumerate(rows, start=2):
        try:
            values = {name: kind.factor * float(row[COLUMNS.get(name, name)]) for name, kind in PROPERTIES.items()}
            table[int(row["mol_id"].removeprefix("gdb_"))] = values
        except (KeyError, TypeError, ValueError) as fault:
            raise DataError(f"{path} line {line} lacks the targets of a molecule: {fault!r}") from fault
    return table


def read_11k(folder: Path) -> Molecules:
    """10,994 molecules with nine heavy atoms: "energy", the total energy (B3LYP/6-31G(d), not the level of QM9), in kcal/mol.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = folder / FOLDER / "qm9_11k_b3lyp631gd.npz"
    arrays = read_npz(path, ["N", "Z", "R", "E_hartree"])
    energies = HARTREE_IN_KCAL_PER_MOL * arrays["E_hartree"]
    return padded(arrays["N"], arrays["Z"], arrays["R"], {"energy": energies}, {"energy": "kcal/mol"}, str(path))


def _some(arrays: dict[str, NDArray[Any]], known: NDArray[Any], values: dict[str, NDArray[Any]], where: str) -> Molecules:
    """The molecules at `known` with their values, in the units of QM9."""
    everything = padded(arrays["N"], arrays["Z"], arrays["R"], {}, {}, where)
    chosen = everything.take(torch.from_numpy(known))
    tensors = {name: torch.from_numpy(np.asarray(value, dtype=np.float64)) for name, value in values.items()}
    units = {name: PROPERTIES[name].unit for name in values}
    return Molecules(chosen.numbers, chosen.positions, tensors, units)
