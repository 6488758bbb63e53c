"""Molecules from the user's own files: extended XYZ, read strictly and without ASE, and ASE databases.

Extended XYZ: frame after frame of an atom count, a line of `key=value` pairs, and a line an atom.
`Properties=species:S:1:pos:R:3:forces:R:3` names the columns; without it they are symbol, x, y, z. Positions are in angstrom. Periodic
cells are refused: a cell that is ignored gives wrong distances.

Axes: m molecules, a atoms of all molecules in a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from torsor.data.molecules import SYMBOLS, Molecules, padded
from torsor.errors import DataError, missing_dependency

PLAIN = "species:S:1:pos:R:3"
PAIR = re.compile(r"""([^\s=]+)=(?:"([^"]*)"|'([^']*)'|\{([^}]*)\}|(\S+))""")


class Frame(NamedTuple):
    """One molecule of a file: atomic numbers `[n]`, positions `[n, 3]`, numbers of the whole, and vectors of the atoms `[n, 3]`."""

    numbers: NDArray[Any]
    positions: NDArray[Any]
    scalars: dict[str, float]
    vectors: dict[str, NDArray[Any]]


def read_xyz(path: Path, scalars: tuple[str, ...] = (), vectors: tuple[str, ...] = ()) -> Molecules:
    """Read an extended XYZ file.

    Args:
        path: the file.
        scalars: keys of the second line to read, one number a molecule, e.g. ("energy",).
        vectors: columns to read, three numbers an atom, e.g. ("forces",).

    Returns:
        The molecules, with the values in the units of the file.

    Raises:
        DataError: the file is missing, empty, broken, periodic, or lacks a key or column; names the line.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        with path.open(encoding="utf-8") as lines:
            frames = list(_frames(lines, path.name))
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path} cannot be read as text: {fault}") from fault
    return _collect(frames, scalars, vectors, str(path))


def read_ase(path: Path, scalars: tuple[str, ...] = (), vectors: tuple[str, ...] = ()) -> Molecules:
    """Read an ASE database (`.db`); energies and forces are in eV and eV/angstrom there.

    Args:
        path: the file.
        scalars: key-value pairs, data or results ("energy") to read, one number a molecule.
        vectors: data or results ("forces") to read, three numbers an atom.

    Raises:
        MissingDependencyError: ase is not installed.
        DataError: the file is missing, damaged, periodic, or lacks a key.
    """
    try:
        from ase.db import connect
    except ImportError as fault:
        raise missing_dependency("ase", "ase", "reading an ASE database") from fault
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        with connect(str(path), type="db") as database:  # type: ignore[no-untyped-call]
            frames = [_row(row, scalars, vectors, path) for row in database.select()]
    except DataError:
        raise
    except Exception as fault:  # ase lets errors of sqlite, json and its own through
        raise DataError(f"{path} cannot be read as an ASE database: {(str(fault).splitlines() or [type(fault).__name__])[0]}") from fault
    return _collect(frames, scalars, vectors, str(path))


def _frames(lines: Iterator[str], where: str) -> Iterator[Frame]:
    number = 0
    for line in lines:
        number += 1
        if not line.strip():
            continue
        if not line.strip().isdecimal() or int(line) < 1:
            raise DataError(f"{where}, line {number}: {line.strip()[:40]!r} is not a number of atoms")
        body = list(islice(lines, int(line) + 1))
        if len(body) != int(line) + 1:
            raise DataError(f"{where}, line {number}: {int(line)} atoms are announced and the file ends after {max(len(body) - 1, 0)}")
        yield _frame(body, f"{where}, line {number + 1}")
        number += len(body)


def _frame(body: list[str], where: str) -> Frame:
    pairs = {match[1]: next(text for text in match.groups()[1:] if text is not None) for match in PAIR.finditer(body[0])}
    if any(flag.upper().startswith(("T", "1")) for flag in pairs.get("pbc", "F").split()) or ("Lattice" in pairs and "pbc" not in pairs):
        raise DataError(f'{where}: the cell is periodic; only free molecules can be read (pbc="F F F")')
    columns = _columns(pairs.get("Properties", PLAIN), where)
    rows = [line.split() for line in body[1:]]
    width = max(stop for _, stop in columns.values())
    short = next((i for i, row in enumerate(rows) if len(row) < width), None)
    if short is not None:
        raise DataError(f"{where}: atom {short + 1} has {len(rows[short])} columns, {width} are needed")
    names = [row[columns["species"][0]] for row in rows]
    unknown = next((name for name in names if name not in SYMBOLS), None)
    if unknown is not None:
        raise DataError(f"{where}: {unknown!r} is not an element")
    vectors = {name: _table(rows, *span, f"{where}, column {name}") for name, span in columns.items() if name != "species"}
    scalars = {key: float(text) for key, text in pairs.items() if _is_number(text)}
    return Frame(np.array([SYMBOLS.index(name) + 1 for name in names]), vectors.pop("pos"), scalars, vectors)


def _columns(properties: str, where: str) -> dict[str, tuple[int, int]]:
    """First and last-plus-one column of the species and of every real column of width 3."""
    parts = properties.split(":")
    if len(parts) % 3 or not all(width.isdecimal() for width in parts[2::3]):
        raise DataError(f"{where}: Properties={properties} is not made of name:type:width")
    start, columns = 0, {}
    for name, kind, width in zip(parts[::3], parts[1::3], map(int, parts[2::3]), strict=True):
        if name == "species" or (kind == "R" and width == 3):
            columns[name] = (start, start + width)
        start += width
    if not {"species", "pos"} <= set(columns):
        raise DataError(f"{where}: Properties={properties} names no {'species' if 'species' not in columns else 'pos:R:3'}")
    return columns


def _table(rows: list[list[str]], start: int, stop: int, where: str) -> NDArray[Any]:
    try:
        return np.array([[float(text) for text in row[start:stop]] for row in rows])
    except ValueError as fault:
        raise DataError(f"{where}: {fault}") from fault


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _row(row: Any, scalars: tuple[str, ...], vectors: tuple[str, ...], path: Path) -> Frame:
    if np.any(row.pbc):
        raise DataError(f"{path}, row {row.id}: the cell is periodic; only free molecules can be read")
    found = {name: row.get(name, row.data.get(name)) for name in (*scalars, *vectors)}
    numbers = {name: float(found[name]) for name in scalars if found[name] is not None}
    arrays = {name: np.asarray(found[name], dtype=np.float64) for name in vectors if found[name] is not None}
    return Frame(np.asarray(row.numbers), np.asarray(row.positions), numbers, arrays)


def _collect(frames: list[Frame], scalars: tuple[str, ...], vectors: tuple[str, ...], where: str) -> Molecules:
    if not frames:
        raise DataError(f"{where} holds no molecule")
    for i, frame in enumerate(frames):
        missing = [*(name for name in scalars if name not in frame.scalars), *(name for name in vectors if name not in frame.vectors)]
        if missing:
            held = ", ".join(sorted({*frame.scalars, *frame.vectors})) or "nothing else"
            raise DataError(f"{where}: molecule {i + 1} has no {missing[0]!r}: it has {held}")
    values = {name: np.array([frame.scalars[name] for frame in frames]) for name in scalars}
    values |= {name: np.concatenate([frame.vectors[name] for frame in frames]) for name in vectors}
    sizes = np.array([len(frame.numbers) for frame in frames])
    numbers, positions = (np.concatenate([frame[k] for frame in frames]) for k in (0, 1))
    return padded(sizes, numbers, positions, values, {}, where)
