"""Reading files that others made: every fault is one line that names the file and what is wrong. Nothing is ever unpickled."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torsor.errors import DataError

FOLDER_VARIABLE = "TORSOR_DATA"
"""Environment variable that names the folder of local data sets."""


def data_folder(folder: str | os.PathLike[str] | None) -> Path | None:
    """The folder to read from: the one given, else the one that `TORSOR_DATA` names, else None.

    Raises:
        DataError: it does not exist.
    """
    chosen = folder or os.environ.get(FOLDER_VARIABLE)
    if not chosen:
        return None
    path = Path(chosen).expanduser()
    if not path.is_dir():
        raise DataError(f"no folder {path}: give a folder of data sets, by the setting 'folder' or the variable {FOLDER_VARIABLE}")
    return path


def require_folder(folder: str | os.PathLike[str] | None, what: str) -> Path:
    """The folder to read from, which there must be.

    Raises:
        DataError: none is given, or it does not exist; names what is read from it.
    """
    path = data_folder(folder)
    if path is None:
        raise DataError(f"{what} is read from a local folder: give the setting 'folder', or the variable {FOLDER_VARIABLE}")
    return path


def read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays of an `.npz` file; arrays of Python objects are refused.

    Args:
        path: the file.
        names: the arrays to read, all if not given.

    Raises:
        DataError: the file is missing or damaged, lacks an array, or an array holds objects or numbers that are not finite.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is a single array: give an .npz archive with named arrays")
            for name in names or ():
                if name not in archive.files:
                    raise DataError(f"{path} has no array {name!r}: it has {', '.join(sorted(archive.files)) or 'none'}")
            return {name: archive[name] for name in (archive.files if names is None else names)}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as fault:
        raise DataError(f"{path} cannot be read as .npz: {_first_line(fault)}") from fault


def require_finite(name: str, array: NDArray[Any], where: str) -> None:
    """Refuse what is no number and numbers that are not finite, with their count and the first place.

    Raises:
        DataError: there is one.
    """
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name!r} of {where} holds {array.dtype.name}, not numbers")
    bad = ~np.isfinite(array)
    if bad.any():
        first = [int(index) for index in np.argwhere(bad)[0]]
        raise DataError(f"{name!r} of {where} has {int(bad.sum())} values that are not finite, the first at {first}")


def _first_line(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0]
