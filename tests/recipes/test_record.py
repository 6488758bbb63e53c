"""What a run is recorded as, and how damaged records are refused."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import torch

import torsor
from torsor import training
from torsor.cli import main
from torsor.errors import CheckpointError
from torsor.io import read_json, write_json
from torsor.recipes import Record, load_recipe, read_records

SMALL = """method = "Linear"
[task]
name = "nbody"
train_size = 20
valid_size = 10
test_size = 10
[model]
name = "egnn"
hidden = 8
layers = 1
[train]
batch_size = 4
[[published]]
by = "Linear"
metric = "mse_position"
value = 0.05
std = 0.001
source = "table 1"
[[published]]
by = "Other"
metric = "mse_velocity"
value = 0.5
source = "table 2"
setting = "other particles"
[sizes.quick]
note = "short"
train = { steps = 3 }
"""


def test_a_run_is_recorded_and_read_back_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(SMALL)
    assert main(["reproduce", "mine.toml", "--seed", "3", "--quiet", "--record", "kept"]) == 0
    (found,) = read_records("kept")
    result = training.RunResult.read("runs/reproduce/mine-quick-3")
    made_with = read_json("runs/reproduce/mine-quick-3/run.json")["provenance"]
    assert (found.recipe, found.size, found.seed, found.steps) == ("mine", "quick", 3, 3)
    assert found.ours == dict(result.test)
    assert found.baselines == load_recipe("mine.toml").config("quick").task.build().baselines()
    assert (found.parameters, found.flops_per_step, found.seconds_per_step) == (
        result.parameters,
        result.flops_per_step,
        result.seconds_per_step,
    )
    assert (found.method, found.published) == ("Linear", load_recipe("mine.toml").figures("quick"))
    assert (found.torch, found.torsor) == (torch.__version__, torsor.__version__)
    assert made_with["processor"] in found.hardware or made_with["gpu"] == found.hardware
    assert date.fromisoformat(found.date) <= datetime.now(UTC).date()
    assert 0 < max(error.largest for error in found.equivariance) < 1e-4
    path = Path("kept/mine-quick-3.json")
    written = path.read_text()
    assert found.write("kept") == path
    assert path.read_text() == written


@pytest.mark.parametrize(("change", "message"), [({"steps": "many"}, "steps is 'many'"), ({"stps": 3}, "has no 'stps'")])
def test_a_damaged_record_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    made_up = Record("a", "quick", 0, "2026-01-02", "none", "0", "0", None, 1, 1, 1.0, 1, 1, {"mae": 1.0})
    path = made_up.write(tmp_path)
    assert Record.read(path) == made_up
    write_json(path, {**read_json(path), **change})
    with pytest.raises(CheckpointError, match=f"is damaged.*{message}"):
        Record.read(path)
