"""From the ledger of a study to its findings: losses, ratios, multipliers, trend, shares, verdict and recommendation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from torsor.config import from_mapping
from torsor.errors import CheckpointError, DataError
from torsor.io import read_json
from torsor.study.compute import compute_findings
from torsor.study.config import StudyConfig
from torsor.study.curves import multiplier, slope, trend
from torsor.study.findings import ArmFindings, Findings
from torsor.study.fits import fit
from torsor.study.grid import Grid, grids
from torsor.study.plan import chosen_rates, grid_specs, tuning_specs
from torsor.study.runs import RunRecord, RunSpec
from torsor.study.statistics import Draws, Interval, Verdict, decide, exponentiated, extra_seeds, holm, interval, log_ratio, p_value

CONTROL = "wrong-group"


def analyse(directory: str | Path) -> Findings:
    """The findings of a study, finished or not, from its ledger.

    Raises:
        CheckpointError: the directory holds no study, or its ledger is damaged.
        DataError: runs that must have seen the same data have not.
    """
    root = Path(directory)
    if not (root / "study.json").is_file():
        raise CheckpointError(f"{root} holds no study: give a directory with a study.json")
    study = read_json(root / "study.json")
    config = from_mapping(StudyConfig, study["config"], str(root / "study.json"))
    trials = _read(root, [spec.key for spec in tuning_specs(config, study["costs"])])
    rates = chosen_rates(config, trials)
    specs = grid_specs(config, rates, study["costs"])
    found = _read(root, [spec.key for spec in specs])
    runs = [(spec, found[spec.key]) for spec in specs if spec.key in found]
    _require_same_data(runs)
    data, compute = grids(config, runs, study["task"]["test_samples"])
    failed = tuple(
        f"{r.arm}, {r.size} samples, seed {r.seed}, learning rate {r.learning_rate:g}: {r.failed}"
        for r in {**trials, **found}.values()
        if r.failed
    )
    finished = sum(not run.failed for _, run in runs)
    return _findings(data, compute, study, rates, failed, finished, len(specs) - len(runs))


def _findings(
    grid: Grid, compute: Grid, study: Mapping[str, Any], rates: Mapping[str, float], failed: tuple[str, ...], finished: int, missing: int
) -> Findings:
    """Put the parts together."""
    config, task = grid.config, study["task"]
    pair = grid.draws("plain", "strict")
    logs, drawn = log_ratio(pair, 0, 1)
    arms = _arms(grid, rates)
    change, drawn_change = _change(config, pair)
    verdict, reason = _verdict(config, pair, drawn, arms, task)
    recommended, recommendation = _recommend(grid, arms)
    return Findings(
        config=config,
        task=dict(task),
        provenance=dict(study["provenance"]),
        arms=arms,
        verdict=verdict,
        reason=reason,
        ratio=exponentiated(interval(logs, drawn)),
        multiplier=_multiplier(config, pair),
        change=change,
        trend=trend(drawn_change, len(config.sizes), config.margin) if all(pair.freedom) else "UNRESOLVED",
        extra_seeds=extra_seeds(pair, 0, 1, margin=config.margin) if verdict == "INCONCLUSIVE" else None,
        recommended=recommended,
        recommendation=recommendation,
        cautions=_cautions(arms, config, task, missing),
        finished=finished,
        missing=missing,
        failed=failed,
        compute=compute_findings(compute),
    )


def _arms(grid: Grid, rates: Mapping[str, float]) -> tuple[ArmFindings, ...]:
    """The findings of every arm."""
    config = grid.config
    raw: dict[str, float] = {}
    ratios: dict[str, tuple[Interval, ...]] = {}
    for arm in config.compared:
        if arm.name == "strict":
            ratios[arm.name] = tuple(Interval(1.0, 1.0, 1.0) for _ in config.sizes)
            continue
        draws = grid.draws(arm.name, "strict")
        ratios[arm.name] = tuple(exponentiated(interval(*log_ratio(draws, 0, 1, k))) for k in range(len(config.sizes)))
        raw[arm.name] = p_value(log_ratio(draws, 0, 1)[1]) if draws.freedom[-1] else math.nan
    adjusted = {"strict": math.nan, **holm(raw)}
    return tuple(_arm(grid, arm.name, ratios[arm.name], adjusted[arm.name], rates) for arm in config.compared)


def _arm(grid: Grid, name: str, ratio: tuple[Interval, ...], p: float, rates: Mapping[str, float]) -> ArmFindings:
    config = grid.config
    arm = next(each for each in config.compared if each.name == name)
    errors = grid.errors(name)
    records = grid.of(name)
    tested = [record.tested[name] for record in records if record.tested]
    points = [(record.size, float(np.mean(result.errors))) for record, result in zip(records, tested, strict=True)]
    positive = [(size, loss) for size, loss in points if loss > 0]
    return ArmFindings(
        name=name,
        summary=arm.summary,
        model=str(config.network(arm).get("name")),
        loss=grid.losses(name),
        runs=tuple(tuple(row) for row in errors.mean(-1).tolist()),
        median=tuple(_over_seeds(each, lambda values: float(np.median(values))) for each in errors),
        tail=tuple(_over_seeds(each, _tail) for each in errors),
        ratio=ratio,
        p_value=p,
        share=tuple(_share(records, name, size) for size in config.sizes),
        law=fit(*map(np.array, zip(*positive, strict=True))) if positive else None,
        learning_rate=rates[arm.averages or name],
        parameters=max((record.parameters for record in records), default=0),
        flops=max((record.flops for record in records), default=math.nan),
        seconds=float(np.median([record.seconds for record in records])) if records else math.nan,
        test_flops=max((result.flops for result in tested), default=math.nan),
        epochs=grid.means(name, "epochs"),
    )


def _over_seeds(errors: ndarray, statistic: Callable[[ndarray], float]) -> float:
    """Mean over the finished seeds of a statistic of the test samples, `[s, t]`."""
    values = [statistic(row) for row in errors if np.isfinite(row).all()]
    return float(np.mean(values)) if values else math.nan


def _tail(values: ndarray) -> float:
    """Share of a sum that comes from its largest hundredth of terms, at least one."""
    worst = np.sort(values)[-max(1, len(values) // 100) :]
    return float(worst.sum() / values.sum()) if values.sum() > 0 else 0.0


def _share(records: list[RunRecord], arm: str, size: int) -> Interval:
    """Equivariance share over the seeds of a size."""
    values = [record.tested[arm].share for record in records if record.tested and record.size == size]
    return Interval(float(np.mean(values)), min(values), max(values)) if values else Interval(math.nan, math.nan, math.nan)


def _change(config: StudyConfig, pair: Draws) -> tuple[Interval, Interval]:
    """Change of plain / strict for ten times the data, as a factor and as a log."""
    if len(config.sizes) < 2:
        return (Interval(math.nan, math.nan, math.nan),) * 2
    curve, draws = pair.estimate[0] - pair.estimate[1], pair.samples[:, 0] - pair.samples[:, 1]
    log = interval(float(slope(np.array(config.sizes), curve)), slope(np.array(config.sizes), draws))
    return exponentiated(log), log


def _multiplier(config: StudyConfig, pair: Draws) -> Interval:
    """Data multiplier of plain over strict."""
    sizes = np.array(config.sizes, dtype=np.float64)
    drawn = np.array([multiplier(sizes, sample[0], sizes, sample[1]) for sample in pair.samples])
    return interval(multiplier(sizes, pair.estimate[0], sizes, pair.estimate[1]), drawn)


def _verdict(
    config: StudyConfig, pair: Draws, drawn: ndarray, arms: tuple[ArmFindings, ...], task: Mapping[str, Any]
) -> tuple[Verdict, str]:
    """The verdict at the largest size, and why."""
    if pair.complete[-1] == 0:
        return "INCONCLUSIVE", "strict and plain have no finished run in common at the largest training-set size"
    baselines = task["baselines"]
    losses = [arm.loss[-1].estimate for arm in arms if arm.name != CONTROL]
    if baselines and min(losses) >= min(baselines.values()):
        best = min(baselines, key=baselines.__getitem__)
        return "INCONCLUSIVE", f"no arm is better than the baseline '{best}', which needs no network: train longer or with more data first"
    if pair.freedom[-1] == 0:
        return "INCONCLUSIVE", "with one run of each kind the noise of a run is not known: give two or more seeds"
    verdict = decide(drawn, config.margin)
    above, below = f"{1 + config.margin:g}", f"{1 - config.margin:g}"
    reasons = {
        "MATTERS": f"the whole 95% interval of plain / strict lies above {above}",
        "HURTS": f"the whole 95% interval of plain / strict lies below {below}",
        "EQUIVALENT": f"two one-sided tests at 5% put plain / strict between {below} and {above}",
        "INCONCLUSIVE": f"the interval of plain / strict neither leaves the range {below} to {above} nor stays within it",
    }
    return verdict, reasons[verdict]


def _recommend(grid: Grid, arms: tuple[ArmFindings, ...]) -> tuple[str, str]:
    """The arm of lowest loss if it beats every other, else the cheapest of those that it does not beat."""
    ranked = sorted(
        (arm for arm in arms if arm.name != CONTROL and not math.isnan(arm.loss[-1].estimate)), key=lambda arm: arm.loss[-1].estimate
    )
    if not ranked:
        return "", "no arm has a finished run at the largest size"
    best, rest = ranked[0], ranked[1:]
    pairs = {arm.name: grid.draws(arm.name, best.name) for arm in rest}
    p = holm({name: p_value(log_ratio(draws, 0, 1)[1]) if draws.freedom[-1] else 1.0 for name, draws in pairs.items()})
    tied = [arm for arm in rest if not p[arm.name] < 0.05]
    if not tied:
        return best.name, "its loss is the lowest, and the difference from every other arm is significant at 5% (Holm)"
    cheapest = min([best, *tied], key=lambda arm: (arm.seconds, arm.test_flops))
    names = ", ".join(arm.name for arm in [best, *tied])
    return cheapest.name, f"the losses of {names} cannot be told apart at 5% (Holm); of these it trained fastest and costs least to use"


def _cautions(arms: tuple[ArmFindings, ...], config: StudyConfig, task: Mapping[str, Any], missing: int) -> tuple[str, ...]:
    """What could mislead a reader."""
    found = [*map(str, task["notes"])]
    if task["exactness"] != "exact":
        found.append(f"the data have the symmetry {task['group']} only approximately")
    if task["symmetry_test"] and task["symmetry_test"]["p_value"] < 0.05:
        found.append(
            "the samples prefer some orientations, so plain is never tested on others; its equivariance share shows what those cost"
        )
    by_name = {arm.name: arm for arm in arms}
    share = by_name["strict"].share[-1].high
    if share > 1e-3:
        found.append(f"the strict arm is not equivariant under {task['group']}: averaging would remove {100 * share:.2g}% of its loss")
    control = by_name.get(CONTROL)
    if control is not None and not control.ratio[-1].low > 1:
        found.append("the wrong-group control is not clearly worse than strict: do not read the gap as an effect of the symmetry")
    worse = [arm.name for arm in arms if task["baselines"] and arm.loss[-1].estimate >= min(task["baselines"].values())]
    if worse:
        found.append(f"not better than the best baseline at the largest size: {', '.join(worse)}")
    hardly = [
        a.name for a in arms if task["baselines"] and a.name not in worse and a.loss[-1].estimate > 0.9 * min(task["baselines"].values())
    ]
    if hardly:
        found.append(
            f"less than 10% better than the best baseline, so hardly trained; more steps could change the answer: {', '.join(hardly)}"
        )
    heavy = [f"{arm.name} {100 * arm.tail[-1]:.0f}%" for arm in arms if arm.tail[-1] > 0.3]
    if heavy:
        found.append(
            f"a few test samples decide: the worst hundredth makes up this much of the loss: {', '.join(heavy)}; see the medians too"
        )
    found.append(
        "all seeds train on the same samples: intervals cover initialisation, data order and test samples, not the choice of training set"
    )
    largest = max(arm.parameters for arm in arms)
    steps = f"{config.train.steps:,} steps{'' if config.equal == 'steps' else ' of strict'}"
    found.append(f"it is an answer for {steps} and networks of up to {largest:,} parameters: more can change it")
    if len(config.learning_rates) < 2:
        found.append("learning rates were not tuned: all arms use the same")
    elif config.steps:
        found.append(f"learning rates were tuned with {config.train.steps:,} steps: other step counts may want others")
    if missing:
        found.append(f"unfinished: {missing} runs are still to be done")
    return tuple(found)


def _read(root: Path, keys: list[str]) -> dict[str, RunRecord]:
    """The records that are there."""
    paths = {key: root / "ledger" / f"{key}.json" for key in keys}
    return {key: RunRecord.read(path) for key, path in paths.items() if path.is_file()}


def _require_same_data(runs: list[tuple[RunSpec, RunRecord]]) -> None:
    """Refuse to compare runs that were tested on different samples, or saw them in another order."""
    if len({run.test_set for _, run in runs}) > 1:
        raise DataError("the runs were not tested on the same samples: the task's test split changes with its training-set size or in time")
    orders: dict[tuple[int, int, int], str] = {}
    for spec, run in runs:
        if orders.setdefault((spec.size, spec.train["steps"], spec.seed), run.order) != run.order:
            raise DataError(f"the runs with {spec.size} samples and seed {spec.seed} saw their samples in different orders: run them again")
