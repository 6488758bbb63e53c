"""Does symmetry matter for these data at this budget? Arms x training-set sizes x seeds, learning curves, intervals and a verdict."""

from torsor.study.analysis import analyse
from torsor.study.config import StudyConfig, read_study
from torsor.study.findings import Findings
from torsor.study.runner import run_study
from torsor.study.shipped import shipped_studies
from torsor.study.sweep import SweepConfig, analyse_sweep, read_sweep, run_sweep

__all__ = [
    "Findings",
    "StudyConfig",
    "SweepConfig",
    "analyse",
    "analyse_sweep",
    "read_study",
    "read_sweep",
    "run_study",
    "run_sweep",
    "shipped_studies",
]
