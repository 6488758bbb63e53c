"""The figures of a report as SVG that takes its colours from the page, and so reads on light and on dark.

Figures are made without pyplot: no global state, no window, no backend to choose.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from torsor.dial.continuity import Jumps
from torsor.errors import missing_dependency
from torsor.report.tables import quantity
from torsor.study.findings import ArmFindings, ComputeFindings, Findings
from torsor.study.statistics import Interval
from torsor.study.sweep import SweepConfig

COLOURS = {
    "strict": "#2f7ed8",
    "relaxed": "#17a8b8",
    "symmetrized": "#c94f7c",
    "cloned": "#8c6d31",
    "augmented": "#d9822b",
    "augmented+tta": "#b35bc9",
    "plain": "#2a9d6f",
    "wrong-group": "#8a8f98",
}
MARKERS = {
    "strict": "o",
    "relaxed": "P",
    "symmetrized": "v",
    "cloned": "*",
    "augmented": "s",
    "augmented+tta": "D",
    "plain": "^",
    "wrong-group": "x",
}
FURTHER = ("#6a51a3", "#e3602b", "#3b8c3b", "#b8860b", "#d6457f", "#4c6a92", "#7a4b2a", "#2bb0a0")
"""Colours of variants of arms, in turn."""
SHAPES = "<>ph8dXH"
"""Their markers."""
INK, LINE = "#010203", "#040506"
"""Stand-ins in the drawing, replaced by the page's own colours of text and rules."""


class Style(NamedTuple):
    """How an arm is drawn.

    Args:
        colour: of its line and marks.
        marker: as matplotlib names it.
    """

    colour: str
    marker: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """How each arm is drawn: those of every study always alike, variants in turn."""
    names = tuple(names)
    variants = [name for name in names if name not in COLOURS]
    further = {name: Style(FURTHER[i % len(FURTHER)], SHAPES[i % len(SHAPES)]) for i, name in enumerate(variants)}
    return {name: further[name] if name in further else Style(COLOURS[name], MARKERS[name]) for name in names}


def figure(draw: Callable[[Any], None], label: str, width: float = 5.4, height: float = 4.0) -> str:
    """Draw on a matplotlib figure and give it as an `<svg>` element, the same bytes for the same data.

    Args:
        draw: draws on the figure.
        label: what it shows, for those who cannot see it.
        width: in inches.
        height: in inches.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_dependency("matplotlib", "train", "the figures of a report") from error
    style: Any = {
        "svg.hashsalt": label,
        "svg.fonttype": "path",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK),
        "grid.color": LINE,
    }
    with rc_context(style):
        canvas = Figure(figsize=(width, height), layout="constrained")
        draw(canvas)
        out = io.StringIO()
        canvas.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace(LINE, "var(--rule)")
    # inline in a page, links are to fragments of it and need no namespace of their own
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label, quote=True)}"', 1)


def learning_curves(findings: Findings) -> str:
    """Test loss against training-set size: runs as dots, means with intervals, power laws, baselines."""
    sizes, look = findings.config.sizes, styles(arm.name for arm in findings.arms)

    def draw(canvas: Any) -> None:
        axes = _size_axes(canvas, sizes, f"{findings.task['headline']} on the test set", log=True)
        for arm in findings.arms:
            _band(axes, sizes, arm.loss, arm.name, look[arm.name])
            x, y = zip(*((size, run) for size, runs in zip(sizes, arm.runs, strict=True) for run in runs), strict=True)
            axes.plot(x, y, look[arm.name].marker, color=look[arm.name].colour, markersize=3, alpha=0.6)
        for name, value in findings.task["baselines"].items():
            axes.axhline(value, color=INK, linewidth=0.8, linestyle=":")
            axes.annotate(name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
        _legend(canvas)

    return figure(draw, "Test loss against training-set size, one curve an arm")


def compute_curves(compute: ComputeFindings, ylabel: str) -> str:
    """Test loss against the compute of a training, at the largest training-set size: runs as dots, means with intervals.

    Args:
        compute: what the step counts of a study say.
        ylabel: what the loss is.
    """
    look = styles(arm.name for arm in compute.arms)

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for arm in compute.arms:
            _band(axes, arm.flops, arm.loss, arm.name, look[arm.name])
            for flops, runs in zip(arm.flops, arm.runs, strict=True):
                axes.plot([flops] * len(runs), runs, look[arm.name].marker, color=look[arm.name].colour, markersize=3, alpha=0.6)
        axes.set_xlabel("FLOP of one training")
        axes.set_ylabel(ylabel)
        axes.grid(axis="y", alpha=0.6)
        _legend(canvas)

    return figure(draw, "Test loss against the compute of training, one curve an arm", 7.2, 3.8)


def ratios(findings: Findings) -> str:
    """Loss of every arm over that of the strict one, against training-set size."""
    sizes, margin = findings.config.sizes, findings.config.margin
    look = styles(arm.name for arm in findings.arms)

    def draw(canvas: Any) -> None:
        axes = _size_axes(canvas, sizes, "test loss / that of strict", log=True)
        axes.axhspan(1 - margin, 1 + margin, color=INK, alpha=0.12, linewidth=0)
        axes.axhline(1, color=INK, linewidth=0.8)
        for arm in findings.arms:
            if arm.name != "strict":
                _band(axes, sizes, arm.ratio, arm.name, look[arm.name])
        _plain_ticks(axes)
        _legend(canvas)

    return figure(draw, "Loss ratio of each arm to the strict arm, with 95% intervals and the band of equivalence")


def sweep(config: SweepConfig, found: Mapping[Any, Findings]) -> str:
    """Test loss at the largest training-set size against what was varied, one curve an arm; values are evenly spaced."""
    first = next(iter(found.values()))
    look = styles(arm.name for arm in first.arms)

    def draw(canvas: Any) -> None:
        axes, places = canvas.subplots(), range(len(found))
        axes.set_yscale("log")
        for arm in first.arms:
            _band(axes, places, [each.arm(arm.name).loss[-1] for each in found.values()], arm.name, look[arm.name])
        axes.set_xticks(list(places), [str(value) for value in found])
        axes.set_xlabel(config.setting)
        axes.set_ylabel(f"{first.task['headline']} on the test set")
        axes.grid(axis="y", alpha=0.6)
        _legend(canvas)

    return figure(draw, f"Test loss against {config.setting}, one curve an arm", 7.2, 4.2)


def sweep_ratios(config: SweepConfig, found: Mapping[Any, Findings]) -> str:
    """Loss of every arm over that of strict against training-set size, one panel a value of what was varied."""
    sizes, margin = config.study.sizes, config.study.margin
    look = styles(arm.name for arm in config.study.compared)

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axes, (value, findings) in zip(panels, found.items(), strict=True):
            _over_sizes(axes, sizes, "", log=True)
            axes.axhspan(1 - margin, 1 + margin, color=INK, alpha=0.12, linewidth=0)
            for arm in findings.arms:
                if arm.name != "strict":
                    _band(axes, sizes, arm.ratio, arm.name, look[arm.name])
            axes.set_title(f"{config.setting} {value}", fontsize=10)
        panels[0].set_ylabel("test loss / that of strict")
        _plain_ticks(panels[0])
        _legend(canvas)

    return figure(draw, f"Loss ratio of each arm to strict, one panel for each {config.setting}", 2.4 * len(found) + 0.8, 3.6)


def shares(findings: Findings) -> str:
    """Equivariance share of every arm against training-set size."""
    sizes, look = findings.config.sizes, styles(arm.name for arm in findings.arms)

    def draw(canvas: Any) -> None:
        axes = _size_axes(canvas, sizes, "equivariance share, %", log=False)
        for arm in findings.arms:
            per_cent = tuple(Interval(100 * s.estimate, 100 * s.low, 100 * s.high) for s in arm.share)
            _band(axes, sizes, per_cent, arm.name, look[arm.name])
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        _legend(canvas)

    return figure(draw, "Share of the test loss that averaging over the group would remove, one curve an arm", 7.2, 3.4)


def costs(findings: Findings) -> str:
    """Training time, training operations and operations of a test sample, by arm."""
    arms = findings.arms[::-1]
    colours = [style.colour for style in styles(arm.name for arm in findings.arms).values()][::-1]
    meters: tuple[tuple[str, Callable[[ArmFindings], float]], ...] = (
        ("training, seconds", lambda arm: arm.seconds),
        ("training, FLOP", lambda arm: arm.flops),
        ("one test sample, FLOP", lambda arm: arm.test_flops),
    )

    def draw(canvas: Any) -> None:
        for axes, (title, meter) in zip(canvas.subplots(1, 3, sharey=True), meters, strict=True):
            values = [meter(arm) for arm in arms]
            axes.barh([arm.name for arm in arms], values, color=colours, height=0.6)
            axes.set_xlabel(title)
            axes.xaxis.set_major_formatter(lambda value, _: quantity(value).strip() if value else "0")
            axes.locator_params(axis="x", nbins=4)
            axes.tick_params(axis="y", length=0)

    return figure(draw, "Cost of each arm: training time, training operations, operations of one test sample", 8.4, 2.4)


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], ylabel: str) -> str:
    """Lines over training steps.

    Args:
        series: name -> steps and values.
        ylabel: what the values are.
    """
    palette = list(COLOURS.values())

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        for i, (name, (steps, values)) in enumerate(series.items()):
            axes.plot(steps, values, color=palette[i % len(palette)], label=name, linewidth=1.2)
        if all(value > 0 for _, values in series.values() for value in values):
            axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.6)
        axes.legend()

    return figure(draw, f"{ylabel} over training steps")


def jumps(found: Mapping[str, Jumps]) -> str:
    """Change of the output over shorter and shorter steps of a path: a level line is a jump, a falling one is continuous.

    Args:
        found: name -> what `torsor.dial.continuity.probe` found.
    """
    palette = list(COLOURS.values())

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        for i, (name, jump) in enumerate(found.items()):
            # what is zero to rounding has no place on a log axis
            known = [(step, change) for step, change in zip(jump.steps, jump.changes, strict=True) if change > 0]
            steps, changes = [step for step, _ in known], [change for _, change in known]
            axes.plot(steps, changes, color=palette[i % len(palette)], label=name, marker="o", markersize=3)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("step, part of the path")
        axes.set_ylabel("change of the output, relative")
        axes.grid(alpha=0.6)
        axes.legend()

    return figure(draw, "Change of the output over shorter and shorter steps of a path")


def _size_axes(canvas: Any, sizes: Iterable[int], ylabel: str, log: bool) -> Any:
    """Axes over training-set size, with a tick for each size that was run."""
    axes = canvas.subplots()
    _over_sizes(axes, sizes, ylabel, log)
    return axes


def _over_sizes(axes: Any, sizes: Iterable[int], ylabel: str, log: bool) -> None:
    """Make axes those over training-set size."""
    axes.set_xscale("log")
    axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("training samples")
    axes.set_ylabel(ylabel)
    axes.grid(axis="y", alpha=0.6)


def _legend(canvas: Any) -> None:
    """The arms above the axes, where they hide nothing."""
    handles, names = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside upper left", ncols=3, fontsize=9)


def _plain_ticks(axes: Any) -> None:
    """Ticks of a log axis that spans less than two decades, written as plain numbers."""
    low, high = axes.get_ylim()
    wanted = [x for x in (0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100) if low <= x <= high]
    if wanted:
        axes.set_yticks(wanted, [f"{x:g}" for x in wanted])
        axes.minorticks_off()


def _band(axes: Any, sizes: Sequence[int] | Sequence[float], values: Sequence[Interval], arm: str, style: Style) -> None:
    """A line through the estimates with its interval; sizes without an estimate are left out."""
    known = [(size, value) for size, value in zip(sizes, values, strict=True) if not math.isnan(value.estimate)]
    if not known:
        return
    x = [size for size, _ in known]
    y = np.array([[value.estimate, value.low, value.high] for _, value in known])
    low, high = (np.where(np.isnan(end), y[:, 0], end) for end in (y[:, 1], y[:, 2]))
    axes.fill_between(x, low, high, color=style.colour, alpha=0.12, linewidth=0)
    # the share's interval is one over seeds and need not hold rounding's sign
    ends = np.maximum((y[:, 0] - low, high - y[:, 0]), 0.0)
    axes.errorbar(x, y[:, 0], ends, color=style.colour, marker=style.marker, markersize=5, capsize=3, label=arm)
