"""Reports: tables, figures and one self-contained HTML page for a study or for training runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torsor.errors import CheckpointError
from torsor.report.runs import write_run_report
from torsor.report.studies import write_study_report
from torsor.report.sweeps import write_sweep_report
from torsor.report.words import text

__all__ = ["text", "write_report", "write_run_report", "write_study_report", "write_sweep_report"]


def write_report(runs: str | Path | Sequence[str | Path]) -> Path:
    """Write the `report.html` of one or more studies, of a sweep, or of one or more training runs, and give its path.

    Args:
        runs: a directory, or several but for a sweep. The page goes into the first; that of several studies goes beside it.

    Raises:
        CheckpointError: a directory holds neither a study nor a finished run.
    """
    directories = [runs] if isinstance(runs, str | Path) else list(runs)
    if not directories:
        raise CheckpointError("no directory was given: name that of a study or of a run")
    if len(directories) == 1 and (Path(directories[0]) / "sweep.json").is_file():
        return write_sweep_report(directories[0])
    if all((Path(directory) / "study.json").is_file() for directory in directories):
        return write_study_report(directories)
    return write_run_report(directories)
