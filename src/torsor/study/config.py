"""Settings of a study, and how they are read from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torsor.config import Settings, config_class, from_mapping, merge, named_from_mapping, named_to_mapping, read_toml
from torsor.errors import ConfigError, unknown_name
from torsor.study.arms import Arm, WrongGroupConfig, with_variants
from torsor.tasks import REGISTRY as TASKS
from torsor.training.settings import TrainConfig

EQUAL = ("steps", "flops")


@dataclass(frozen=True)
class StudyConfig(Settings):
    """What to compare, on what, and how often.

    All arms see the same samples in the same order for a seed, and the test set is one for all. They train for the same number of steps, or
    for the same number of floating-point operations.

    Args:
        task: name and settings of the task: `{name = "nbody", variant = "egnn"}`; `train_size` comes from `sizes`.
        strict: name and settings of the model with the symmetry built in.
        plain: name and settings of the model without.
        train: settings of every run; `seed` comes from `seeds`.
        symmetrized: settings of the symmetrised arm besides its model, which is the plain one: `{method = "probabilistic", samples = 4}`.
        relaxed: settings of the relaxed arm besides its model, which is the strict one.
        cloned: settings of the cloned arm besides its teacher, which is the strict model.
        variants: further arms by name, each a variant of another that sets something differently:
            `{gentle = {of = "cloned", regime = "anchored"}}`. One that names another model, `{other = {of = "strict", name = "egnn"}}`,
            takes none of the settings of the first.
        arms: which arms, of strict, relaxed, symmetrized, cloned, augmented, augmented+tta, plain, wrong-group and the variants. strict and
            plain are always among them.
        sizes: training-set sizes, the verdict is about the largest. Three or more show a trend, a factor of ten or more apart resolve it.
        steps: further, smaller step counts to train for with the largest training set, so that arms can be compared by compute: what a
            plain network lacks in symmetry it may gain in steps. `train.steps`, which all other runs have, comes last.
        equal: what arms have in common, "steps" or "flops". With "flops" the steps are those of strict, and each arm takes as many more or
            fewer as give the same floating-point operations.
        seeds: one run of every arm and size for each. Two share one noise over all sizes, three or more give each size its own; with one
            and fewer than four sizes the noise of a run is unknown and no verdict is given.
        learning_rates: tried for every trained arm with the largest size and the first seed; the best on the validation split is used in
            all its runs. Empty for `train.learning_rate`.
        tta_samples: group elements in the orbit average at test time.
        share_samples: group elements for the equivariance share, two or more.
        bootstrap: draws of the bootstrap.
        margin: losses closer than this share count as equal.
        workers: runs at once, each in a process with one thread; 0 runs all in this process.
        summary: what the study asks, in one line for `torsor list`.

    Raises:
        ConfigError: a setting has the wrong type or makes no sense; names it.
    """

    task: dict[str, Any]
    strict: dict[str, Any] = field(default_factory=lambda: {"name": "se3-transformer"})
    plain: dict[str, Any] = field(default_factory=lambda: {"name": "transformer"})
    symmetrized: dict[str, Any] = field(default_factory=dict)
    relaxed: dict[str, Any] = field(default_factory=dict)
    cloned: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    train: TrainConfig = field(default_factory=TrainConfig)
    arms: tuple[str, ...] = ("strict", "augmented", "augmented+tta", "plain")
    sizes: tuple[int, ...] = (100, 400, 1600)
    steps: tuple[int, ...] = ()
    equal: str = "steps"
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rates: tuple[float, ...] = ()
    tta_samples: int = 16
    share_samples: int = 4
    bootstrap: int = 2000
    margin: float = 0.05
    workers: int = 2
    summary: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sizes", "seeds", "arms"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"{name} is {list(values)}: give at least one, each once")
        known = self.known
        for name in self.arms:
            if name not in known:
                raise unknown_name("arm", name, known)
        if min(self.sizes) < 1 or list(self.sizes) != sorted(self.sizes):
            raise ConfigError(f"sizes is {list(self.sizes)}: give training-set sizes of 1 or more, smallest first")
        if self.steps and (self.steps[0] < 1 or list(self.budgets) != [*self.steps, self.train.steps]):
            raise ConfigError(f"steps is {list(self.steps)}: give step counts below train.steps = {self.train.steps}, smallest first")
        if self.equal not in EQUAL:
            raise unknown_name("equal", self.equal, EQUAL)
        for name, least in (("tta_samples", 1), ("share_samples", 2), ("bootstrap", 100), ("workers", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: give {least} or more")
        if not 0 < self.margin < 1:
            raise ConfigError(f"margin is {self.margin}: give a share between 0 and 1, 0.05 for 5%")
        if "train_size" in self.task:
            raise ConfigError("task has a train_size: give sizes = [...] instead")

    @property
    def known(self) -> dict[str, Arm]:
        """Every arm that there is, the variants among them, in the order of figures."""
        return with_variants(self.variants)

    @property
    def compared(self) -> tuple[Arm, ...]:
        """The arms in the order of figures; strict and plain always, augmented where its average is."""
        known = self.known
        wanted = {"strict", "plain", *self.arms} | {known[name].averages for name in self.arms}
        return tuple(arm for name, arm in known.items() if name in wanted)

    @property
    def budgets(self) -> tuple[int, ...]:
        """Every step count that the largest training set is used with, smallest first."""
        return tuple(sorted({*self.steps, self.train.steps}))

    @property
    def trained(self) -> tuple[Arm, ...]:
        """The arms that have weights of their own."""
        return tuple(arm for arm in self.compared if not arm.averages)

    def task_settings(self, size: int) -> Any:
        """Settings of the task with a training set of this size."""
        return named_from_mapping(TASKS, {**self.task, "train_size": size}, "study task")

    def network(self, arm: Arm) -> dict[str, Any]:
        """Name and settings of the model that an arm trains, or makes something of."""
        table = self.strict if arm.model == "strict" else self.plain
        if arm.has_table:
            return table
        return dict(arm.settings) if "name" in arm.settings else merge(table, arm.settings)

    def model_settings(self, arm: Arm) -> Any:
        """Settings of the model that an arm trains."""
        from torsor.models import REGISTRY as MODELS

        settings = named_from_mapping(MODELS, self.network(arm), f"study {arm.model if arm.has_table else arm.name}")
        if not arm.dial:
            return settings
        model = named_to_mapping(MODELS, settings)
        if not arm.has_table:
            return WrongGroupConfig(model)
        table = merge(getattr(self, arm.dial), arm.settings)
        return named_from_mapping(MODELS, {"name": arm.dial, "model": model, **table}, f"study {arm.name}")

    def train_settings(self, seed: int, learning_rate: float, steps: int) -> TrainConfig:
        """Settings of one run's training."""
        return replace(self.train, seed=seed, learning_rate=learning_rate, steps=steps)

    def validate(self) -> None:
        """Read every setting once, so that a mistake is found before the first run.

        Raises:
            ConfigError: a setting is wrong.
            UnknownNameError: the task or a model is not registered.
        """
        config_class(TASKS, str(self.task.get("name", "")))
        self.task_settings(self.sizes[-1])
        for arm in self.trained:
            self.model_settings(arm)


def read_study(path: str | Path) -> StudyConfig:
    """The settings of a study in a TOML file; its tables and keys are the fields of `StudyConfig`.

    Raises:
        ConfigError: the file is missing or a setting is wrong; names it.
    """
    return from_mapping(StudyConfig, read_toml(path), str(path))
