"""The page of one or more training runs: figures beside baselines, curves, equivariance, settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from torsor.check import equivariance_error
from torsor.errors import TorsorError
from torsor.io import atomic_write_text, read_json, read_lines
from torsor.report import plots
from torsor.report.page import Html, Piece, code, figure, heading, page, paragraph
from torsor.report.tables import Table, number, quantity, seconds
from torsor.report.words import hardware
from torsor.training import RunResult, load_run

CHECKED = 4
"""Test samples that the equivariance error is measured on."""


def write_run_report(directories: Sequence[str | Path]) -> Path:
    """Write `report.html` into the directory of the first of these runs, and give its path.

    Raises:
        CheckpointError: a directory holds no finished run.
    """
    roots = [Path(directory) for directory in directories]
    results = [RunResult.read(root) for root in roots]
    title = f"Training run {roots[0].name}" if len(roots) == 1 else f"{len(roots)} training runs"
    pieces: list[Piece] = [heading("Test figures"), Html(_figures(results).html()), heading("Cost"), Html(_cost(results).html())]
    pieces += [heading("Curves"), *_curves(roots)]
    for root in roots:
        pieces += [heading(f"Run {root.name}"), *_run(root)]
    path = roots[0] / "report.html"
    atomic_write_text(path, page(title, *pieces))
    return path


def _figures(results: Sequence[RunResult]) -> Table:
    metrics = list(dict.fromkeys(name for result in results for name in result.test))
    rows = tuple((result.directory.name, *(number(result.test.get(name, float("nan")), 4) for name in metrics)) for result in results)
    return Table(("run", *metrics), rows, f"Means over the test split; the metric to quote is {results[0].headline}.")


def _cost(results: Sequence[RunResult]) -> Table:
    columns = ("run", "parameters", "steps", "best step", "samples seen", "training", "time")
    rows = tuple(
        (
            result.directory.name,
            f"{result.parameters:,}",
            f"{result.steps:,}",
            f"{result.best_step:,}",
            f"{result.samples:,}",
            f"{quantity(float(result.flops))}FLOP",
            seconds(result.seconds),
        )
        for result in results
    )
    return Table(columns, rows)


def _curves(roots: Sequence[Path]) -> list[Html]:
    """Training loss and validation metric over the steps."""
    records = {root.name: read_lines(root / "metrics.jsonl") for root in roots}
    loss = {name: [(float(line["step"]), line["loss"]) for line in lines if "loss" in line] for name, lines in records.items()}
    headline = RunResult.read(roots[0]).headline
    valid = {
        name: [(float(line["step"]), line["valid"][headline]) for line in lines if headline in line.get("valid", {})]
        for name, lines in records.items()
    }
    return [
        figure(plots.curves({k: _columns(v) for k, v in series.items() if v}, label), caption)
        for series, label, caption in ((loss, "training loss", "One batch a point."), (valid, headline, "On the validation split."))
        if any(series.values())
    ]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[Sequence[float], Sequence[float]]:
    steps, values = zip(*points, strict=True)
    return steps, values


def _run(root: Path) -> list[Piece]:
    """What was run, with the baselines of its task and the measured equivariance where its data can be made again."""
    settings: dict[str, Any] = read_json(root / "run.json")
    pieces: list[Piece] = [paragraph(hardware(settings.get("provenance", {})), "sub")]
    try:
        pieces += _measured(root)
    except TorsorError as error:
        pieces.append(paragraph(f"Baselines and equivariance were not measured: {error}", "note"))
    pieces.append(code(json.dumps({key: settings.get(key) for key in ("task", "model", "train", "augment")}, indent=2)))
    return pieces


def _measured(root: Path) -> list[Piece]:
    """Baselines of the task, and the equivariance error of the trained network on its group."""
    run = load_run(root)
    task = run.task
    names = tuple(task.units) or (task.headline,)
    rows = tuple((name, *(number(values.get(metric, float("nan")), 4) for metric in names)) for name, values in task.baselines().items())
    dtype = next(run.model.parameters()).dtype
    batch = task.splits.test.to(dtype).take(slice(CHECKED))
    report = equivariance_error(run.model, task.inputs(batch), task.symmetry, generator=torch.Generator().manual_seed(0))
    return [
        Html(Table(("baseline", *names), rows, "On the same test split, without any network.").html()),
        f"Equivariance of the trained network under the task's group, on {len(next(iter(batch.values())))} test samples:",
        code(str(report)),
        *(paragraph(note, "note") for note in task.notes),
    ]
