"""Does symmetry matter for these data at this budget? Arms x training-set sizes x seeds, learning curves, intervals and a verdict."""

from torsor.study.analysis import analyse
from torsor.study.config import StudyConfig, read_study
from torsor.study.findings import Findings
from torsor.study.runner import run_study

__all__ = ["Findings", "StudyConfig", "analyse", "read_study", "run_study"]
