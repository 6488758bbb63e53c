"""Settings as frozen dataclasses, and their strict way from and to mappings, TOML and JSON.

A dataclass says each setting once: its name, type, default and, in its docstring, its meaning. Files and flags are read against it:
a key that it does not have is an error with the nearest name, a value of another type is an error with the type to give.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torsor.errors import ConfigError
from torsor.registry import Registry

T = TypeVar("T")


class Settings:
    """Base of dataclasses of settings: what is made in Python is read as strictly as a file.

    Integers are taken for floats and lists for tuples; nothing else is converted. A subclass with a `__post_init__` of its own calls this
    one first.

    Raises:
        ConfigError: a field has the wrong type; names the class and the field.
    """

    def __post_init__(self) -> None:
        for name, value in _typed_fields(self).items():
            object.__setattr__(self, name, value)  # subclasses are frozen


def checked(config: T) -> T:
    """Settings of the user's own class, which need not be `Settings`, with the types of their fields checked as there.

    Raises:
        ConfigError: they are no dataclass, or a field has the wrong type; names it.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ConfigError(f"settings are {_shown(config)}: give an instance of a dataclass")
    return config if isinstance(config, Settings) else dataclasses.replace(config, **_typed_fields(config))


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields; every recipe of a list asks for those of a few classes."""
    return types.MappingProxyType(get_type_hints(kind))


def _typed_fields(config: Any) -> dict[str, Any]:
    hints, where = _hints(type(config)), type(config).__name__  # type: ignore[arg-type]
    names = [field.name for field in dataclasses.fields(config) if field.init]
    return {name: convert(hints[name], getattr(config, name), f"{where} {name}") for name in names}


def from_mapping(cls: type[T], mapping: Any, where: str = "settings") -> T:
    """Build a dataclass from a mapping; what is left out keeps its default.

    Integers are taken for floats and lists for tuples; nothing else is converted.

    Args:
        cls: the dataclass.
        mapping: its fields by name, nested dataclasses as mappings.
        where: how an error names the mapping: "[train]", "train.toml".

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type; names the key.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where} is {_shown(mapping)}: give a table of settings")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    hints = _hints(cls)  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise unknown_key(str(key), fields, where)
    missing = [name for name, field in fields.items() if name not in mapping and _required(field)]
    if missing:
        raise ConfigError(f"{where} lacks {missing[0]!r}: give it a value of type {_type_name(hints[missing[0]])}")
    return cls(**{key: convert(hints[key], value, f"{where} {key}") for key, value in mapping.items()})


def to_mapping(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as a mapping that JSON can hold: tuples become lists, paths, infinity and others their `str`."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}


def unknown_key(key: str, known: Iterable[str], where: str) -> ConfigError:
    """The error for a key that a mapping must not have, with the nearest one that it may."""
    names = sorted(known)
    nearest = get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return ConfigError(f"{where} has no {key!r}: {hint}known: {', '.join(names)}")


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, table by table; neither is altered."""
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML; names the line.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable as TOML: {error}") from error


def named_from_mapping(registry: Registry, mapping: Any, where: str) -> Any:
    """Build what `name` stands for: `{name = "nbody", particles = 5}`.

    Args:
        registry: where the name is looked up. A name with a colon, `package.module:Class`, is a dataclass of the user's own.
        mapping: the name and the settings.
        where: how an error names the mapping.

    Raises:
        ConfigError: there is no name, or a setting is wrong.
        UnknownNameError: the name is not registered.
    """
    if not isinstance(mapping, Mapping) or not isinstance(mapping.get("name"), str):
        raise ConfigError(f'{where} lacks a name: give name = "..." with one of {", ".join(registry)}')
    cls = config_class(registry, mapping["name"])
    return from_mapping(cls, {key: value for key, value in mapping.items() if key != "name"}, where)


def named_to_mapping(registry: Registry, config: Any) -> dict[str, Any]:
    """The mapping from which `named_from_mapping` builds `config` again."""
    return {"name": name_of(registry, config), **to_mapping(config)}


def name_of(registry: Registry, config: Any) -> str:
    """The registered name of a config's class, or `package.module:Class` where it is not registered."""
    target = f"{type(config).__module__}:{type(config).__qualname__}"
    return next((entry.name for entry in registry.values() if entry.target == target), target)


def config_class(registry: Registry, name: str) -> type:
    """The config dataclass that a registered name, or `package.module:Class`, stands for."""
    found = _import(name) if ":" in name else registry.load(name)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found) and hasattr(found, "build")):
        raise ConfigError(f"{name} is not a settings class: give a dataclass with a method build")
    return found


def convert(kind: Any, value: Any, where: str) -> Any:
    """`value` as the type `kind`, or an error that names the key, the value and the type to give.

    Raises:
        ConfigError: the value is not of that type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        return _convert_literal(arguments, value, where)
    if origin in (tuple, list) or kind in (tuple, list):
        return _convert_sequence(kind, value, where)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _convert_table(arguments, value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else from_mapping(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and value in ("inf", "-inf"):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    plain = kind if isinstance(kind, type) and kind is not Any else object
    if not isinstance(value, plain) or (isinstance(value, bool) and plain in (int, float)):
        raise _wrong_type(kind, value, where)
    return value


def _convert_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    failures = []
    for kind in kinds:
        try:
            return convert(kind, value, where)
        except ConfigError as error:
            failures.append((kind, error))
    tables = [error for kind, error in failures if dataclasses.is_dataclass(kind)]
    if isinstance(value, Mapping) and len(tables) == 1:  # the table was meant: say what is wrong in it
        raise tables[0]
    raise ConfigError(f"{where} is {_shown(value)}: give {' or '.join(_type_name(kind) for kind in kinds)}")


def _convert_literal(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    for choice in choices:
        if choice == value and type(choice) is type(value):
            return choice
    nearest = get_close_matches(str(value), [str(choice) for choice in choices], n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ConfigError(f"{where} is {_shown(value)}: {hint}give one of {', '.join(repr(choice) for choice in choices)}")


def _convert_sequence(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong_type(kind, value, where)
    inner = get_args(kind)
    if not inner:
        return (list if kind is list else tuple)(value)
    if get_origin(kind) is list or inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        raise ConfigError(f"{where} has {len(value)} entries: give {len(inner)}")
    converted = [convert(each, entry, f"{where}[{i}]") for i, (each, entry) in enumerate(zip(inner, value, strict=True))]
    return converted if get_origin(kind) is list else tuple(converted)


def _convert_table(arguments: tuple[Any, ...], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {_shown(value)}: give a table")
    inner = arguments[1] if arguments else Any
    return {key: convert(inner, entry, f"{where}.{key}") for key, entry in value.items()}


def _wrong_type(kind: Any, value: Any, where: str) -> ConfigError:
    return ConfigError(f"{where} is {_shown(value)}: give {_type_name(kind)}")


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no infinity
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _type_name(kind: Any) -> str:
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false", type(None): "nothing", Path: "a path"}
    if kind in names:
        return names[kind]
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_type_name(each) for each in get_args(kind))
    if get_origin(kind) in (tuple, list):
        return f"a list of {len(get_args(kind))}" if Ellipsis not in get_args(kind) and get_origin(kind) is tuple else "a list"
    name = getattr(kind, "__name__", str(kind))
    return f"a table ({name})" if dataclasses.is_dataclass(kind) else str(name)


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot import {target!r}: {error}") from error
