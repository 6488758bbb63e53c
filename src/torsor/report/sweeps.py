"""The page of a sweep: which arm to use at which value of what was varied, one figure, and the studies below."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torsor.io import atomic_write_text
from torsor.report import plots, words
from torsor.report.page import Html, Piece, figure, heading, page, paragraph, title
from torsor.report.studies import study_pieces, subtitle
from torsor.report.tables import Table, number, with_interval
from torsor.study.findings import Findings
from torsor.study.sweep import SweepConfig, analyse_sweep


def write_sweep_report(directory: str | Path) -> Path:
    """Write the `report.html` of a sweep, finished or not, into its directory and give its path.

    Raises:
        CheckpointError: the directory holds no sweep, or none of its studies has begun.
    """
    config, found = analyse_sweep(directory)
    path = Path(directory) / "report.html"
    pieces: list[Piece] = [paragraph(subtitle(next(iter(found.values()))), "sub"), *sweep_pieces(config, found)]
    for value, findings in found.items():
        pieces += [title(f"{config.setting} {value}"), *study_pieces(findings)]
    atomic_write_text(path, page(f"How much symmetry, as {config.setting} grows?", *pieces))
    return path


def sweep_pieces(config: SweepConfig, found: Mapping[Any, Findings]) -> tuple[Piece, ...]:
    """The page of a sweep without its title and without the pages of its studies."""
    size = config.study.sizes[-1]
    return (
        heading("The answer at each value"),
        Html(answers(config, found).html()),
        figure(plots.sweep(config, found), f"Test loss with {size:,} training samples: means over seeds with their 95% interval."),
        figure(
            plots.sweep_ratios(config, found), "Above 1 the arm is worse than strict: rows are values, the axis is the training-set size."
        ),
        heading("Test loss"),
        Html(losses(config, found).html()),
    )


def answers(config: SweepConfig, found: Mapping[Any, Findings]) -> Table:
    """Verdict and recommended arm at each value."""
    rows = tuple(
        (f"{config.setting} {value}", each.verdict, each.recommended or "none", words.headline(each)) for value, each in found.items()
    )
    return Table((config.setting, "verdict", "recommended", "in words"), rows, prose=True)


def losses(config: SweepConfig, found: Mapping[Any, Findings]) -> Table:
    """Test loss by arm and value, at the largest training-set size."""
    columns = (f"arm, {config.study.sizes[-1]:,} samples", *(f"{config.setting} {value}" for value in found))
    rows = [(arm.name, *(with_interval(each.arm(arm.name).loss[-1]) for each in found.values())) for arm in next(iter(found.values())).arms]
    floor = [min(each.task["baselines"].values(), default=math.nan) for each in found.values()]
    rows.append(("best baseline", *(number(value) for value in floor)))
    return Table(columns, tuple(rows), "Mean and 95% interval over seeds and test samples.")


def text(config: SweepConfig, found: Mapping[Any, Findings]) -> str:
    """The answers for a terminal."""
    return "\n\n".join((answers(config, found).text(), losses(config, found).text()))
