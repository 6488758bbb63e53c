"""Write the tables of reproduced figures into the pages: `python docs/make_tables.py`.

A page has, for each file of recipes it speaks of,

    <!-- reproduced: gatr/nbody -->
    <!-- end -->

and between the two marks this script writes what `benchmarks/results/reproduced/` holds of these recipes, or that they were not run yet. So
every figure there comes from a file in the repository; `torsor reproduce RECIPE --record benchmarks/results/reproduced` makes one.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from torsor.recipes import MeasuredError, Record, load_recipe, read_records, recipe_files
from torsor.report.tables import number, quantity, seconds

PAGES = Path(__file__).parent
RECORDS = PAGES.parent / "benchmarks" / "results" / "reproduced"
MARKS = re.compile(r"(<!-- reproduced: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
SIZES = ("quick", "cpu", "full")
SHOWN = 6
"""Recipes that are not run yet are named up to so many, and counted beyond."""


def with_tables(page: str, records: Sequence[Record]) -> str:
    """A page with the tables between its marks made anew."""
    return MARKS.sub(lambda found: f"{found[1]}\n{reproduced(found[2], records)}\n\n{found[3]}", page)


def reproduced(title: str, records: Sequence[Record]) -> str:
    """What was measured of the recipes of a file, and what was not run yet, in Markdown."""
    names = recipe_files()[title]
    here = sorted((r for r in records if r.recipe in names), key=lambda r: (SIZES.index(r.size), names.index(r.recipe), r.seed))
    runs = [list(seeds) for _, seeds in groupby(here, key=lambda r: (r.size, r.recipe))]
    pieces = [figures(runs), rivals(runs), costs(runs)] if runs else []
    return "\n\n".join(piece for piece in (*pieces, missing(names, runs)) if piece)


def figures(runs: Sequence[Sequence[Record]]) -> str:
    """Ours beside the figure of the published method and those of the trivial baselines; several seeds are one row."""
    rows = []
    for seeds in runs:
        for metric in _compared(seeds[0]):
            values = [record.ours[metric] for record in seeds]
            own = _published(seeds[0], metric)
            ours = statistics.mean(values)
            spread = f" +- {number(statistics.stdev(values), 2)}" if len(values) > 1 else ""
            rows.append(
                (
                    seeds[0].recipe,
                    seeds[0].size,
                    _with_unit(seeds[0], metric),
                    number(own) if own is not None else "none",
                    f"{number(ours)}{spread}",
                    number(ours / own) if own else "",
                    _baselines(seeds[0], metric),
                )
            )
    return _table(("recipe", "size", "metric", "published", "ours", "ours / published", "without a network"), rows)


def rivals(runs: Sequence[Sequence[Record]]) -> str:
    """The published figures of other methods, one line for each metric."""
    lines: dict[str, dict[str, str]] = {}
    for seeds in runs:
        for figure in seeds[0].published:
            setting = f" ({figure.setting})" if figure.setting else ""
            lines.setdefault(figure.metric, {})[figure.by] = f"{figure.by} {number(figure.value)}{setting}"
    return "\n\n".join(f"Published, {metric}: {', '.join(cells.values())}." for metric, cells in lines.items())


def costs(runs: Sequence[Sequence[Record]]) -> str:
    """What the runs cost, how equivariant the trained networks are, and where and when that was."""
    rows = [
        (
            seeds[0].recipe,
            seeds[0].size,
            str(len(seeds)),
            f"{seeds[0].parameters:,}",
            f"{seeds[0].steps:,}",
            seconds(statistics.median(record.seconds_per_step for record in seeds)),
            f"{quantity(float(seeds[0].flops_per_step))}FLOP",
            _equivariance(seeds),
            ", ".join(sorted({record.hardware for record in seeds})),
            max(record.date for record in seeds),
        )
        for seeds in runs
    ]
    heads = ("recipe", "size", "seeds", "parameters", "steps", "a step", "operations of a step", "equivariance error", "hardware", "date")
    return _table(heads, rows)


def missing(names: Sequence[str], runs: Sequence[Sequence[Record]]) -> str:
    """Which recipes were not run yet in which size."""
    done = {(seeds[0].recipe, seeds[0].size) for seeds in runs}
    found = []
    for size in SIZES:
        left = [name for name in names if (name, size) not in done and size in load_recipe(name).sizes]
        if left:
            listed = "all of them" if len(left) == len(names) > 1 else ", ".join(f"`{name}`" for name in left)
            found.append(f"{size}: {listed if len(left) <= SHOWN or listed == 'all of them' else f'{len(left)} of {len(names)}'}")
    return f"Not run yet, {'; '.join(found)}." if found else ""


def _compared(record: Record) -> list[str]:
    """Our metrics that have a published figure or a baseline; of untrained networks all that have a unit, controls among them."""
    known = {figure.metric for figure in record.published}.union(*record.baselines.values(), () if record.steps else record.units)
    return [metric for metric in record.ours if metric in known]


def _published(record: Record, metric: str) -> float | None:
    return next((figure.value for figure in record.published if figure.by == record.method and figure.metric == metric), None)


def _baselines(record: Record, metric: str) -> str:
    return ", ".join(f"{name} {number(values[metric])}" for name, values in record.baselines.items() if metric in values)


def _with_unit(record: Record, metric: str) -> str:
    return f"{metric} ({record.units[metric]})" if metric in record.units else metric


def _equivariance(seeds: Iterable[Record]) -> str:
    """The largest over the seeds, for each group, and what rounding of the moved samples makes by itself."""
    largest: dict[str, MeasuredError] = {}
    for error in (error for record in seeds for error in record.equivariance):
        if error.group not in largest or error.largest > largest[error.group].largest:
            largest[error.group] = error
    return ", ".join(f"{number(e.largest, 2)} under {group} (rounding {number(e.rounding, 2)})" for group, e in largest.items())


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main() -> None:
    records = read_records(RECORDS)
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        made = with_tables(text, records)
        if made != text:
            path.write_text(made, encoding="utf-8")
            print(f"written: {path}")


if __name__ == "__main__":
    main()
