"""The long-range graph benchmark: Peptides-func, Peptides-struct and PCQM-Contact.

Dwivedi et al.: Long range graph benchmark (2022). The benchmark's own graphs are published as pickles, which are never read. Its sources
are text, from which the graphs follow; a local folder may hold them in the folder `lrgb`:

- `peptide_multi_class_dataset.csv.gz` and `peptide_structure_dataset.csv.gz`, as the authors publish them, with SMILES and targets of
  15,535 peptides (CC BY-NC 4.0): columns "smiles" and "labels" (a list of ten), or "smiles" and eleven named numbers;
- `lrgb_splits_peptides_func.json` and `lrgb_splits_peptides_struct.json`, the splits as lists of rows "train", "valid" and "test", from the
  data sets scikit-fingerprints/LRGB_Peptides-func and LRGB_Peptides-struct of the Hugging Face hub;
- `pcqm4m-contact.tsv.gz`, CXSMILES of PCQM4Mv2 with contacts of atoms (CC BY 4.0) in a column "cxsmiles", of which every sixth row is used;
  the split ("shuffle") follows from a seed.

Checksums of the three tables are those that the authors' code states, and the numbers of molecules, atoms and bonds those of their
overview: a table that is read otherwise is refused. Names of files and columns, and how a split follows from the seed, are those of the
authors' code, too; but the files themselves were not at hand when this was written, and it has been run on small ones alone. The splits of
peptides come from another place than the tables. They have the published sizes (10,873, 2,331 and 2,331), and nobody has compared them with
the authors' own. Those are a pickle, as are the ready-made graphs of PyTorch Geometric (`train.pt`, `val.pt`, `test.pt`) and of the hub
(`geometric_data_processed.pt`), and are never read.

Features of atoms and bonds are read from SMILES here; those of the benchmark come from a perception of chemistry and hold, besides these,
hybridisation, radicals and conjugation.

Axes: s molecules, k targets.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from torsor.data.graphs import SparseGraphs
from torsor.data.molecular_graphs import molecular_graphs
from torsor.data.smiles import Molecule, atom_properties, parse_smiles
from torsor.errors import DataError

FOLDER = "lrgb"
SPLITS = ("train", "valid", "test")


class Table(NamedTuple):
    """A published table.

    Args:
        file: what it is called.
        url: where it is.
        md5: its checksum, as its publisher states it.
        molecules: how many graphs the benchmark makes of it.
        atoms: in all of them.
        bonds: in all of them, each counted once.
    """

    file: str
    url: str
    md5: str
    molecules: int
    atoms: int
    bonds: int


PEPTIDES = (15_535, 2_344_859, 4_773_974 // 2)
"""Molecules, atoms and bonds of the peptides (Dwivedi et al. (2022), statistics of data sets, which count a bond both ways)."""
TABLES = {
    "func": Table(
        "peptide_multi_class_dataset.csv.gz",
        "https://www.dropbox.com/s/ol2v01usvaxbsr8/peptide_multi_class_dataset.csv.gz?dl=1",
        "701eb743e899f4d793f0e13c8fa5a1b4",
        *PEPTIDES,
    ),
    "struct": Table(
        "peptide_structure_dataset.csv.gz",
        "https://www.dropbox.com/s/464u3303eu2u4zp/peptide_structure_dataset.csv.gz?dl=1",
        "9786061a34298a0684150f2e4ff13f47",
        *PEPTIDES,
    ),
    "contact": Table(
        "pcqm4m-contact.tsv.gz",
        "https://datasets-public-research.s3.us-east-2.amazonaws.com/PCQM4M/pcqm4m-contact.tsv.gz",
        "f7ffb27942145a2e72f6f5f51716d3bc",
        529_434,
        15_955_687,
        32_341_644 // 2,
    ),
}
PEPTIDE_ATOMS = 444
"""Atoms of the largest peptide."""
CONTACT_ATOMS, EVERY, CONTACT_SEED, HELD_OUT = 53, 6, 42, 0.05
"""Atoms of the largest molecule, which rows are used, seed and shares of the published split of PCQM-Contact."""
LABELS = 10
STRUCTURE = (
    "Inertia_mass_a", "Inertia_mass_b", "Inertia_mass_c", "Inertia_valence_a", "Inertia_valence_b", "Inertia_valence_c",
    "length_a", "length_b", "length_c", "Spherocity", "Plane_best_fit",
)  # fmt: skip
"""Targets of Peptides-struct, each with mean 0 and standard deviation 1 over all peptides."""


class LongRangeSet(NamedTuple):
    """A set of the benchmark.

    Args:
        graphs: the molecules; those of PCQM-Contact with "contacts".
        targets: of each molecule; None where contacts are the target.
        splits: which molecules are in which split.
    """

    graphs: SparseGraphs
    targets: Float[Tensor, "s k"] | None
    splits: dict[str, Int64[Tensor, "_"]]


def read_peptides(folder: Path, kind: str) -> LongRangeSet:
    """Peptides-func ("func": ten labels, 0 or 1) or Peptides-struct ("struct": eleven numbers). Takes about a minute.

    Raises:
        DataError: a file is missing, damaged, or not the published one.
    """
    columns = ("labels",) if kind == "func" else STRUCTURE
    molecules, rows = [], []
    for row in read_rows(folder / FOLDER, TABLES[kind], ("smiles", *columns)):
        molecules.append(parse_smiles(row[0]))
        rows.append(_labels(row[1]) if kind == "func" else [float(value) for value in row[1:]])
    targets = torch.tensor(rows, dtype=torch.float64)
    if kind == "struct":
        targets = (targets - targets.mean(0)) / targets.std(0)
    require_published(TABLES[kind], molecules)
    splits = read_splits(folder / FOLDER / f"lrgb_splits_peptides_{kind}.json", len(molecules))
    return LongRangeSet(molecular_graphs(molecules), targets, splits)


def read_contacts(folder: Path, count: int | None = None) -> LongRangeSet:
    """PCQM-Contact with the published split of all molecules that have a contact. Takes several minutes.

    Args:
        folder: folder of data sets.
        count: molecules to read, for a first look, with a split of their own; all if not given.

    Raises:
        DataError: the file is missing, damaged, or not the published one.
    """
    molecules: list[Molecule] = []
    touching: list[Tensor] = []
    for number, (text,) in enumerate(read_rows(folder / FOLDER, TABLES["contact"], ("cxsmiles",), "\t")):
        if number % EVERY:
            continue
        molecule, pairs = parse_contacts(text)
        if len(pairs):
            molecules.append(molecule)
            touching.append(pairs)
        if len(molecules) == count:
            break
    if count is None:
        require_published(TABLES["contact"], molecules)
    return LongRangeSet(molecular_graphs(molecules, {"contacts": touching}), None, contact_split(len(molecules)))


def require_published(table: Table, molecules: Sequence[Molecule]) -> None:
    """Refuse molecules that are not as many, or not as large, as those that the benchmark makes of a table.

    Raises:
        DataError: they are not; gives both numbers.
    """
    found = (len(molecules), sum(len(molecule.atoms) for molecule in molecules), sum(len(molecule.bonds) for molecule in molecules))
    expected = (table.molecules, table.atoms, table.bonds)
    if found != expected:
        read, published = (f"{m:,} molecules with {a:,} atoms and {b:,} bonds" for m, a, b in (found, expected))
        raise DataError(f"{table.file} was read as {read}, but the benchmark has {published}: not all of its lines were understood")


def parse_contacts(text: str) -> tuple[Molecule, Tensor]:
    """A molecule in CXSMILES and the pairs of its atoms that touch, `[r, 2]`, both ways.

    Each atom names its contacts by number, and two atoms have each number.
    """
    smiles, _, extension = text.partition(" ")
    members: dict[int, list[int]] = {}
    for atom, value in atom_properties(extension, "contact").items():
        for contact in value.split(";"):
            members.setdefault(int(contact), []).append(atom)
    if any(len(atoms) != 2 for atoms in members.values()):
        raise DataError(f"{text[:60]!r} has a contact that is not of two atoms")
    pairs = torch.tensor(sorted(members.values()), dtype=torch.int16).reshape(-1, 2)
    return parse_smiles(smiles), torch.cat((pairs, pairs.flip(-1)))


def contact_split(molecules: int) -> dict[str, Int64[Tensor, "_"]]:
    """The published split of so many molecules: 90, 5 and 5 per cent of a permutation by numpy's generator."""
    order = torch.from_numpy(np.random.default_rng(CONTACT_SEED).permutation(molecules))
    # in the published order of operations: rounding decides where a tenth of the molecules is a whole number
    train = int((1 - HELD_OUT - HELD_OUT) * molecules)
    held_out = order[train:]
    half = len(held_out) // 2
    return {"train": order[:train], "valid": held_out[:half], "test": held_out[half:]}


def read_splits(path: Path, molecules: int) -> dict[str, Int64[Tensor, "_"]]:
    """The molecules of each split, from JSON with a list for "train", "valid" (or "val") and "test".

    Raises:
        DataError: the file is missing, or its lists do not hold every molecule once.
    """
    if not path.is_file():
        raise DataError(f"no file {path}: put the published splits there, as JSON")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {"valid" if name == "val" else name: torch.tensor(content[name], dtype=torch.int64) for name in content}
    except (ValueError, TypeError, KeyError) as fault:
        raise DataError(f"{path} holds no splits: {fault}") from fault
    if set(found) != set(SPLITS):
        raise DataError(f"{path} has {', '.join(found) or 'nothing'}: give {', '.join(SPLITS)}")
    if torch.cat(list(found.values())).sort().values.tolist() != list(range(molecules)):
        raise DataError(f"{path} does not hold each of {molecules} molecules once")
    return found


def read_rows(folder: Path, table: Table, columns: tuple[str, ...], delimiter: str = ",") -> Iterator[tuple[str, ...]]:
    """Some columns of a published table, row after row.

    Raises:
        DataError: the file is missing, damaged, not the published one, or has no such column.
    """
    path = folder / table.file
    if not path.is_file():
        raise DataError(f"no file {path}: fetch it from {table.url}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != table.md5:
        raise DataError(f"{path} has the MD5 sum {found}: the published file has {table.md5}")
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines, _long_fields():
            reader = csv.DictReader(lines, delimiter=delimiter)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}: it has {', '.join(reader.fieldnames or ())}")
            for row in reader:
                if None in row or any(row[name] is None for name in columns):
                    raise DataError(f"{path} has a row at line {reader.line_num} with other columns than its first line names")
                yield tuple(row[name] for name in columns)
    except (OSError, EOFError, csv.Error, UnicodeDecodeError) as fault:
        raise DataError(f"{path} cannot be read: {fault}") from fault


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let fields be as long as a matrix of distances, and put the limit, which is one for the process, back."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _labels(text: str) -> list[float]:
    """Ten labels, written as a list."""
    try:
        found = [float(value) for value in json.loads(text)]
    except (ValueError, TypeError):
        found = []
    if len(found) != LABELS or not set(found) <= {0.0, 1.0}:
        raise DataError(f"labels {text[:60]!r}: a peptide has {LABELS}, each 0 or 1")
    return found
