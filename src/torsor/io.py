"""Files that are whole or not there: atomic writes, tensors with metadata, lines that survive a kill, folders with one writer.

A file is written beside its place, flushed to the disk and renamed over it, so that a reader never sees half of one, whenever the
writer dies. Tensors are held in safetensors, which cannot run code, with a checksum; nothing here unpickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as decode
from safetensors.torch import save as encode
from torch import Tensor

from torsor.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT_VERSION = 1
"""Layout of the files; raised when a reader of an older version could not read them, with an upgrade beside it."""

CONVENTIONS_VERSION = 1
"""Meaning of the numbers: order and sign of the irreps' components, normalisations. Raised when old weights would mean something else."""


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Replace the file at `path` by `data`, or leave it as it was: never anything in between."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Replace the file at `path` by `text` in UTF-8, or leave it as it was."""
    atomic_write_bytes(path, text.encode("utf-8"))


def remove_leftovers(folder: str | Path) -> None:
    """Delete the temporary files that killed writers left in `folder`."""
    for leftover in Path(folder).glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Be the only writer of a folder, made here, among those who ask; where the system has no such locks, nobody is kept out.

    The lock is the system's and dies with its process, however that ends. So none is ever left behind; the file `.lock`, which names the
    process, stays and means nothing by itself.

    Raises:
        CheckpointError: another process is writing there; names it.
    """
    path = Path(folder) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise CheckpointError(f"{folder} is in use by {holder}: wait until that has ended, or give another directory") from None
            except OSError:  # some network file systems have no locks
                pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def write_json(path: str | Path, value: Any) -> None:
    """Replace the file at `path` by `value` as indented JSON; numbers that are not finite are refused."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The value in a JSON file.

    Raises:
        CheckpointError: there is no such file, or it is damaged.
    """
    try:
        return json.loads(_read(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is not JSON ({_first_line(error)})") from error


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write tensors and JSON metadata into one file, atomically.

    Args:
        path: where; "*.safetensors".
        tensors: on any device, of any strides; they may share memory.
        metadata: anything JSON can hold.
    """
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(dict(metadata or {}), allow_nan=False)
    versions = {"format": str(FORMAT_VERSION), "conventions": str(CONVENTIONS_VERSION)}
    header = {**versions, "metadata": text, "sha256": _checksum(copies, text)}
    atomic_write_bytes(path, encode(copies, metadata=header))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the metadata that `save_tensors` wrote.

    Raises:
        CheckpointError: there is no such file, it is damaged, or a newer torsor wrote it.
    """
    data = _read(path)
    try:
        tensors = decode(data)
        header = _header(data)
        versions = {key: int(header[key]) for key in ("format", "conventions")}
        metadata = json.loads(header["metadata"])
        whole = header["sha256"] == _checksum(tensors, header["metadata"])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or was not written by torsor: {_first_line(error)}") from error
    check_versions(path, **versions)
    if not whole or not isinstance(metadata, dict):
        raise CheckpointError(f"{path} is damaged: its checksum does not match; take an older checkpoint or train again")
    return tensors, metadata


def check_versions(path: str | Path, format: int, conventions: int) -> None:
    """Refuse files whose layout or conventions this torsor does not know.

    Raises:
        CheckpointError: one of the versions is newer than ours, or the conventions are older.
    """
    if format > FORMAT_VERSION or conventions > CONVENTIONS_VERSION:
        raise CheckpointError(
            f"{path} was written by a newer torsor (format {format}, conventions {conventions}; "
            f"this one reads {FORMAT_VERSION}, {CONVENTIONS_VERSION}): pip install --upgrade torsor"
        )
    if conventions < CONVENTIONS_VERSION:
        raise CheckpointError(
            f"{path} has conventions {conventions}, its numbers mean something else under {CONVENTIONS_VERSION}: train again"
        )


def append_line(path: str | Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line and flush it to the disk; a kill leaves at most a torn last line, which `read_lines` drops."""
    with Path(path).open("ab") as file:
        file.write(json.dumps(dict(record), allow_nan=False).encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, none where there is no file; a torn last line is dropped.

    Raises:
        CheckpointError: a line before the last is damaged.
    """
    path = Path(path)
    if not path.is_file():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    try:
        return [json.loads(line) for line in whole.split(b"\n") if line]
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}") from error


def keep_lines(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Rewrite a file of JSON lines, atomically, with the records for which `keep` is true; a torn last line goes."""
    if Path(path).is_file():
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in read_lines(path) if keep(record)]
        atomic_write_text(path, "".join(lines))


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _header(data: bytes) -> dict[str, str]:
    """The string metadata of a safetensors file, whose first 8 bytes hold the length of a JSON header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])["__metadata__"]
    return {str(key): str(value) for key, value in header.items()}


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; a system that cannot open folders (Windows) has no need of it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
