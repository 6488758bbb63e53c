import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from torsor import io
from torsor.errors import CheckpointError


def test_tensors_and_metadata_come_back_bit_equal(tmp_path: Path, generator: torch.Generator) -> None:
    base = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    tensors = {
        "float64": base,
        "transposed": base.T,
        "row of the same memory": base[1],
        "float32": base.float(),
        "bfloat16": base.bfloat16(),
        "int64": torch.arange(5),
        "bool": base > 0,
        "number": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
    }
    io.save_tensors(tmp_path / "x.safetensors", tensors, {"step": 3, "nested": {"a": [1.5, None]}})
    loaded, metadata = io.load_tensors(tmp_path / "x.safetensors")
    assert metadata == {"step": 3, "nested": {"a": [1.5, None]}}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_damage_to_a_tensor_file_is_an_error_of_one_line_or_changes_nothing(tmp_path: Path, generator: torch.Generator) -> None:
    path = tmp_path / "x.safetensors"
    tensor = torch.randn(5, generator=generator)
    io.save_tensors(path, {"a": tensor}, {"step": 3})
    whole = path.read_bytes()
    damaged = [whole[:-1], whole[: len(whole) // 2], whole[:7], b"", whole + b"x", b"\xff" * 64]
    damaged += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for data in damaged:
        path.write_bytes(data)
        message = ""
        try:
            tensors, metadata = io.load_tensors(path)
        except CheckpointError as error:
            message = str(error)
        else:  # the bit was one that nothing reads
            assert metadata == {"step": 3}
            assert torch.equal(tensors["a"], tensor)
        assert "\n" not in message


def test_a_flipped_bit_in_the_numbers_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    io.save_tensors(path, {"a": torch.ones(5)})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="its checksum does not match"):
        io.load_tensors(path)


def test_a_file_of_another_program_or_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="was not written by torsor"):
        io.load_tensors(path)
    with monkeypatch.context() as patch:
        patch.setattr(io, "FORMAT_VERSION", 99)
        io.save_tensors(path, {"a": torch.ones(2)})
    with pytest.raises(CheckpointError, match="written by a newer torsor"):
        io.load_tensors(path)
    io.save_tensors(path, {"a": torch.ones(2)})
    with monkeypatch.context() as patch:
        patch.setattr(io, "CONVENTIONS_VERSION", 2)
        with pytest.raises(CheckpointError, match="its numbers mean something else"):
            io.load_tensors(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (io.load_tensors, io.read_json):
        with pytest.raises(CheckpointError, match=r"there is no file .*none"):
            read(tmp_path / "none")
    with pytest.raises(CheckpointError, match="cannot read"):
        io.read_json(tmp_path)


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    path = tmp_path / "x.txt"
    io.atomic_write_text(path, "old")

    def fail(*arguments: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(OSError, match="the disk is full"):
            io.atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_gets_the_rights_that_any_new_file_gets(tmp_path: Path) -> None:
    io.atomic_write_text(tmp_path / "x", "a")
    (tmp_path / "y").write_text("a")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".x.json.1a2b3c4d.tmp").touch()
    (tmp_path / "x.json").touch()
    io.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    records = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    for record in records:
        io.append_line(path, record)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        assert io.read_lines(path) == records[:1]
        io.keep_lines(path, lambda record: True)
        io.append_line(path, records[1])
        assert path.read_bytes() == whole


def test_keep_lines_drops_what_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert io.read_lines(path) == []
    io.keep_lines(path, lambda record: True)
    assert not path.exists()
    for step in range(5):
        io.append_line(path, {"step": step})
    io.keep_lines(path, lambda record: record["step"] <= 2)
    assert [record["step"] for record in io.read_lines(path)] == [0, 1, 2]


def test_a_damaged_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match="is damaged"):
        io.read_lines(path)


HOLDER = """
import sys, time
from torsor.io import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_has_one_writer_and_a_killed_one_leaves_it_free(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = rf"run is in use by process {holder.pid} on .*: wait until that has ended, or give another directory"
        with pytest.raises(CheckpointError, match=refused), io.locked(tmp_path / "run"):
            raise AssertionError("two writers")
        assert str(holder.pid) in (tmp_path / "run" / ".lock").read_text()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with io.locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_ends_with_its_block_however_that_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyError), io.locked(tmp_path):
        raise KeyError
    for _ in range(2):
        with io.locked(tmp_path):
            pass


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(io.fcntl, "flock", no_locks)
    with io.locked(tmp_path), io.locked(tmp_path):
        pass
    monkeypatch.setattr(io, "fcntl", None)
    with io.locked(tmp_path), io.locked(tmp_path):
        pass


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        io.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_json_that_is_no_json_is_an_error_of_one_line(tmp_path: Path) -> None:
    for data in (b'{"a": 1', b"\xff", b"[" * 100000, json.dumps({"a": 1}).encode()[:-2]):
        (tmp_path / "x.json").write_bytes(data)
        with pytest.raises(CheckpointError, match="is damaged") as caught:
            io.read_json(tmp_path / "x.json")
        assert "\n" not in str(caught.value)
