"""Tables that print as plain text and as HTML, and the way numbers are written in both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from torsor.study.statistics import Interval


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Args:
        columns: headings.
        rows: cells, as many in each row as there are headings.
        note: a sentence below; empty for none.
        prose: whether cells are sentences, which go to the left and break, and not numbers.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    prose: bool = False

    def text(self) -> str:
        """For a terminal: names and sentences to the left, numbers to the right."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        sides = ["<" if i == 0 or self.prose else ">" for i in range(len(widths))]
        aligned = ["  ".join(f"{c:{side}{w}}" for c, side, w in zip(line, sides, widths, strict=True)).rstrip() for line in lines]
        rule = "-" * min(100, sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([aligned[0], rule, *aligned[1:], *([self.note] if self.note else [])])

    def html(self) -> str:
        """For a page; everything is escaped."""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.columns)
        body = "\n".join(
            "<tr>" + f'<th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
            for row in self.rows
        )
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        kind = ' class="prose"' if self.prose else ""
        return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>{note}'


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits; "n/a" where there is none."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "beyond" if value > 0 else "below"
    rounded = float(f"{value:.{digits - 1}e}")
    if value != 0 and not 1e-3 <= abs(rounded) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = max(0, digits - 1 - (math.floor(math.log10(abs(rounded))) if value else 0))
    return f"{value:.{decimals}f}"


def with_interval(value: Interval) -> str:
    """An estimate and its interval: 0.31 [0.28, 0.35]."""
    if math.isnan(value.estimate):
        return "n/a"
    if math.isnan(value.low):
        return f"{number(value.estimate)} [unknown]"
    return f"{number(value.estimate)} [{number(value.low)}, {number(value.high)}]"


def percent(value: float) -> str:
    """A share in per cent; what rounding makes of zero is written as such."""
    if math.isnan(value):
        return "n/a"
    return f"{number(100 * value, 2)}%" if abs(value) >= 1e-5 else "< 0.001%"


def quantity(value: float) -> str:
    """A large count with its prefix: "1.3 G"."""
    if math.isnan(value):
        return "n/a"
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return f"{number(value / factor)} {prefix}"
    return f"{number(value)} "


def seconds(value: float) -> str:
    """A duration in the unit a reader would choose."""
    if math.isnan(value):
        return "n/a"
    if value < 120:
        return f"{number(value)} s"
    return f"{number(value / 60)} min" if value < 7200 else f"{number(value / 3600)} h"
