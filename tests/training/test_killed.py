"""Runs that are killed go on to the same numbers, bit by bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from torsor.io import load_tensors, read_lines

ROOT = Path(__file__).parents[2]


def everything(directory: Path) -> dict[str, Any]:
    """All that a run leaves, without its timings."""
    result = json.loads((directory / "result.json").read_text())
    result.pop("seconds_per_step")
    records = [{key: value for key, value in record.items() if key != "seconds"} for record in read_lines(directory / "metrics.jsonl")]
    tensors: dict[str, Any] = {"result": result, "records": records, "files": sorted(path.name for path in directory.rglob("*"))}
    for path in sorted(directory.rglob("*.safetensors")):
        loaded, metadata = load_tensors(path)
        metadata.pop("seconds_per_step", None)
        tensors[path.name] = ({name: (tensor.dtype, tensor.tolist()) for name, tensor in loaded.items()}, metadata)
    return tensors


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"tests.training.{module}", *arguments]


@pytest.mark.slow
def test_a_kill_before_any_file_operation_changes_no_bit(tmp_path: Path) -> None:
    done = subprocess.run(command("kill_everywhere", str(tmp_path)), cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    places = int(done.stdout)
    whole = everything(tmp_path / "whole")
    assert len(whole["records"]) == 3 + 1 + 3  # losses of steps 1, 5, 10 and 12, and three evaluations
    assert places > 30
    for place in range(1, places + 1):
        assert everything(tmp_path / f"killed-{place}") == whole, f"killed at {place}"


@pytest.mark.slow
def test_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    done = subprocess.run(command("kill_randomly", str(tmp_path)), cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 3
    assert everything(tmp_path / "killed") == everything(tmp_path / "whole")


def test_the_comparison_sees_a_single_bit(tmp_path: Path) -> None:
    from torsor.io import save_tensors, write_json

    for name, value in (("a", 1.0), ("b", 1.0 + 2**-23)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "result.json", {"seconds_per_step": value})
        save_tensors(tmp_path / name / "x.safetensors", {"weight": torch.tensor(value)}, {})
    assert everything(tmp_path / "a") != everything(tmp_path / "b")
