"""Training: the loop, run directories, checkpoints, resuming, precision and distribution."""

from torsor.training.evaluation import Evaluation, evaluate
from torsor.training.loop import train
from torsor.training.result import RunResult
from torsor.training.runs import LoadedRun, RunConfig, load_run
from torsor.training.settings import TrainConfig

__all__ = ["Evaluation", "LoadedRun", "RunConfig", "RunResult", "TrainConfig", "evaluate", "load_run", "train"]
