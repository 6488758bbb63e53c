"""Properties of small organic molecules: QM9 and QM7.

Ramakrishnan, Dral, Rupp, von Lilienfeld: Quantum chemistry structures and properties of 134 kilo molecules (2014), data
doi:10.6084/m9.figshare.c.978904. Rupp, Tkatchenko, Mueller, von Lilienfeld: Fast and accurate modeling of molecular atomization energies
with machine learning (2012).

A local folder may hold QM9 as published, `qm9/dsgdb9nsd.xyz.tar.bz2` and `qm9/uncharacterized.txt`; and QM7 as `qm7/qm7.npz` or as
published, `qm7/qm7.mat`. No checksum of `qm7.mat` is published, so it is never fetched, and only its shapes and numbers are checked.
Partial sets of QM9 are in `torsor.data.qm9_subsets`.

Axes: m molecules, a atoms of all molecules in a row.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from torsor.data.archives import read_npz
from torsor.data.download import Published, fetch
from torsor.data.molecules import BOHR_IN_ANGSTROM, HARTREE_IN_EV, SYMBOLS, Molecules, padded
from torsor.errors import DataError, MissingDependencyError

ARCHIVE = Published(
    "https://figshare.com/ndownloader/files/3195389", "dsgdb9nsd.xyz.tar.bz2", "md5:ad1ebd51ee7f5b3a6e32e974e5d54012", 86.1, "CC0-1.0"
)
UNCHARACTERIZED = Published(
    "https://figshare.com/ndownloader/files/3195404", "uncharacterized.txt", "md5:a361887bacb427b8a0ce7903d92a53b4", 0.5, "CC0-1.0"
)
MOLECULES, EXCLUDED = 133_885, 3_054
TRAIN, TEST = 100_000, 13_083
"""The split of Cormorant and of all that follow it; the 17,748 molecules in between are for validation."""
HARTREE_IN_MEV = 1000 * HARTREE_IN_EV


class Property(NamedTuple):
    """A target of QM9.

    Args:
        column: its place on the second line of a file, after the name of the molecule.
        factor: from the unit of the file to `unit`.
        unit: in which errors are published.
        extensive: whether it grows with the molecule, so that atoms' contributions add up.
    """

    column: int
    factor: float
    unit: str
    extensive: bool


PROPERTIES = {
    "mu": Property(3, 1.0, "D", False),
    "alpha": Property(4, 1.0, "bohr^3", True),
    "homo": Property(5, HARTREE_IN_MEV, "meV", False),
    "lumo": Property(6, HARTREE_IN_MEV, "meV", False),
    "gap": Property(7, HARTREE_IN_MEV, "meV", False),
    "r2": Property(8, 1.0, "bohr^2", True),
    "zpve": Property(9, HARTREE_IN_MEV, "meV", True),
    "U0": Property(10, HARTREE_IN_MEV, "meV", True),
    "U": Property(11, HARTREE_IN_MEV, "meV", True),
    "H": Property(12, HARTREE_IN_MEV, "meV", True),
    "G": Property(13, HARTREE_IN_MEV, "meV", True),
    "Cv": Property(14, 1.0, "cal/mol/K", True),
}
"""The twelve targets in their published units."""
_FREE_ATOMS = {
    "U0": (-0.500273, -37.846772, -54.583861, -75.064579, -99.718730),
    "U": (-0.498857, -37.845355, -54.582445, -75.063163, -99.717314),
    "H": (-0.497912, -37.844411, -54.581501, -75.062219, -99.716370),
    "G": (-0.510927, -37.861317, -54.598897, -75.079532, -99.733544),
    "Cv": (2.981, 2.981, 2.981, 2.981, 2.981),
}
FREE_ATOMS = {
    target: {z: PROPERTIES[target].factor * value for z, value in zip((1, 6, 7, 8, 9), values, strict=True)}
    for target, values in _FREE_ATOMS.items()
}
"""Values of free H, C, N, O and F atoms in the published units, from the authors' table "Atomref" (doi:10.6084/m9.figshare.1057643).

What is left of an energy without its atoms is the atomisation energy, with the opposite sign. The table's ZPVE of an atom is zero.
"""


def read_qm9(folder: Path, download: bool = False) -> Molecules:
    """The 130,831 molecules of QM9 whose geometry is consistent, by increasing number, with the twelve targets. Takes about a minute.

    Args:
        folder: folder of data sets.
        download: fetch the two published files into `folder/qm9` where they are missing.

    Raises:
        DataError: a file is missing, damaged, or not the published one.
    """
    here = folder / "qm9"
    if download:
        here.mkdir(parents=True, exist_ok=True)
        archive, listing = fetch(ARCHIVE, here), fetch(UNCHARACTERIZED, here)
    else:
        archive, listing = here / ARCHIVE.file, here / UNCHARACTERIZED.file
    excluded = read_uncharacterized(listing)
    numbered = {number: record for number, record in read_archive(archive) if number not in excluded}
    molecules = _assemble([numbered[number] for number in sorted(numbered)], str(archive))
    if (len(molecules), len(excluded)) != (MOLECULES - EXCLUDED, EXCLUDED):
        raise DataError(
            f"{archive} leaves {len(molecules)} molecules without {len(excluded)}: QM9 has {MOLECULES - EXCLUDED} and {EXCLUDED}"
        )
    return molecules


def published_split(molecules: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training, validation and test molecules of full QM9, in the published order (numpy's legacy generator, seed 0).

    Raises:
        DataError: `molecules` is not the size of QM9.
    """
    if molecules != MOLECULES - EXCLUDED:
        raise DataError(f"the published split is of {MOLECULES - EXCLUDED} molecules, not of {molecules}")
    order = torch.from_numpy(np.random.RandomState(0).permutation(molecules))
    return order[:TRAIN], order[TRAIN:-TEST], order[-TEST:]


class Record(NamedTuple):
    """One molecule of the archive: atomic numbers, positions in angstrom, and the numbers of its second line."""

    numbers: NDArray[Any]
    positions: NDArray[Any]
    properties: NDArray[Any]


def read_archive(path: Path) -> Iterator[tuple[int, Record]]:
    """The molecules of the published archive with their numbers (1 to 133,885), in its order.

    Raises:
        DataError: the archive is missing or damaged; names the file inside.
    """
    if not path.is_file():
        raise DataError(f"no file {path}: put {path.name} of QM9 there, or set download = true")
    try:
        with tarfile.open(path, mode="r|*") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield parse_record(content.read().decode("ascii", errors="replace"), f"{path}: {member.name}")
    except (tarfile.TarError, OSError, EOFError) as fault:
        raise DataError(f"{path} cannot be unpacked: {fault}") from fault


def parse_record(text: str, where: str) -> tuple[int, Record]:
    """One file of the archive.

    Atom count; "gdb", number and 15 properties; a line an atom (symbol, x, y, z, charge); and more, which is left.

    Raises:
        DataError: it is not such a file; names it.
    """
    lines = text.replace("*^", "e").splitlines()
    try:
        atoms = int(lines[0])
        head, rows = lines[1].split(), [line.split() for line in lines[2 : 2 + atoms]]
        numbers = np.array([SYMBOLS.index(row[0]) + 1 for row in rows])
        positions = np.array([[float(value) for value in row[1:4]] for row in rows])
        properties = np.array([float(value) for value in head[2:17]])
        number = int(head[1])
    except (ValueError, IndexError) as fault:
        raise DataError(f"{where} is not a molecule of QM9: {fault}") from fault
    if head[0] != "gdb" or positions.shape != (atoms, 3) or len(properties) != 15:
        raise DataError(f"{where} is not a molecule of QM9: it breaks off")
    return number, Record(numbers, positions, properties)


def read_uncharacterized(path: Path) -> frozenset[int]:
    """Numbers of the molecules whose geometry does not match their formula, from the published list.

    Raises:
        DataError: the file is missing or holds no such number.
    """
    if not path.is_file():
        raise DataError(f"no file {path}: put {path.name} of QM9 there, or set download = true")
    found = re.findall(r"^\s*(\d+)\s+\S", path.read_text(encoding="ascii", errors="replace"), flags=re.MULTILINE)
    if not found:
        raise DataError(f"{path} holds no numbers of molecules")
    return frozenset(int(number) for number in found)


def read_qm7(folder: Path) -> Molecules:
    """QM7 with "energy", the atomisation energy (PBE0), in kcal/mol: 7,165 molecules as published, 7,101 in `qm7.npz`.

    Raises:
        MissingDependencyError: reading `qm7.mat` needs scipy.
        DataError: the file is missing or damaged.
    """
    npz, mat = folder / "qm7" / "qm7.npz", folder / "qm7" / "qm7.mat"
    if mat.is_file():
        return _read_mat(mat)
    if not npz.is_file():
        raise DataError(f"no QM7 in {folder}: it has neither qm7/qm7.npz nor qm7/qm7.mat")
    arrays = read_npz(npz, ["N", "Z", "R", "E_atomization_pbe0_kcal"])
    energies = arrays["E_atomization_pbe0_kcal"]
    return padded(arrays["N"], arrays["Z"], arrays["R"], {"energy": energies}, {"energy": "kcal/mol"}, str(npz))


def _read_mat(path: Path) -> Molecules:
    try:
        from scipy.io import loadmat
    except ImportError as fault:
        raise MissingDependencyError(f"reading {path.name} needs scipy: pip install scipy") from fault
    try:
        arrays = loadmat(path, variable_names=["Z", "R", "T"])
        z, r, t = (np.asarray(arrays[name], dtype=np.float64) for name in "ZRT")
    except Exception as fault:  # scipy raises errors of its own on damaged files
        raise DataError(f"{path} cannot be read as QM7: {(str(fault).splitlines() or ['damaged'])[0]}") from fault
    if z.ndim != 2 or r.shape != (*z.shape, 3) or t.size != len(z):
        raise DataError(f"{path} holds Z {list(z.shape)}, R {list(r.shape)}, T {list(t.shape)}: they do not belong together")
    mask = z > 0
    positions = BOHR_IN_ANGSTROM * r[mask]
    return padded(mask.sum(1), z[mask].astype(np.int64), positions, {"energy": t.reshape(-1)}, {"energy": "kcal/mol"}, str(path))


def _assemble(records: list[Record], where: str) -> Molecules:
    if not records:
        raise DataError(f"{where} holds no molecule")
    table = np.stack([record.properties for record in records])
    values = {name: kind.factor * table[:, kind.column] for name, kind in PROPERTIES.items()}
    sizes = np.array([len(record.numbers) for record in records])
    numbers, positions = (np.concatenate([record[k] for record in records]) for k in (0, 1))
    return padded(sizes, numbers, positions, values, {name: kind.unit for name, kind in PROPERTIES.items()}, where)
