"""A real study, small: it trains, is killed, goes on, and reports."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from torsor.config import from_mapping
from torsor.report import write_report
from torsor.study import StudyConfig, analyse, run_study
from torsor.study.runs import RunRecord

pytestmark = pytest.mark.slow

SETTINGS = {
    "task": {"name": "nbody", "variant": "gravity", "valid_size": 8, "test_size": 16},
    "strict": {"name": "egnn", "hidden": 8, "layers": 2},
    "plain": {"name": "transformer", "width": 16, "heads": 2, "layers": 2},
    "train": {"steps": 10, "batch_size": 4, "learning_rate": 1e-2, "evaluate_every": 5},
    "arms": ["strict", "augmented", "augmented+tta", "plain", "wrong-group"],
    "sizes": [8, 16],
    "seeds": [0, 1],
    "tta_samples": 2,
    "share_samples": 2,
    "bootstrap": 200,
    "workers": 0,
}
SCRIPT = "import json, sys; from torsor.config import from_mapping; from torsor.study import StudyConfig, run_study; "
SCRIPT += "run_study(from_mapping(StudyConfig, json.loads(sys.argv[1])), sys.argv[2])"


def killed_after(records: int, directory: Path) -> None:
    """Start the study in a process of its own and kill it when so many runs are in the ledger."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, json.dumps(SETTINGS), str(directory)], env=environment)
    try:
        limit = time.monotonic() + 120
        while len(list(directory.glob("ledger/*.json"))) < records:
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def figures(directory: Path) -> dict[str, object]:
    """What must not depend on when a run was made: all but times and machine."""
    records = [RunRecord.read(path) for path in sorted((directory / "ledger").glob("*.json"))]
    return {record.key: (record.order, record.test_set, record.valid, record.flops, record.tested) for record in records}


def test_killed_study_goes_on_to_the_figures_of_one_that_was_not(tmp_path):
    config = from_mapping(StudyConfig, SETTINGS)
    killed_after(3, tmp_path / "killed")
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "ledger").glob("*.json")}
    findings = run_study(config, tmp_path / "killed")
    whole = run_study(config, tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")
    assert (findings.verdict, findings.ratio, findings.multiplier) == (whole.verdict, whole.ratio, whole.multiplier)
    assert (findings.finished, findings.missing, findings.failed) == (16, 0, ())

    # the strict arm has the symmetry, the others do not; averaging over two elements halves what is left of it
    assert abs(findings.arm("strict").share[-1].estimate) < 1e-5
    assert findings.arm("plain").share[-1].estimate > 1e-3
    assert findings.arm("augmented+tta").test_flops == 2 * findings.arm("augmented").test_flops

    first = write_report(tmp_path / "killed").read_bytes()
    assert write_report(tmp_path / "killed").read_bytes() == first
    assert analyse(tmp_path / "killed").to_mapping() == findings.to_mapping()


def test_study_runs_in_worker_processes(tmp_path):
    config = from_mapping(StudyConfig, SETTINGS | {"sizes": [8], "arms": ["strict", "plain"], "seeds": [0], "workers": 1})
    said: list[str] = []
    findings = run_study(config, tmp_path, say=said.append)
    assert findings.finished == 2
    assert len(said) == 2
