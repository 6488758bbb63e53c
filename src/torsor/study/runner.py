"""Run a study: tune, train every arm at every size and seed, keep a ledger, and give the findings.

    study.json           settings, the task's facts and baselines, versions, machine
    ledger/KEY.json      one finished (or failed) run each, written by the process that ran it
    runs/KEY/            its checkpoints and curves
    findings.json        the figures of the verdict

A run counts as finished when its line is in the ledger. So a study may be killed at any time, be given more seeds, sizes or arms, and runs
only what is missing.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from torsor.config import to_mapping
from torsor.errors import TorsorError
from torsor.io import locked, read_json, remove_leftovers, write_json
from torsor.study.analysis import analyse
from torsor.study.config import StudyConfig
from torsor.study.findings import Findings
from torsor.study.orientations import symmetry_test
from torsor.study.plan import Costs, chosen_rates, grid_specs, measure_costs, tuning_specs
from torsor.study.runs import RunRecord, RunSpec, execute
from torsor.training.runs import provenance

P = ParamSpec("P")
R = TypeVar("R")
Execute = Callable[[RunSpec, Path], RunRecord]
Say = Callable[[str], None]


class InThisProcess(Executor):
    """The executor that runs a task when it is submitted, here."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run it now; its error is the future's."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run_study(
    config: StudyConfig,
    directory: str | Path,
    executor: Executor | None = None,
    *,
    run: Execute = execute,
    say: Say | None = None,
) -> Findings:
    """Run what is missing of a study and give its findings.

    Scripts that call this need the usual `if __name__ == "__main__":`, since runs have processes of their own.

    Args:
        config: what to compare.
        directory: of the study; made here. Workers on other machines must see it.
        executor: any standard executor, for instance that of a cluster; `config.workers` local processes with one thread each if not given.
        run: what makes a record from a run; trains it.
        say: is told one line for each run that ends; nobody is if not given.

    Raises:
        CheckpointError: another process runs a study in the directory.
        ConfigError: a setting is wrong.
        TorsorError: a worker died; what has finished is kept.
    """
    config.validate()
    say = say or _nobody
    root = Path(directory).absolute()
    with locked(root):
        for folder in (root, root / "ledger", root / "runs"):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        costs = _write_facts(config, root)
        with _pool(config, executor) as pool:
            rates = _tune(config, costs, root, pool, run, say)
            _complete(grid_specs(config, rates, costs), root, pool, run, say)
        findings = analyse(root)
        write_json(root / "findings.json", findings.to_mapping())
    return findings


def _tune(config: StudyConfig, costs: Costs, root: Path, pool: Executor, run: Execute, say: Say) -> dict[str, float]:
    """The learning rate of every trained arm; the same number of trials for each."""
    trials = _complete(tuning_specs(config, costs), root, pool, run, say)
    rates = chosen_rates(config, trials)
    for arm, rate in rates.items() if trials else ():
        say(f"{arm}: learning rate {rate:g}, the best of {len(config.learning_rates)} on the validation split")
    return rates


def _complete(specs: Sequence[RunSpec], root: Path, pool: Executor, run: Execute, say: Say) -> dict[str, RunRecord]:
    """The records of all these runs, those that are missing run now."""
    paths = {spec.key: root / "ledger" / f"{spec.key}.json" for spec in specs}
    missing = [spec for spec in specs if not paths[spec.key].is_file()]
    futures = {pool.submit(_run_and_record, run, spec, root): spec for spec in missing}
    try:
        for count, future in enumerate(as_completed(futures), start=len(specs) - len(missing) + 1):
            say(f"[{count}/{len(specs)}] {_line(futures[future], future.result())}")
    except BrokenProcessPool as error:
        raise TorsorError("a worker process died (out of memory?): start the study again, finished runs are kept") from error
    finally:
        for future in futures:
            future.cancel()
    return {key: RunRecord.read(path) for key, path in paths.items()}


def _nobody(line: str) -> None:
    """Tell nobody."""


def _run_and_record(run: Execute, spec: RunSpec, root: Path) -> RunRecord:
    """Run and write the ledger's line, in the process that ran it: no kill can lose a finished run."""
    record = run(spec, root / "runs" / spec.key)
    record.write(root / "ledger" / f"{spec.key}.json")
    return record


def _line(spec: RunSpec, record: RunRecord) -> str:
    """What a run is told in."""
    name = f"{spec.arm}, {spec.size} samples, {spec.train['steps']} steps, seed {spec.seed}"
    if record.failed:
        return f"{name}: failed: {record.failed}"
    return f"{name}: validation {record.valid:.4g}, {record.seconds:.0f} s of training"


def _write_facts(config: StudyConfig, root: Path) -> dict[str, int]:
    """Write `study.json`, and give what a step of each arm costs; versions, machine and known costs stay those of the start."""
    path = root / "study.json"
    before = read_json(path) if path.is_file() else {"provenance": provenance(), "costs": {}}
    known = before["costs"]
    costs = known if config.equal == "flops" and {arm.name for arm in config.trained} <= set(known) else measure_costs(config)
    task = config.task_settings(config.sizes[-1]).build()
    orientations = symmetry_test(task)
    facts = {
        "name": task.name,
        "headline": task.headline,
        "unit": task.units.get(task.headline, ""),
        "notes": list(task.notes),
        "group": str(task.symmetry.group),
        "exactness": task.symmetry.exactness,
        "test_samples": len(task.splits.test),
        "symmetry_test": None if orientations is None else to_mapping(orientations),
        "baselines": {name: values[task.headline] for name, values in task.baselines().items() if task.headline in values},
    }
    write_json(path, {"format": 1, "config": to_mapping(config), "task": facts, "costs": costs, "provenance": before["provenance"]})
    return costs


@contextmanager
def _pool(config: StudyConfig, executor: Executor | None) -> Iterator[Executor]:
    """The executor that was given, or one of our own that is closed at the end."""
    if executor is not None:
        yield executor
        return
    if config.workers == 0:
        yield InThisProcess()
        return
    # spawn: a forked child would inherit torch's thread pools in an undefined state
    context: Any = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(config.workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
