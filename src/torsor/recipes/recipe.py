"""Reading recipes: strict, so that a misspelt key is an error and not a setting that is silently left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torsor.config import from_mapping, merge, named_from_mapping, read_toml
from torsor.errors import ConfigError, unknown_name
from torsor.models import REGISTRY as MODELS
from torsor.tasks import PROTOCOLS
from torsor.training import RunConfig

FOLDER = Path(__file__).parent
TABLES = ("variants", "arms")
"""Tables of changes that make one file many recipes, `FILE-VARIANT-ARM`: rows of a published table, and the methods it compares."""


@dataclass(frozen=True)
class Published:
    """A published figure.

    Args:
        metric: the metric of our task that it is compared with.
        value: the figure, in the metric's unit.
        by: the method that it belongs to.
        std: its standard deviation over runs, where published.
        source: paper and table; that of `sources` for this method if not given.
        setting: how its setting differs from the recipe's, empty where it does not.
    """

    metric: str
    value: float
    by: str
    std: float | None = None
    source: str = ""
    setting: str = ""


@dataclass(frozen=True)
class Size:
    """How a recipe is run on smaller machines: changes to its settings.

    Args:
        note: what is different from the published setting, and how long it takes on which machine.
        task: settings of the task to change.
        protocol: settings of the protocol to change.
        model: settings of the model to change.
        train: settings of the training to change.
        published: figures to compare with instead, where there are some for this setting.
    """

    note: str
    task: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    published: tuple[Published, ...] | None = None


@dataclass(frozen=True)
class Recipe:
    """A published experiment: a model trained on a task, or untrained networks measured by a protocol.

    Args:
        model: name and settings of the model.
        task: name and settings of the task; empty where there is a protocol.
        protocol: name and settings of the protocol; empty where there is a task.
        train: settings of the training.
        augment: whether every sample is moved by a random group element.
        paper: authors, year and table.
        summary: one line for `torsor list`.
        method: the published method that it runs, empty where none of the published figures is its own.
        published: the figures to compare with.
        sources: method -> paper and table, for figures that do not name their own.
        notes: sentences to print beside the figures.
        sizes: smaller or larger ways to run it.
    """

    model: dict[str, Any]
    task: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    augment: bool = False
    paper: str = ""
    summary: str = ""
    method: str = ""
    published: tuple[Published, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sizes: dict[str, Size] = field(default_factory=dict)

    def config(self, size: str | None = None, where: str = "the recipe") -> RunConfig:
        """The settings of a run.

        Args:
            size: one of `sizes`; the settings as they stand if not given.
            where: how an error names the recipe.

        Raises:
            ConfigError: a setting is wrong, or the recipe trains nothing; names it.
            UnknownNameError: the recipe has no such size, or the task or model is not registered.
        """
        if self.protocol:
            raise ConfigError(f"{where} measures untrained networks: run it with torsor reproduce")
        return RunConfig.from_mapping({**self._tables(size, ("task", "model", "train")), "augment": self.augment}, where)

    def protocol_config(self, size: str | None = None, where: str = "the recipe") -> tuple[Any, Any]:
        """The settings of the protocol and of the model that it measures; the arguments are those of `config`.

        Raises:
            ConfigError: a setting is wrong; names it.
            UnknownNameError: the recipe has no such size, or the protocol or model is not registered.
        """
        tables, registries = self._tables(size, ("protocol", "model")), {"protocol": PROTOCOLS, "model": MODELS}
        protocol, model = (named_from_mapping(registries[name], table, f"{where} [{name}]") for name, table in tables.items())
        return protocol, model

    def _tables(self, size: str | None, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """These tables with the changes of a size."""
        tables = {name: getattr(self, name) for name in names}
        return tables if size is None else {name: merge(table, getattr(self.size(size), name)) for name, table in tables.items()}

    def size(self, name: str) -> Size:
        """The changes of a size.

        Raises:
            UnknownNameError: the recipe has no such size.
        """
        if name not in self.sizes:
            raise unknown_name("size", name, self.sizes)
        return self.sizes[name]

    def figures(self, size: str | None = None) -> tuple[Published, ...]:
        """The published figures to compare a run of a size with, each with its source."""
        own = None if size is None else self.size(size).published
        found = self.published if own is None else own
        return tuple(dataclasses.replace(figure, source=figure.source or self.sources.get(figure.by, "")) for figure in found)


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship with torsor."""
    return tuple(_files())


def recipe_files() -> dict[str, tuple[str, ...]]:
    """The files of `recipe_names`, named without their ending, and the recipes in each."""
    found: dict[str, list[str]] = {}
    for name, (path, _) in _files().items():
        found.setdefault(_title(path), []).append(name)
    return {title: tuple(names) for title, names in found.items()}


def load_recipe(name: str | Path) -> Recipe:
    """A recipe that ships with torsor, by name, or the user's own, by its TOML file.

    Raises:
        ConfigError: the file is missing, or a key in it is wrong; names it.
        UnknownNameError: no recipe has that name; gives the nearest.
    """
    text = str(name)
    if text.endswith(".toml"):
        content = read_toml(text)
        for table in TABLES:
            if table in content:
                known = ", ".join(content[table])
                raise ConfigError(
                    f"{text} has {table}, which only recipes that ship with torsor may: take one of {known} into a file of its own"
                )
        return _checked(content, text)
    if text not in _files():
        raise unknown_name("recipe", text, _files())
    path, chosen = _files()[text]
    content = dict(_tables(path))
    for table in TABLES:
        choices = content.pop(table, {})
        content = merge(content, choices[chosen[table]]) if table in chosen else content
    return _checked(content, text)


@cache
def _tables(path: Path) -> Mapping[str, Any]:
    """What a file that ships with torsor holds; read once, though it may be many recipes."""
    return MappingProxyType(read_toml(path))


@lru_cache(maxsize=1)
def _files() -> dict[str, tuple[Path, dict[str, str]]]:
    """Recipe -> its file, and the choice from each of its `TABLES`."""
    return {name: (path, chosen) for path in sorted(FOLDER.rglob("*.toml")) for name, chosen in _choices(path)}


def _choices(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Every recipe in a file: one for each variant with each arm."""
    content = _tables(path)
    tables = [table for table in TABLES if table in content]
    for chosen in product(*(content[table] for table in tables)):
        yield "-".join([_title(path), *chosen]), dict(zip(tables, chosen, strict=True))


def _title(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def _checked(content: Mapping[str, Any], where: str) -> Recipe:
    """The recipe, with all of its sizes read once, so that a mistake in any of them shows at once."""
    recipe = from_mapping(Recipe, content, where)
    if bool(recipe.task) == bool(recipe.protocol):
        has = "both a task and a protocol" if recipe.task else "no task"
        raise ConfigError(f"{where} has {has}: give [task], or [protocol] for untrained networks")
    if recipe.method and recipe.method not in {figure.by for figure in recipe.published}:
        raise ConfigError(f"{where} runs {recipe.method!r}, of which it gives no published figure: give one, or leave method out")
    for size in (None, *recipe.sizes):
        read = recipe.protocol_config if recipe.protocol else recipe.config
        read(size, where if size is None else f"{where} [sizes.{size}]")
        for figure in recipe.figures(size):
            if not figure.source:
                raise ConfigError(f"{where} gives no source for the published {figure.metric} of {figure.by}: give source, or [sources]")
    return recipe
