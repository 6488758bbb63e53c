"""One architecture a file: what the papers propose, and the plain baselines.

Configurations are frozen dataclasses with `build(signature)`; `REGISTRY` holds them by name and imports them on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torsor.registry import Entry, Registry

if TYPE_CHECKING:
    from torsor.models.egnn import EGNN, EGNNConfig
    from torsor.models.equivariant_mlp import EquivariantMLP
    from torsor.models.mlp import MLP, MLPConfig
    from torsor.models.se3_transformer import SE3Transformer, SE3TransformerConfig
    from torsor.models.transformer import Transformer, TransformerConfig

REGISTRY = Registry(
    "model",
    Entry(
        "se3-transformer",
        "torsor.models.se3_transformer:SE3TransformerConfig",
        "attention on irreps of any degree, exact in SE(3) or E(3)",
        "arXiv 2006.10503",
    ),
    Entry("egnn", "torsor.models.egnn:EGNNConfig", "messages along differences of points, exact in E(3)", "arXiv 2102.09844"),
    Entry("transformer", "torsor.models.transformer:TransformerConfig", "plain attention over points, exact in T(3) x S()"),
    Entry("mlp", "torsor.models.mlp:MLPConfig", "one dense network on the flattened cloud, no symmetry"),
)

_NAMES = {
    "EGNN": "egnn",
    "EGNNConfig": "egnn",
    "EquivariantMLP": "equivariant_mlp",
    "MLP": "mlp",
    "MLPConfig": "mlp",
    "SE3Transformer": "se3_transformer",
    "SE3TransformerConfig": "se3_transformer",
    "Transformer": "transformer",
    "TransformerConfig": "transformer",
}

__all__ = [
    "EGNN",
    "MLP",
    "REGISTRY",
    "EGNNConfig",
    "EquivariantMLP",
    "MLPConfig",
    "SE3Transformer",
    "SE3TransformerConfig",
    "Transformer",
    "TransformerConfig",
]


def __getattr__(name: str) -> Any:
    """Import a model the first time it is used, so that looking at the registry stays fast."""
    if name in _NAMES:
        return getattr(import_module(f"torsor.models.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'torsor.models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
