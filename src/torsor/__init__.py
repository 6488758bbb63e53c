"""Choose, verify and measure how much symmetry a neural network has."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = ("groups", "representations", "nn", "models", "dial", "data", "tasks", "training", "recipes", "study", "report", "testing")
_NAMES = {
    "clone": "torsor.dial.clone",
    "densify": "torsor.dial.clone",
    "Symmetry": "torsor.symmetry",
    "equivariance_error": "torsor.check",
    "assert_equivariant": "torsor.check",
    "EquivarianceReport": "torsor.check",
    "augment": "torsor.dial.augment",
    "equivariant_basis": "torsor.representations",
    "relax": "torsor.dial",
    "symmetrize": "torsor.dial.symmetrize.verb",
}

__all__ = ["__version__", *_ROOMS, *_NAMES]


def __getattr__(name: str) -> Any:
    """Import a room or a name the first time it is used, so that `import torsor` stays fast."""
    if name in _ROOMS:
        return import_module(f"torsor.{name}")
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'torsor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
