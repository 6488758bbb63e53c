"""The tables that the verbs print: our figures, the trivial baselines, the published ones, and what ours cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torsor.check import EquivarianceReport
from torsor.recipes import Published
from torsor.report.tables import Table, number, quantity, seconds
from torsor.tasks.base import Task
from torsor.training import RunResult

DIGITS = 4


def result_table(means: Mapping[str, float], task: Task) -> Table:
    """Our figures and those of the trivial baselines, one column a metric."""
    columns = ("", *(f"{name} ({task.units[name]})" if task.units.get(name) else name for name in means))
    rows = [("this model", *(number(value, DIGITS) for value in means.values()))]
    for name, values in task.baselines().items():
        rows.append((f"baseline: {name}", *(number(values.get(metric, float("nan")), DIGITS) for metric in means)))
    return Table(columns, tuple(rows))


def figures_table(result: RunResult, task: Task, published: Sequence[Published], measured: Mapping[str, EquivarianceReport]) -> Table:
    """Published figures and trivial baselines beside ours, the ratio ours / theirs, the equivariance error and the cost."""
    rows = [_published_row(figure, result, task) for figure in published]
    for name, values in task.baselines().items():
        rows += [_row(f"baseline: {name}", metric, number(value, DIGITS), value, result, task) for metric, value in values.items()]
    for whose, report in measured.items():
        rounding = f"largest, {whose}; rounding of moved inputs alone {number(report.noise_floor, 2)}"
        rows.append(("equivariance error", f"relative, {report.group}", "", number(report.max_relative, 2), "", rounding))
    rows.append(("cost of ours", "", "", "", "", cost_line(result)))
    return Table(("figure of", "metric", "figure", "ours", "ours / figure", "source"), tuple(rows), prose=True)


def cost_line(result: RunResult) -> str:
    """What a run cost, in one line."""
    trained = f"{result.steps:,} steps, {result.samples:,} samples, {seconds(result.seconds)}"
    return f"{result.parameters:,} parameters, {trained}, {quantity(result.flops)}FLOP (matrix products)"


def _published_row(figure: Published, result: RunResult, task: Task) -> tuple[str, ...]:
    spread = "" if figure.std is None else f" +- {number(figure.std, 2)}"
    source = f"{figure.source}; {figure.setting}" if figure.setting else figure.source
    return (*_row(figure.by, figure.metric, number(figure.value, DIGITS) + spread, figure.value, result, task)[:-1], source)


def _row(name: str, metric: str, shown: str, value: float, result: RunResult, task: Task) -> tuple[str, ...]:
    unit = task.units.get(metric)
    ours = result.test.get(metric, float("nan"))
    ratio = number(ours / value) if value else ""
    return (name, f"{metric} ({unit})" if unit else metric, shown, number(ours, DIGITS), ratio, "no network")
