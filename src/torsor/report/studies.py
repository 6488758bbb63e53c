"""The page of a study: the verdict first, then what it rests on, then what could mislead, then how to run it larger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torsor.io import atomic_write_text
from torsor.report import plots, words
from torsor.report.page import Html, Piece, code, figure, heading, items, page, paragraph, side_by_side, title, verdict
from torsor.report.tables import Table, percent
from torsor.study.analysis import analyse
from torsor.study.findings import Findings

TITLE = "Does symmetry matter here?"


def write_study_report(directories: Sequence[str | Path]) -> Path:
    """Write one `report.html` about some studies, finished or not, and give its path.

    Args:
        directories: of the studies. The page of one study goes into its directory, that of several beside the first.

    Raises:
        CheckpointError: a directory holds no study.
    """
    roots = [Path(directory) for directory in directories]
    found = {root.name: analyse(root) for root in roots}
    if len(found) == 1:
        path, pieces = roots[0] / "report.html", _study(*found.values())
    else:
        path, pieces = roots[0].parent / "report.html", [Html(_overview(found).html())]
        for name, findings in found.items():
            pieces += [title(name), *_study(findings)]
    atomic_write_text(path, page(TITLE, *pieces))
    return path


def _study(findings: Findings) -> list[Piece]:
    return [paragraph(subtitle(findings), "sub"), *study_pieces(findings)]


def _overview(found: Mapping[str, Findings]) -> Table:
    """The verdicts of several studies."""
    rows = tuple((name, findings.verdict, words.headline(findings)) for name, findings in found.items())
    return Table(("study", "verdict", "in words"), rows, prose=True)


def subtitle(findings: Findings) -> str:
    """What was compared, in one line."""
    task, config = findings.task, findings.config
    unit = f" ({task['unit']})" if task["unit"] else ""
    return (
        f"Task {task['name']}, group {task['group']}, metric {task['headline']}{unit}, lower is better. "
        f"{len(findings.arms)} arms, {len(config.sizes)} training-set sizes, {len(config.seeds)} seeds, {words.budget(config)} each."
    )


def study_pieces(findings: Findings) -> tuple[Piece, ...]:
    """The page of a study without its title."""
    best = findings.recommended
    advice = f"Recommended: {best}. {findings.recommendation[:1].upper()}{findings.recommendation[1:]}." if best else ""
    return (
        verdict(findings.verdict, words.headline(findings)),
        *((advice,) if advice else ()),
        f"More data instead: {words.more_data(findings)}. Trend: {words.trend(findings)}.",
        heading("Test loss"),
        Html(words.losses(findings).html()),
        Html(words.comparison(findings).html()),
        side_by_side(
            figure(
                plots.learning_curves(findings),
                "Dots are runs, lines are means over seeds with their 95% interval, dotted lines need no network.",
            ),
            figure(plots.ratios(findings), "Above 1 the arm is worse than strict. The band is where losses count as equal."),
        ),
        paragraph(_laws(findings), "note"),
        *_compute(findings),
        heading("What the lack of symmetry costs"),
        "The equivariance share is the part of an arm's test loss that averaging its answers over the group would remove. "
        "It is measured on the trained networks; a network with the symmetry built in has none.",
        figure(plots.shares(findings), "Line: mean over seeds; bar: smallest and largest seed."),
        Html(_shares(findings).html()),
        heading("What it costs to run"),
        "Three things are not equal between the arms and are shown for what they are: operations at test time, tuning, and how often a "
        f"sample was seen. {'Steps' if findings.config.equal == 'steps' else 'Operations'} and the order of samples are equal.",
        figure(plots.costs(findings), "Training of one run at one size, and the operations of one test sample."),
        Html(words.cost(findings).html()),
        heading("Every field of the verdict"),
        Html(words.fields(findings).html()),
        heading("Read with care"),
        items((*findings.cautions, *(f"failed: {line}" for line in findings.failed))),
        heading("The arms"),
        items(tuple(f"{arm.name}: {arm.summary} ({arm.model})" for arm in findings.arms)),
        heading("Run it again, or larger"),
        "Save this as my_study.toml, raise sizes, seeds or train.steps, and run it in the same directory: finished runs are kept, and "
        "only what is new is run.",
        code(words.as_toml(findings) + "\n# torsor study my_study.toml --out DIRECTORY"),
    )


def _compute(findings: Findings) -> tuple[Piece, ...]:
    """What several step counts say; nothing where there is one."""
    table = words.compute(findings)
    if findings.compute is None or table is None:
        return ()
    laws = "; ".join(f"{arm.name} {arm.law}" for arm in findings.compute.arms if arm.law)
    return (
        heading("More steps instead"),
        f"Compute multiplier: {words.more_compute(findings)}. Cross-over: {words.cross_over(findings)}.",
        figure(
            plots.compute_curves(findings.compute, f"{findings.task['headline']} on the test set"),
            f"Each dot is a run of its own on {findings.config.sizes[-1]:,} samples, whose schedule ends with its last step.",
        ),
        Html(table.html()),
        *((paragraph(f"Power laws in the FLOP n of a training: {laws}.", "note"),) if laws else ()),
    )


def _shares(findings: Findings) -> Table:
    """Equivariance share by arm and size."""
    columns = ("arm", *(f"{size:,} samples" for size in findings.config.sizes))
    return Table(columns, tuple((arm.name, *(percent(share.estimate) for share in arm.share)) for arm in findings.arms))


def _laws(findings: Findings) -> str:
    """The power laws of the losses in one sentence."""
    laws = "; ".join(f"{arm.name} {arm.law}" for arm in findings.arms if arm.law)
    return f"Power laws in the number n of training samples, a constant only where the data ask for it (AICc): {laws}." if laws else ""
