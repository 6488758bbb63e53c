"""Errors that say in one line what to change.

Every error torsor raises on purpose derives from `TorsorError`; the command line prints its message alone and leaves with status 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TorsorError(Exception):
    """Base of all errors that torsor raises on purpose."""


class ShapeError(TorsorError, ValueError):
    """A tensor has the wrong shape; the message names it, its shape and the shape to give."""


class GroupError(TorsorError, ValueError):
    """A group cannot do what was asked; the message says which can."""


class RepresentationError(TorsorError, ValueError):
    """Representations do not fit each other or their group."""


class SignatureError(TorsorError, ValueError):
    """A model cannot serve a task; the message names what is missing and which models can."""


class UnknownNameError(TorsorError, ValueError):
    """A name is not registered; the message gives the nearest one."""


class ConfigError(TorsorError, ValueError):
    """A configuration file or flag is wrong; the message names the key."""


class DataError(TorsorError, ValueError):
    """A data file is missing, damaged or does not hold what was asked for."""


class CheckpointError(TorsorError, ValueError):
    """A run directory or checkpoint cannot be read."""


class NonFiniteError(TorsorError, ArithmeticError):
    """A number is not finite; the message names the step and the tensor."""


class EquivarianceError(TorsorError, AssertionError):
    """A module is not as equivariant as its contract says; the message holds the report."""


class MissingDependencyError(TorsorError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for an unregistered name, with the nearest registered one.

    Args:
        kind: what the name stands for, in the singular: "model", "group", "key of [train]".
        name: the name that was given.
        known: every registered name.
    """
    names = sorted(known)
    longer = [known_name for known_name in names if name and name.lower() in known_name.lower()]
    nearest = longer or get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return UnknownNameError(f"unknown {kind} {name!r}: {hint}known: {', '.join(names)}")


def missing_dependency(package: str, extra: str, purpose: str) -> MissingDependencyError:
    """Build the error for an optional package that is not installed."""
    return MissingDependencyError(f"{purpose} needs {package}: pip install 'torsor[{extra}]'")
