"""The verbs that run: train, evaluate and reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from torsor import training
from torsor.check import EquivarianceReport, equivariance_error
from torsor.cli.figures import cost_line, figures_table, result_table
from torsor.cli.flags import flags_of, leading_names, parse
from torsor.cli.measuring import measure
from torsor.config import config_class
from torsor.errors import ConfigError
from torsor.models import REGISTRY as MODELS
from torsor.recipes import load_recipe, record_of
from torsor.tasks import REGISTRY as TASKS
from torsor.training import LoadedRun, RunConfig, RunResult, TrainConfig, load_run
from torsor.training.evaluation import Numerics, further_figures
from torsor.training.runs import RunDirectory

CHECKED = 8
"""Test samples on which the equivariance of a trained network is measured."""


def train(arguments: Sequence[str]) -> int:
    """`torsor train TASK MODEL [flags]`, `torsor train RECIPE [flags]`, `torsor train --resume RUN`."""
    if "--resume" in arguments:
        return parse(_resume, arguments, "train")
    names, flags = leading_names(arguments, 2)
    if len(names) == 1 and (names[0].endswith(".toml") or "/" in names[0]):
        config, title = load_recipe(names[0]).config(), Path(names[0]).with_suffix("").name
    elif len(names) == 2:
        config, title = RunConfig(config_class(TASKS, names[0])(), config_class(MODELS, names[1])(), TrainConfig()), "-".join(names)
    else:
        raise ConfigError(
            f"give TASK MODEL (tasks: {', '.join(TASKS)}; models: {', '.join(MODELS)}), or a recipe's name or TOML file, or --resume RUN"
        )
    settings = _train_flags(config, names, flags)
    directory = settings.out or _free(Path("runs") / title)
    task = settings.task.build()
    result = training.train(task, settings.model, settings.train, directory, augment=settings.augment, quiet=settings.quiet)
    _show(result, task)
    return 0


def _train_flags(config: RunConfig, names: Sequence[str], flags: Sequence[str]) -> Any:
    """The flags of a task, a model and the training, with the defaults of a config."""
    made = flags_of(
        "Train",
        f"Train {' '.join(names)}.",
        task=(type(config.task), config.task),
        model=(type(config.model), config.model),
        train=(TrainConfig, config.train),
        augment=(Annotated[bool, tyro.conf.arg(help="Move every sample by a random element of the task's group.")], config.augment),
        out=(Annotated[Path | None, tyro.conf.arg(help="Run directory; runs/TASK-MODEL if not given.")], None),
        quiet=(Annotated[bool, tyro.conf.arg(help="Show no progress bar.")], False),
    )
    return parse(made, flags, f"train {' '.join(names)}", made())


def _resume(resume: Path, quiet: bool = False) -> int:
    """Go on with a run that was stopped; the numbers are those of a run that never was.

    Args:
        resume: the run directory.
        quiet: show no progress bar.
    """
    config = RunDirectory(resume).read()
    task = config.task.build()
    result = training.train(task, config.model, config.train, resume, resume=True, augment=config.augment, quiet=quiet)
    _show(result, task)
    return 0


def _show(result: RunResult, task: Any) -> None:
    print(result_table(result.test, task).text())
    print(f"\n{cost_line(result)}\nin {result.directory}")
    for note in task.notes:
        print(f"note: {note}")


def _free(directory: Path) -> Path:
    """The directory, or the first of directory-2, directory-3, ... that holds no run."""
    candidates = [directory, *(directory.with_name(f"{directory.name}-{i}") for i in range(2, 10000))]
    return next(path for path in candidates if not path.exists())


def evaluate(arguments: Sequence[str]) -> int:
    """`torsor evaluate RUN`."""

    def run(directory: Annotated[Path, tyro.conf.Positional], weights: Literal["best", "last"] = "best", batch_size: int = 128) -> int:
        """Test a run: metrics on the test split, baselines, and equivariance under the model's and the task's group.

        Args:
            directory: the run directory.
            weights: those that were best on the validation split, or the last.
            batch_size: samples at once.
        """
        loaded = load_run(directory, weights)
        numerics = Numerics(torch.device("cpu"), loaded.config.train.precision)
        found = training.evaluate(loaded.model, loaded.task, loaded.task.splits.test, numerics, batch_size).means
        found |= further_figures(loaded.model, loaded.task, numerics, batch_size)
        print(result_table(found, loaded.task).text())
        for note in loaded.task.notes:
            print(f"note: {note}")
        for whose, report in _measured(loaded).items():
            print(f"\n{whose}: {report}")
        return 0

    return parse(run, arguments, "evaluate")


def _measured(loaded: LoadedRun) -> dict[str, EquivarianceReport]:
    """The equivariance of a trained network under its own group and, where that is another, under the group of its task."""
    task, network, _ = loaded
    dtype = next(network.parameters()).dtype
    inputs = task.inputs(task.splits.test.to(dtype).take(slice(CHECKED)))
    own = getattr(network, "symmetry", None)
    contracts = {"the model's own group": own} if own is not None else {}
    if own is None or own.group != task.symmetry.group:
        contracts["the task's group"] = task.symmetry
    return {
        whose: equivariance_error(network, inputs, contract, generator=torch.Generator().manual_seed(0))
        for whose, contract in contracts.items()
    }


def reproduce(arguments: Sequence[str]) -> int:
    """`torsor reproduce RECIPE --size quick|cpu|full`."""

    def run(
        recipe: Annotated[str, tyro.conf.Positional],
        size: Literal["quick", "cpu", "full"] = "quick",
        out: Path | None = None,
        seed: int = 0,
        quiet: bool = False,
        record: Path | None = None,
    ) -> int:
        """Run a published experiment and print its figures beside ours. A run that was stopped goes on.

        Args:
            recipe: its name, see `torsor list recipes`, or a TOML file.
            size: how much of it to run; only "full" is the published setting.
            out: run directory; runs/reproduce/RECIPE-SIZE-SEED if not given.
            seed: of the run.
            quiet: show no progress bar.
            record: folder to keep the figures in, one small JSON file a run: tables of the documentation are made of them.
        """
        found = load_recipe(recipe)
        name = recipe.removesuffix(".toml").strip("/")
        if found.protocol:
            return measure(Path(name).name if recipe.endswith(".toml") else name, found, size, seed, quiet, record)
        config = found.config(size)
        task = config.task.build()
        directory = out or Path("runs") / "reproduce" / f"{name.replace('/', '-')}-{size}-{seed}"
        settings = replace(config.train, seed=seed)
        result = training.train(task, config.model, settings, directory, resume=True, augment=config.augment, quiet=quiet)
        print(f"{found.paper}\n{size}: {found.size(size).note}\n")
        measured = _measured(load_run(directory, settings.test_on))
        print(figures_table(result, task, found.figures(size), measured).text())
        for note in (*found.notes, *task.notes):
            print(f"note: {note}")
        if record is not None:
            title = Path(name).name if recipe.endswith(".toml") else name
            print(f"recorded in {record_of(title, found, size, task, result, measured).write(record)}")
        return 0

    return parse(run, arguments, "reproduce")
