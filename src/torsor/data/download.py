"""Fetching published files: an address, a checksum, and a folder that the user names. Nothing is fetched unless it is asked for."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torsor.errors import DataError, missing_dependency


@dataclass(frozen=True)
class Published:
    """A published file.

    Args:
        url: where it is.
        file: what it is called on disk.
        checksum: "sha256:..." or "md5:...", as its publisher states it.
        megabytes: its size, told before it is fetched.
        licence: the licence it is published under.
    """

    url: str
    file: str
    checksum: str
    megabytes: float
    licence: str


def fetch(source: Published, folder: Path) -> Path:
    """The file in `folder`, fetched if it is not there; the checksum is verified either way.

    Raises:
        MissingDependencyError: pooch is not installed.
        DataError: the file cannot be fetched, or is not the published one.
    """
    try:
        import pooch
    except ImportError as fault:
        raise missing_dependency("pooch", "train", "fetching data") from fault
    try:
        return Path(pooch.retrieve(source.url, known_hash=source.checksum, fname=source.file, path=folder))
    except (ValueError, OSError) as fault:
        line = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise DataError(f"{source.file} could not be fetched from {source.url}: {line}; fetch it yourself into {folder}") from fault


def extract(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Unpack named members of a tar file into `folder`; those already there stay. No other path is ever written.

    Raises:
        DataError: the archive is damaged, or has no such member.
    """
    wanted = [name for name in members if not (folder / name).is_file()]
    if not wanted:
        return
    try:
        with tarfile.open(archive) as tar:
            for name in wanted:
                tar.extract(tar.getmember(name), folder, filter="data")
    except KeyError as fault:
        raise DataError(f"{archive} has no member {name}") from fault
    except (tarfile.TarError, OSError, EOFError) as fault:
        raise DataError(f"{archive} cannot be unpacked: {fault}") from fault
