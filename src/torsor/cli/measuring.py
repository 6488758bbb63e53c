"""Recipes that measure untrained networks, as `torsor reproduce` runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from torsor.cli.figures import DIGITS
from torsor.recipes import Published, Recipe, record_of_protocol
from torsor.report.tables import Table, number, seconds
from torsor.tasks.protocol import Measurement, Protocol


def measure(name: str, recipe: Recipe, size: str, seed: int, quiet: bool, record: Path | None) -> int:
    """Run a protocol and print the published figures beside ours, and the controls below them.

    Args:
        name: of the recipe.
        recipe: what to run.
        size: how much of it.
        seed: of the first network.
        quiet: show no progress bar.
        record: folder to keep the figures in; None to keep none.
    """
    config, model = recipe.protocol_config(size)
    protocol: Protocol = config.build()
    with Progress(disable=quiet) as progress:
        bar = progress.add_task("networks", total=protocol.networks)
        found = protocol.measure(model, seed, lambda done: progress.update(bar, completed=done))
    print(f"{recipe.paper}\n{size}: {recipe.size(size).note}\n")
    print(measurement_table(found, protocol, recipe.figures(size)).text())
    for note in (*recipe.notes, *protocol.notes):
        print(f"note: {note}")
    if record is not None:
        print(f"recorded in {record_of_protocol(name, recipe, size, seed, protocol, found).write(record)}")
    return 0


def measurement_table(found: Measurement, protocol: Protocol, published: Sequence[Published]) -> Table:
    """Published figures beside ours, and after them, always, the controls and what was measured."""
    rows = []
    for figure in published:
        source = f"{figure.source}; {figure.setting}" if figure.setting else figure.source
        ours = found.figures.get(figure.metric, float("nan"))
        rows.append((figure.by, _with_unit(figure.metric, protocol), number(figure.value, DIGITS), number(ours, DIGITS), source))
    shown = [protocol.headline] * (not published) + list(protocol.controls)
    rows += [
        ("ours", _with_unit(metric, protocol), "", number(found.figures[metric], DIGITS), protocol.meanings[metric]) for metric in shown
    ]
    cost = f"{found.networks} networks of {found.parameters:,} parameters, {found.samples:,} samples each, {seconds(found.seconds)}"
    rows.append(("cost of ours", "", "", "", cost))
    return Table(("figure of", "metric", "figure", "ours", "source"), tuple(rows), prose=True)


def _with_unit(metric: str, protocol: Protocol) -> str:
    unit = protocol.units.get(metric)
    return f"{metric} ({unit})" if unit else metric
