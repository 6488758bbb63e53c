"""Which runs a study is made of."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from torsor.config import named_to_mapping, to_mapping
from torsor.models import REGISTRY as MODELS
from torsor.study.arms import Arm
from torsor.study.config import StudyConfig
from torsor.study.runs import RunRecord, RunSpec
from torsor.tasks import REGISTRY as TASKS
from torsor.training.cost import measure_cost
from torsor.training.evaluation import Numerics
from torsor.training.order import batch_indices
from torsor.training.runs import RunConfig, build_network
from torsor.training.workers import Workers

Costs = Mapping[str, int]
"""Floating-point operations of a training step of each trained arm; empty where arms have their steps in common."""


def measure_costs(config: StudyConfig) -> dict[str, int]:
    """What a training step of each trained arm costs, where arms are to have that in common."""
    if config.equal == "steps":
        return {}
    task = config.task_settings(config.sizes[-1]).build()
    samples, settings = task.splits.train, config.train
    batch = samples.take(batch_indices(settings.seed, 0, settings.batch_size, len(samples)))
    numerics = Numerics(Workers(settings).device, settings.precision)

    def cost(arm: Arm) -> int:
        network = build_network(task, RunConfig(task.config, config.model_settings(arm), settings)).to(numerics.device)
        return measure_cost(network, task, numerics.place(task.prepare(batch, torch.Generator().manual_seed(0))), numerics).flops_per_step

    return {arm.name: cost(arm) for arm in config.trained}


def tuning_specs(config: StudyConfig, costs: Costs) -> tuple[RunSpec, ...]:
    """The runs that choose learning rates, none where there is no choice. Those that are chosen are runs of the grid as well."""
    if len(config.learning_rates) < 2:
        return ()
    return tuple(
        _spec(config, arm, config.sizes[-1], config.seeds[0], rate, config.train.steps, costs)
        for arm in config.trained
        for rate in config.learning_rates
    )


def chosen_rates(config: StudyConfig, trials: Mapping[str, RunRecord]) -> dict[str, float]:
    """The learning rate of every trained arm: the best on the validation split, or the only one there is.

    Args:
        config: the study.
        trials: records of the tuning runs; an arm whose trials all failed gets the first rate, so that its runs fail in the open.
    """
    rates = config.learning_rates or (config.train.learning_rate,)
    chosen: dict[str, float] = {}
    for arm in config.trained:
        done = [record for record in trials.values() if record.arm == arm.name and not record.failed]
        chosen[arm.name] = min(done, key=lambda record: record.valid).learning_rate if done else rates[0]
    return chosen


def grid_specs(config: StudyConfig, rates: Mapping[str, float], costs: Costs) -> tuple[RunSpec, ...]:
    """The runs of the comparison, the largest training sets first, since the verdict is about those; the smaller step counts last."""
    budgets = [(size, config.train.steps) for size in reversed(config.sizes)]
    budgets += [(config.sizes[-1], steps) for steps in reversed(config.budgets[:-1])]
    return tuple(
        _spec(config, arm, size, seed, rates[arm.name], steps, costs)
        for size, steps in budgets
        for seed in config.seeds
        for arm in config.trained
    )


def _spec(config: StudyConfig, arm: Arm, size: int, seed: int, learning_rate: float, budget: int, costs: Costs) -> RunSpec:
    steps = max(1, round(budget * costs["strict"] / costs[arm.name])) if costs else budget
    averaged = next((other.name for other in config.compared if other.averages == arm.name), "")
    return RunSpec(
        arm=arm.name,
        size=size,
        seed=seed,
        learning_rate=learning_rate,
        budget=budget,
        task=named_to_mapping(TASKS, config.task_settings(size)),
        model=named_to_mapping(MODELS, config.model_settings(arm)),
        train=to_mapping(config.train_settings(seed, learning_rate, steps)),
        averaged_arm=averaged,
        tta_samples=config.tta_samples if averaged else 0,
        share_samples=config.share_samples,
        augment=arm.augment,
    )
