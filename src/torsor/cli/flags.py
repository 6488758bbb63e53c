"""Flags from dataclasses and functions, through tyro, with errors of one line."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from copy import copy
from dataclasses import field, make_dataclass
from functools import partial
from typing import Any, TypeVar

import tyro

from torsor.errors import ConfigError

T = TypeVar("T")
RULE = re.compile(r"[-─]{5,}|^[╭╰]")
"""A line that tyro draws; where the terminal has no Unicode there is no box, and the title is a paragraph of its own."""


def parse(make: Callable[..., T], arguments: Sequence[str], verb: str, default: T | None = None) -> T:
    """Call a dataclass or function with what the flags say.

    Args:
        make: its parameters are the flags, its docstring their help.
        arguments: what follows the verb.
        verb: for the help, "torsor train nbody egnn".
        default: an instance that holds the defaults, where `make` is a dataclass.

    Raises:
        ConfigError: a flag is unknown or its value wrong.
        SystemExit: help was asked for and shown.
    """
    said = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with redirect_stderr(said):
            made: T = tyro.cli(make, prog=f"torsor {verb}", args=list(arguments), **options)
            return made
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(f"{one_line(said.getvalue())} (torsor {verb} --help)") from None


def one_line(boxed: str) -> str:
    """What a box of tyro's says, in one line: the message, and the flag that may have been meant."""
    lines = ["" if RULE.search(line) else line.strip(" |│") for line in boxed.splitlines()]
    paragraphs = [part.split("\n") for part in re.split(r"\n{2,}", "\n".join(lines).strip("\n")) if part.strip()]
    paragraphs = paragraphs if "╭" in boxed else paragraphs[1:]
    message = " ".join(paragraphs[0]) if paragraphs else "the flags cannot be read"
    meant = next((part[1] for part in paragraphs if part[0].startswith("Perhaps you meant") and len(part) > 1), "")
    return f"{message}: did you mean {meant}?" if meant else message


def flags_of(name: str, help_: str, **fields: tuple[Any, Any]) -> Any:
    """A frozen dataclass of flags that are known only once the command line is half read.

    Args:
        name: of the dataclass.
        help_: what `--help` begins with.
        fields: flag -> its type and default.
    """
    # a copy for each instance, since a default may be a dict
    entries = [(key, kind, field(default_factory=partial(copy, value))) for key, (kind, value) in fields.items()]
    made = make_dataclass(name, entries, frozen=True)
    made.__doc__ = help_
    return made


def leading_names(arguments: Sequence[str], most: int) -> tuple[list[str], list[str]]:
    """The names before the first flag, at most so many, and the rest."""
    count = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    count = min(count, most)
    return list(arguments[:count]), list(arguments[count:])
