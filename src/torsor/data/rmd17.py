"""Molecular dynamics of small molecules: the revised MD17 set (rMD17) and MD17, and the ethanol split that ships with torsor.

Christensen, von Lilienfeld: On the role of gradients for machine learning of molecular energies and forces (2020), data
doi:10.6084/m9.figshare.12672038, CC0. Chmiela et al.: Machine learning of accurate energy-conserving molecular force fields (2017).
Energies in kcal/mol, forces in kcal/mol/angstrom, positions in angstrom.

A local folder may hold the original archive, `rmd17/npz_data/rmd17_ethanol.npz` with `rmd17/splits/index_train_01.csv` and
`index_test_01.csv`, or `rmd17/rmd17_split01.npz`, one split of all molecules repacked (`ethanol_train_R`, `_E`, `_F`, `_idx`, the same for
`test`, and `ethanol_Z`). MD17 is read from `md17/md17_ethanol.npz`, or from a window of it, `md17_ethanol_2k/md17_ethanol_first2000.npz`
(`R`, `E`, `F`, `z`). No checksum of the MD17 files is published, so they are never fetched, and only their shapes and numbers are checked.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from torsor.data.archives import read_npz
from torsor.data.download import Published, extract, fetch
from torsor.data.molecules import Molecules, frames_of_one
from torsor.errors import DataError, unknown_name

RMD17 = ("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde", "naphthalene", "paracetamol", "salicylic", "toluene", "uracil")
SPLITS = (1, 2, 3, 4, 5)
SHIPPED = "rmd17_ethanol_split01.safetensors"
ARCHIVE = Published(
    "https://figshare.com/ndownloader/files/23950376",
    "rmd17.tar.bz2",
    "sha256:cddeea2ec2c4b22a9de16a9a65a3eeedac5b29da9c99c20bbff0153912bf922b",
    1066.3,
    "CC0-1.0",
)


def read_rmd17(molecule: str, split: int, folder: Path | None = None, download: bool = False) -> tuple[Molecules, Molecules]:
    """The official training and test frames, 1,000 each.

    Ethanol's split 1 comes with torsor where no folder is given.

    Args:
        molecule: one of `RMD17`.
        split: official split, 1 to 5.
        folder: folder of data sets.
        download: fetch the archive (1 GB) into `folder` if the molecule is not there.

    Raises:
        UnknownNameError: there is no such molecule.
        DataError: there is no such split, or the data are missing or damaged.
    """
    if molecule not in RMD17:
        raise unknown_name("molecule of rMD17", molecule, RMD17)
    if split not in SPLITS:
        raise DataError(f"split is {split}: rMD17 has the official splits {SPLITS[0]} to {SPLITS[-1]}")
    if folder is None:
        if (molecule, split) != ("ethanol", 1):
            raise DataError(f"only split 1 of ethanol comes with torsor: give a folder that holds rMD17 for split {split} of {molecule}")
        return read_shipped()
    original, repacked = folder / "rmd17" / "npz_data" / f"rmd17_{molecule}.npz", folder / "rmd17" / f"rmd17_split{split:02d}.npz"
    if download and not original.is_file():
        extract(fetch(ARCHIVE, folder), _members(molecule, split), folder)
    if original.is_file():
        return _read_original(original, split)
    if repacked.is_file():
        return _read_repacked(repacked, molecule)
    raise DataError(f"no rMD17 in {folder}: it has neither {original.relative_to(folder)} nor {repacked.relative_to(folder)}")


def read_shipped() -> tuple[Molecules, Molecules]:
    """Training and test frames of ethanol's split 1, as torsor ships them (forces rounded to float32)."""
    with as_file(files("torsor.data") / "shipped" / SHIPPED) as path:
        arrays = read_safetensors(path)
    return _pair(arrays, "", SHIPPED)


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a safetensors file.

    Raises:
        DataError: the file is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        return dict(load(path.read_bytes()))
    except (SafetensorError, ValueError, OSError) as fault:
        raise DataError(f"{path} cannot be read as safetensors: {fault}") from fault


def read_md17(molecule: str, folder: Path) -> tuple[Molecules, bool]:
    """All frames of a molecule in the order of time, and whether they are the whole trajectory.

    Raises:
        DataError: the data are missing or damaged.
    """
    whole, window = folder / "md17" / f"md17_{molecule}.npz", folder / f"md17_{molecule}_2k" / f"md17_{molecule}_first2000.npz"
    path = next((candidate for candidate in (whole, window) if candidate.is_file()), None)
    if path is None:
        raise DataError(f"no MD17 {molecule} in {folder}: it has neither {whole.relative_to(folder)} nor {window.relative_to(folder)}")
    arrays = read_npz(path, ["R", "E", "F", "z"])
    return frames_of_one(arrays["z"], arrays["R"], arrays["E"], arrays["F"], str(path)), path == whole


def _members(molecule: str, split: int) -> list[str]:
    indices = [f"rmd17/splits/index_{part}_{split:02d}.csv" for part in ("train", "test")]
    return [f"rmd17/npz_data/rmd17_{molecule}.npz", *indices]


def _read_original(path: Path, split: int) -> tuple[Molecules, Molecules]:
    arrays = read_npz(path, ["nuclear_charges", "coords", "energies", "forces"])
    everything = frames_of_one(arrays["nuclear_charges"], arrays["coords"], arrays["energies"], arrays["forces"], str(path))
    folder = path.parent.parent / "splits"
    train, test = (_read_indices(folder / f"index_{part}_{split:02d}.csv", len(everything)) for part in ("train", "test"))
    return everything.take(train), everything.take(test)


def _read_indices(path: Path, frames: int) -> torch.Tensor:
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        indices = np.array([int(float(line)) for line in path.read_text().split()], dtype=np.int64)
    except (ValueError, OSError, OverflowError) as fault:
        raise DataError(f"{path} is not a column of frame numbers: {fault}") from fault
    if not len(indices) or indices.min() < 0 or indices.max() >= frames:
        raise DataError(f"{path} holds frame numbers outside 0 to {frames - 1}")
    return torch.from_numpy(indices)


def _read_repacked(path: Path, molecule: str) -> tuple[Molecules, Molecules]:
    names = [f"{molecule}_Z", *(f"{molecule}_{part}_{what}" for part in ("train", "test") for what in "REF")]
    return _pair(read_npz(path, names), f"{molecule}_", str(path))


def _pair(arrays: dict[str, NDArray[Any]], prefix: str, where: str) -> tuple[Molecules, Molecules]:
    def frames(part: str) -> Molecules:
        x, e, f = (arrays[f"{prefix}{part}_{what}"] for what in "REF")
        return frames_of_one(arrays[f"{prefix}Z"], x, e, f, f"{where} ({part})")

    return frames("train"), frames("test")
