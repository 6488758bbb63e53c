"""The verbs about many runs: study, report and bench."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

import torsor
from torsor.cli.flags import flags_of, leading_names, parse
from torsor.config import config_class, from_mapping, named_to_mapping, read_toml, to_mapping
from torsor.errors import ConfigError, DataError, missing_dependency
from torsor.tasks import REGISTRY as TASKS

MODELS_OF_STUDY = ("strict", "plain")


def study(arguments: Sequence[str]) -> int:
    """`torsor study TASK [flags]`, `torsor study study.toml [flags]`, `torsor study NAME [flags]` for a study that torsor brings."""
    from torsor.report import text, write_report
    from torsor.report.sweeps import text as text_of_sweep
    from torsor.study import SweepConfig, read_study, read_sweep, run_study, run_sweep, shipped_studies

    names, flags = leading_names(arguments, 1)
    shipped = shipped_studies()
    if not names:
        raise ConfigError(f"give a task ({', '.join(TASKS)}), a study ({', '.join(shipped)}) or its TOML file: torsor study nbody")
    title, file = Path(names[0]).stem, shipped.get(names[0], Path(names[0]))
    if file.suffix == ".toml":
        made = flags_of("Study", f"Run the study {names[0]}.", **_common_flags(title))
        settings = parse(made, flags, f"study {names[0]}", made())
        config: Any = read_sweep(file) or read_study(file)
    else:
        settings = _study_flags(names[0], flags, title)
        config = _study_config(settings)
    say = None if settings.quiet else print
    with _executor(settings.scheduler) as executor:
        if isinstance(config, SweepConfig):
            said = text_of_sweep(config, run_sweep(config, settings.out, executor, say=say))
        else:
            said = text(run_study(config, settings.out, executor, say=say))
    print(said)
    print(f"\n{write_report(settings.out)}")
    return 0


def _common_flags(title: str) -> dict[str, tuple[Any, Any]]:
    return {
        "out": (
            Annotated[Path, tyro.conf.arg(help="Directory of the study; one that was stopped goes on.")],
            Path("runs") / f"study-{title}",
        ),
        "scheduler": (Annotated[str | None, tyro.conf.arg(help="Dask scheduler (tcp://HOST:PORT) that runs it instead.")], None),
        "quiet": (Annotated[bool, tyro.conf.arg(help="Say nothing until the end.")], False),
    }


def _study_flags(task: str, flags: Sequence[str], title: str) -> Any:
    """The flags of a task and of a study; models go by their names, their settings need a TOML file."""
    from torsor.study import StudyConfig

    hints = get_type_hints(StudyConfig)
    own: dict[str, tuple[Any, Any]] = {}
    for field in fields(StudyConfig):
        if field.name == "task":
            own["task"] = (config_class(TASKS, task), config_class(TASKS, task)())
        else:
            default: Any = field.default if field.default_factory is MISSING else field.default_factory()
            own[field.name] = (str, default["name"]) if field.name in MODELS_OF_STUDY else (hints[field.name], default)
    made = flags_of("Study", f"Does symmetry matter for {task}?\n\n{StudyConfig.__doc__}", **own, **_common_flags(title))
    return parse(made, flags, f"study {task}", made())


def _study_config(settings: Any) -> Any:
    from torsor.study import StudyConfig

    task = {key: value for key, value in named_to_mapping(TASKS, settings.task).items() if value is not None}
    default = getattr(type(settings.task)(), "train_size", None)
    if task.pop("train_size", default) != default:
        raise ConfigError("--task.train-size is what a study varies: give --sizes instead")
    own = {field.name: getattr(settings, field.name) for field in fields(StudyConfig) if field.name not in ("task", "train")}
    models = {name: {"name": own[name]} for name in MODELS_OF_STUDY}
    return from_mapping(StudyConfig, {**own, **models, "task": task, "train": to_mapping(settings.train)}, "the study")


@contextmanager
def _executor(scheduler: str | None) -> Iterator[Executor | None]:
    """A Dask cluster's executor, or None for the study's own processes."""
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise missing_dependency("distributed", "cluster", "--scheduler") from error
    with Client(scheduler) as client:
        yield client.get_executor()


def report(arguments: Sequence[str]) -> int:
    """`torsor report RUN...`."""

    def run(directories: Annotated[tuple[Path, ...], tyro.conf.Positional]) -> int:
        """Write one HTML page about runs or about a study, with tables, figures and settings.

        Args:
            directories: a study's directory, or those of one or more runs; the page goes into the first.
        """
        from torsor.report import write_report

        print(write_report(list(directories)))
        return 0

    return parse(run, arguments, "report")


def bench(arguments: Sequence[str]) -> int:
    """`torsor bench [NAME...]`."""

    def run(names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()) -> int:
        """Time our layers against their peers, in one run; the results go into benchmarks/results.

        Args:
            names: which benchmarks; all if not given.
        """
        scripts = _benchmarks()
        for name in names or scripts:
            if name not in scripts:
                raise ConfigError(f"there is no benchmark {name!r}: give {', '.join(scripts)}")
        for name in names or scripts:
            done = subprocess.run([sys.executable, str(scripts[name])], check=False)
            if done.returncode:
                return done.returncode
        return 0

    return parse(run, arguments, "bench")


def _benchmarks() -> dict[str, Path]:
    """The scripts by name: of the checkout that torsor runs from, or of the one that the user is in."""
    for root in (Path(torsor.__file__).parents[2], Path.cwd()):
        if _is_checkout(root):
            return {
                path.stem: path for path in sorted((root / "benchmarks").glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")
            }
    raise DataError(
        "the benchmarks are in torsor's repository, not in the installed package: clone the repository and run torsor bench in its folder"
    )


def _is_checkout(root: Path) -> bool:
    """Whether a folder is torsor's repository; scripts of another project are never run."""
    try:
        project = read_toml(root / "pyproject.toml").get("project")
    except ConfigError:
        return False
    return isinstance(project, dict) and project.get("name") == "torsor" and (root / "benchmarks").is_dir()
