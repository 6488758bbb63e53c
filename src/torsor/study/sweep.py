"""A study at several values of a setting of its task, such as how strongly the data break the symmetry.

sweep.json           settings
SETTING=VALUE/       the study at that value, a directory as `run_study` makes it
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torsor.config import Settings, from_mapping, read_toml, to_mapping
from torsor.errors import CheckpointError, ConfigError
from torsor.io import read_json, write_json
from torsor.study.analysis import analyse
from torsor.study.config import StudyConfig
from torsor.study.findings import Findings
from torsor.study.runner import Execute, Say, run_study
from torsor.study.runs import execute


@dataclass(frozen=True)
class SweepConfig(Settings):
    """What to vary, and the study that is made at each value.

    Args:
        study: the study; its task has the setting's default.
        setting: name of the task's setting.
        values: at least two, in the order of figures.

    Raises:
        ConfigError: there are not two values, or one is there twice.
    """

    study: StudyConfig
    setting: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.values) < 2 or len(set(map(str, self.values))) != len(self.values):
            raise ConfigError(f"values is {list(self.values)}: give two or more, each once")

    def at(self, value: Any) -> StudyConfig:
        """The study at a value of the setting."""
        return replace(self.study, task={**self.study.task, self.setting: value})

    def folder(self, value: Any) -> str:
        """Name of the directory of the study at a value."""
        return f"{self.setting}={value}"


def read_sweep(path: str | Path) -> SweepConfig | None:
    """The settings of a sweep in a TOML file; None where the file holds a single study.

    A sweep is a study's file with one table more: `vary = {setting = "strength", values = [0.0, 0.3, 1.0, 3.0]}`.

    Raises:
        ConfigError: the file is missing or a setting is wrong; names it.
    """
    mapping = read_toml(path)
    if "vary" not in mapping:
        return None
    vary = mapping.pop("vary")
    if not isinstance(vary, dict) or set(vary) != {"setting", "values"}:
        raise ConfigError(f'{path}: vary is {vary!r}: give vary = {{setting = "NAME", values = [...]}}')
    return SweepConfig(from_mapping(StudyConfig, mapping, str(path)), vary["setting"], tuple(vary["values"]))


def run_sweep(
    config: SweepConfig, directory: str | Path, executor: Executor | None = None, *, run: Execute = execute, say: Say | None = None
) -> dict[Any, Findings]:
    """Run what is missing of every study of a sweep, and give their findings by value.

    Args:
        config: what to vary.
        directory: of the sweep; made here.
        executor: as for `run_study`.
        run: as for `run_study`.
        say: is told one line for each study that begins and each run that ends.

    Raises:
        ConfigError: a setting is wrong.
        TorsorError: a worker died; what has finished is kept.
    """
    root = Path(directory)
    for value in config.values:
        config.at(value).validate()
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "sweep.json", {"format": 1, "config": to_mapping(config)})
    for value in config.values:
        if say is not None:
            say(config.folder(value))
        run_study(config.at(value), root / config.folder(value), executor, run=run, say=say)
    return analyse_sweep(root)[1]


def analyse_sweep(directory: str | Path) -> tuple[SweepConfig, dict[Any, Findings]]:
    """The settings of a sweep and the findings of its studies by value, those that have begun.

    Raises:
        CheckpointError: the directory holds no sweep, or a ledger is damaged.
    """
    root = Path(directory)
    if not (root / "sweep.json").is_file():
        raise CheckpointError(f"{root} holds no sweep: give a directory with a sweep.json")
    config = from_mapping(SweepConfig, read_json(root / "sweep.json")["config"], str(root / "sweep.json"))
    begun = [value for value in config.values if (root / config.folder(value) / "study.json").is_file()]
    return config, {value: analyse(root / config.folder(value)) for value in begun}
