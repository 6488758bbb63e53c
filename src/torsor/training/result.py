"""The figures of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from torsor.config import from_mapping, to_mapping
from torsor.errors import CheckpointError, ConfigError
from torsor.io import load_tensors, read_json, write_json


@dataclass(frozen=True)
class RunResult:
    """What came out, and what it cost.

    Args:
        directory: the run directory.
        test: metric -> mean over the test split.
        valid: metric -> mean over the validation split, of the same weights.
        headline: the metric to quote.
        best_step: the step the tested weights are from.
        steps: steps that were trained.
        samples: samples that were seen, each as often as it was.
        parameters: trained numbers.
        flops_per_step: floating-point operations of a step (matrix products, forward and backward).
        seconds_per_step: median over the steps, on the machine of `run.json`, evaluation excluded.
    """

    directory: Path
    test: Mapping[str, float]
    valid: Mapping[str, float]
    headline: str
    best_step: int
    steps: int
    samples: int
    parameters: int
    flops_per_step: int
    seconds_per_step: float

    @property
    def flops(self) -> float:
        """Floating-point operations of the whole training."""
        return float(self.flops_per_step * self.steps)

    @property
    def seconds(self) -> float:
        """Seconds of the whole training, evaluation excluded."""
        return self.seconds_per_step * self.steps

    @property
    def per_sample(self) -> dict[str, Tensor]:
        """Metric -> value of every test sample `[len]`, in float64."""
        return load_tensors(self.directory / "test_metrics.safetensors")[0]

    def write(self) -> None:
        """Write `result.json`, which marks the run as finished."""
        content = {name: value for name, value in to_mapping(self).items() if name != "directory"}
        write_json(self.directory / "result.json", content)

    @classmethod
    def read(cls, directory: str | Path) -> RunResult:
        """The result of a finished run.

        Raises:
            CheckpointError: the run has not finished, or the file is damaged.
        """
        path = Path(directory) / "result.json"
        if not path.is_file():
            raise CheckpointError(f"{directory} has no result yet: go on with torsor train --resume {directory}")
        try:
            return from_mapping(cls, {**read_json(path), "directory": str(directory)}, str(path))
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
