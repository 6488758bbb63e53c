"""A study's findings in plain words, and the fields that every verdict prints, measured or not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torsor.config import to_mapping
from torsor.report.tables import Table, number, percent, quantity, seconds, with_interval
from torsor.study.config import StudyConfig
from torsor.study.findings import Findings
from torsor.study.statistics import Interval

NOT_SUPPORTED = "not supported by these runs"


def headline(findings: Findings) -> str:
    """The verdict in one or two sentences."""
    size, margin = findings.config.sizes[-1], percent(findings.config.margin)
    ratio = findings.ratio
    if math.isnan(ratio.estimate):
        return f"No verdict: {findings.reason}."
    given = f"With {size:,} training samples and {budget(findings.config)}"
    measured = f"{given} the plain network's test loss is {times(ratio)} that of the network with the symmetry built in."
    said = {
        "MATTERS": "Building the symmetry in pays here.",
        "HURTS": "Building the symmetry in costs accuracy here.",
        "EQUIVALENT": f"To within {margin} it makes no difference here.",
        "INCONCLUSIVE": f"That does not decide it: {findings.reason}.",
    }
    return f"{measured} {said[findings.verdict]}"


def budget(config: StudyConfig) -> str:
    """What the arms were trained with."""
    steps = f"{config.train.steps:,} steps"
    return steps if config.equal == "steps" else f"the operations of {steps} of strict"


def times(ratio: Interval) -> str:
    """A ratio in words."""
    if math.isnan(ratio.low):
        return f"{number(ratio.estimate)} times (interval unknown)"
    return f"{number(ratio.estimate)} times (95% interval {number(ratio.low)} to {number(ratio.high)})"


def more_data(findings: Findings) -> str:
    """The data multiplier in words."""
    value, sizes = findings.multiplier, findings.config.sizes
    span = f"{number(sizes[-1] / sizes[0], 2)}"
    if len(sizes) < 2:
        return f"{NOT_SUPPORTED}: one training-set size"
    if math.isnan(value.estimate):
        return f"{NOT_SUPPORTED}: a size has no finished pair of runs"
    bounds = [
        f"more than {span}" if x == math.inf else f"less than 1/{span}" if x == 0 else number(x)
        for x in (value.estimate, value.low, value.high)
    ]
    beyond = "" if 0 < value.estimate < math.inf else ", not reached within the sizes that were run"
    return f"plain needs {bounds[0]} times the data of strict for the same loss{beyond} ({_between(bounds)})"


def more_compute(findings: Findings) -> str:
    """The compute multiplier in words."""
    if findings.compute is None:
        return one_budget(findings)
    plain, strict = findings.compute.arm("plain"), findings.compute.arm("strict")
    value = plain.multiplier
    if math.isnan(value.estimate):
        return f"{NOT_SUPPORTED}: a step count has no finished pair of runs"
    most, least = plain.flops[-1] / strict.flops[0], plain.flops[0] / strict.flops[-1]
    bounds = [
        f"more than {number(most, 2)}" if x == math.inf else f"less than {number(least, 2)}" if x == 0 else number(x)
        for x in (value.estimate, value.low, value.high)
    ]
    beyond = "" if 0 < value.estimate < math.inf else ", not reached within the step counts that were run"
    size = f"{findings.config.sizes[-1]:,}"
    return f"with {size} samples plain needs {bounds[0]} times the FLOP of strict for the same loss{beyond} ({_between(bounds)})"


def cross_over(findings: Findings) -> str:
    """Where strict and plain change places, in words."""
    if findings.compute is None:
        return one_budget(findings)
    plain = findings.compute.arm("plain")
    value = plain.cross_over
    if math.isnan(value.estimate):
        return f"{NOT_SUPPORTED}: no training of strict and of plain took as many FLOP: give smaller or larger step counts"
    if not 0 < value.estimate < math.inf:
        return f"none within a factor ten of what both were trained with: {plain.ahead} is ahead throughout"
    ends = [{0.0: "below what was run", math.inf: "above what was run"}.get(x, f"{quantity(x)}FLOP") for x in (value.low, value.high)]
    unknown = "interval unknown" if math.isnan(value.low) else f"95% interval from {ends[0]} to {ends[1]}"
    return f"{quantity(value.estimate)}FLOP for one training, with more of them {plain.ahead} is ahead ({unknown})"


def one_budget(findings: Findings) -> str:
    """What a study with one step count cannot say."""
    return f"{NOT_SUPPORTED}: all runs have {budget(findings.config)}; give smaller ones too, steps = [...]"


def _between(bounds: Sequence[str]) -> str:
    """The interval of a multiplier or place whose ends may lie beyond what was run."""
    return f"95% interval {bounds[1]} to {bounds[2]}" if bounds[1] != bounds[2] else "so does its whole 95% interval"


def trend(findings: Findings) -> str:
    """The trend in words."""
    if len(findings.config.sizes) < 3:
        return "UNRESOLVED: fewer than three training-set sizes"
    if math.isnan(findings.change.low):
        return "UNRESOLVED: a size has no finished pair of runs"
    said = f"ten times the data multiply plain / strict by {with_interval(findings.change)}"
    return f"{findings.trend}: {said}"


def orientations(findings: Findings) -> str:
    """The test of whether the samples lie as often one way as another, in words."""
    test = findings.task["symmetry_test"]
    if test is None:
        return f"not made, the samples are no points in space; the law itself has the symmetry: {findings.task['exactness']}"
    p, effect = test["p_value"], number(test["effect"], 2)
    found = "samples prefer some orientations" if p < 0.05 else "no preferred orientation was found"
    return f"{found} (p {number(p, 2)}, effect {effect} of 1); the law itself has the symmetry: {findings.task['exactness']}"


def more_runs(findings: Findings) -> str:
    """What would settle an inconclusive verdict."""
    if findings.verdict != "INCONCLUSIVE":
        return "none needed"
    if findings.extra_seeds is None:
        return "more seeds alone would not settle it (see the reason), or not within a thousand"
    runs = 2 * findings.extra_seeds
    return f"about {findings.extra_seeds} more seeds at the largest size ({runs} runs of strict and plain), if the ratio stays where it is"


def fields(findings: Findings) -> Table:
    """Every field of a verdict; what the runs cannot say is said to be so."""
    unit = findings.task["unit"]
    shares = "; ".join(f"{arm.name} {percent(arm.share[-1].estimate)}" for arm in findings.arms)
    rates = "; ".join(f"{arm.name} {arm.learning_rate:g}" for arm in findings.arms)
    trials = len(findings.config.learning_rates)
    rows = (
        ("verdict", f"{findings.verdict}: {findings.reason}"),
        ("metric", f"{findings.task['headline']}{f' in {unit}' if unit else ''}, mean over {findings.task['test_samples']:,} test samples"),
        ("loss ratio plain / strict [95%]", with_interval(findings.ratio)),
        ("data multiplier", more_data(findings)),
        ("compute multiplier", more_compute(findings)),
        ("cross-over compute", cross_over(findings)),
        ("trend", trend(findings)),
        ("equivariance share", shares),
        ("data-symmetry test", orientations(findings)),
        ("recommended arm", f"{findings.recommended or 'none'}: {findings.recommendation}"),
        (
            "recommended size and steps",
            f"{findings.config.sizes[-1]:,} samples and {budget(findings.config)}, the most that were run",
        ),
        ("runs", f"{findings.finished} finished, {len(findings.failed)} failed, {findings.missing} to be done"),
        ("more runs", more_runs(findings)),
        ("learning rates", f"{rates} ({f'tuned, {trials} trials an arm' if trials > 1 else 'not tuned'})"),
        ("hardware and versions", hardware(findings.provenance)),
    )
    return Table(("field", "finding"), rows, prose=True)


def hardware(provenance: Mapping[str, Any]) -> str:
    """Machine and versions in one line."""
    device = provenance.get("gpu") or "CPU"
    system = "-".join(str(provenance.get("platform", "unknown platform")).split("-")[:2])
    versions = ", ".join(f"{name} {provenance[name]}" for name in ("torsor", "torch", "numpy", "python") if provenance.get(name))
    return f"{device}, {system}; {versions}"


def losses(findings: Findings) -> Table:
    """Test loss by arm and size, with the baselines."""
    sizes = findings.config.sizes
    rows = [(arm.name, *(with_interval(value) for value in arm.loss)) for arm in findings.arms]
    rows += [(f"baseline: {name}", *("" for _ in sizes[1:]), number(value)) for name, value in findings.task["baselines"].items()]
    return Table(("arm", *(f"{size:,} samples" for size in sizes)), tuple(rows), "Mean and 95% interval over seeds and test samples.")


def comparison(findings: Findings) -> Table:
    """The arms against the strict one at the largest size, and what the mean of each rests on."""
    rows = tuple(
        (
            arm.name,
            with_interval(arm.ratio[-1]) if arm.name != "strict" else "1",
            "" if math.isnan(arm.p_value) else "< 0.001" if arm.p_value < 1e-3 else number(arm.p_value, 2),
            number(arm.median[-1]),
            percent(arm.tail[-1]),
        )
        for arm in findings.arms
    )
    columns = (f"arm, {findings.config.sizes[-1]:,} samples", "loss / strict [95%]", "p (Holm)", "median loss", "share of the worst 1%")
    note = "The ratio of mean losses is paired: same seeds, same test samples. Median and worst hundredth are over test samples."
    return Table(columns, rows, note)


def compute(findings: Findings) -> Table | None:
    """Loss and compute of each arm by step count at the largest training-set size; None where there is one step count."""
    found = findings.compute
    if found is None:
        return None
    rows = tuple(
        (
            arm.name,
            *(f"{with_interval(loss)} at {quantity(flops)}FLOP" for loss, flops in zip(arm.loss, arm.flops, strict=True)),
            "1" if arm.name == "strict" else with_interval(arm.multiplier),
        )
        for arm in found.arms
    )
    columns = (f"arm, {findings.config.sizes[-1]:,} samples", *(f"{steps:,} steps" for steps in found.steps), "compute / strict [95%]")
    note = "The last column is the compute that an arm needs over that of strict, at the loss that the worse of the two ends with."
    return Table(columns, rows, note)


def cost(findings: Findings) -> Table:
    """What each arm is and costs: the three classic unfairnesses of such comparisons, in the open."""
    plain = findings.arm("plain").test_flops
    trials = max(1, len(findings.config.learning_rates))
    rows = tuple(
        (
            arm.name,
            arm.model,
            f"{arm.parameters:,}",
            f"{quantity(arm.flops)}FLOP",
            seconds(arm.seconds),
            f"{quantity(arm.test_flops)}FLOP ({number(arm.test_flops / plain if plain else math.nan, 2)}x plain)",
            str(trials),
            " / ".join(number(epochs, 2) for epochs in arm.epochs),
        )
        for arm in findings.arms
    )
    columns = ("arm", "model", "parameters", "training", "training time", "a test sample", "learning rates tried", "epochs, by size")
    note = (
        "FLOP are matrix products only, forward and backward. An average over the orbit is trained once, as the arm whose weights it uses."
    )
    return Table(columns, rows, note)


def text(findings: Findings) -> str:
    """Everything for a terminal."""
    notes = "\n".join(f"  - {line}" for line in (*findings.cautions, *(f"failed: {line}" for line in findings.failed)))
    parts = [
        f"{findings.verdict}. {headline(findings)}",
        losses(findings).text(),
        *(table.text() for table in (compute(findings),) if table),
        cost(findings).text(),
        fields(findings).text(),
        f"Read with care:\n{notes}",
    ]
    return "\n\n".join(parts)


def as_toml(findings: Findings) -> str:
    """The settings of the study as a file that `torsor study` reads."""
    return "\n".join(f"{key} = {_toml(value)}" for key, value in to_mapping(findings.config).items()) + "\n"


def _toml(value: Any) -> str:
    """One TOML value; entries that are None are left out, which reads back as the default."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items() if entry is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value, ensure_ascii=False)
