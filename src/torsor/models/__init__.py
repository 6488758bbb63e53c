"""One architecture a file: what the papers propose, and the plain baselines.

Configurations are frozen dataclasses with `build(signature)`; `REGISTRY` holds them by name and imports them on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torsor.registry import Entry, Registry

if TYPE_CHECKING:
    from torsor.models.deep_set import DeepSet, DeepSetConfig
    from torsor.models.egnn import EGNN, EGNNConfig
    from torsor.models.equivariant_mlp import EquivariantMLP, EquivariantMLPConfig
    from torsor.models.gatr import GATr, GATrConfig, GATrNetwork, GATrSlim, GATrSlimConfig
    from torsor.models.gin import GIN, GINConfig
    from torsor.models.lgatr import LGATr, LGATrConfig, LGATrSlim, LGATrSlimConfig
    from torsor.models.lie_transformer import LieTransformer, LieTransformerConfig
    from torsor.models.message_passing import MessagePassing, MessagePassingConfig
    from torsor.models.mlp import MLP, MLPConfig
    from torsor.models.pair_transformer import PairTransformer, PairTransformerConfig
    from torsor.models.se3_transformer import SE3Transformer, SE3TransformerConfig
    from torsor.models.set_transformer import SetTransformer, SetTransformerConfig
    from torsor.models.transformer import Transformer, TransformerConfig
    from torsor.models.vision_transformer import VisionTransformer, VisionTransformerConfig

REGISTRY = Registry(
    "model",
    Entry(
        "se3-transformer",
        "torsor.models.se3_transformer:SE3TransformerConfig",
        "attention on irreps of any degree, exact in SE(3) or E(3)",
        "arXiv 2006.10503",
    ),
    Entry(
        "lie-transformer",
        "torsor.models.lie_transformer:LieTransformerConfig",
        "attention on lifted points, exact or sampled in a group of your choice",
        "arXiv 2012.10885",
    ),
    Entry("egnn", "torsor.models.egnn:EGNNConfig", "messages along differences of points, exact in E(3)", "arXiv 2102.09844"),
    Entry("gatr", "torsor.models.gatr:GATrConfig", "attention on multivectors of space, exact in SE(3) or E(3)", "arXiv 2305.18415"),
    Entry(
        "gatr-slim",
        "torsor.models.gatr.slim:GATrSlimConfig",
        "attention with scalars and vectors alone, exact in E(3)",
        "arXiv 2305.18415",
    ),
    Entry(
        "lgatr",
        "torsor.models.lgatr.model:LGATrConfig",
        "attention on multivectors of spacetime, exact in SO+(1, 3) or O(1, 3)",
        "arXiv 2405.14806",
    ),
    Entry(
        "lgatr-slim",
        "torsor.models.lgatr.slim:LGATrSlimConfig",
        "the same with scalars and four-vectors alone, exact in O(1, 3)",
        "arXiv 2405.14806",
    ),
    Entry("transformer", "torsor.models.transformer:TransformerConfig", "plain attention over points, exact in T(3) x S()"),
    Entry(
        "set-transformer",
        "torsor.models.set_transformer:SetTransformerConfig",
        "attention among points, then of learned seeds, exact in S()",
        "arXiv 1810.00825",
    ),
    Entry("deep-set", "torsor.models.deep_set:DeepSetConfig", "points that see the mean of all, exact in S()", "arXiv 1703.06114"),
    Entry(
        "message-passing",
        "torsor.models.message_passing:MessagePassingConfig",
        "plain messages among points, exact in T(3) x S()",
        "arXiv 2102.09844",
    ),
    Entry(
        "pair-transformer",
        "torsor.models.pair_transformer:PairTransformerConfig",
        "attention among pairs of points in learned places, exact in T(3)",
        "arXiv 2306.02866",
    ),
    Entry(
        "gin",
        "torsor.models.gin:GINConfig",
        "messages along edges, exact in S(), or none where nodes are numbered",
        "arXiv 1810.00826",
    ),
    Entry(
        "equivariant-mlp",
        "torsor.models.equivariant_mlp:EquivariantMLPConfig",
        "linear layers from a numerical basis, exact in any matrix group",
        "arXiv 2104.09459",
    ),
    Entry(
        "vision-transformer",
        "torsor.models.vision_transformer:VisionTransformerConfig",
        "attention among tiles of the adjacency matrix, with weights from photographs if wanted, no symmetry",
        "arXiv 2010.11929",
    ),
    Entry(
        "cloned",
        "torsor.dial.clone.config:ClonedConfig",
        "a plain network that has learned a symmetry by imitation, approximate",
        "arXiv 2410.03989",
    ),
    Entry("mlp", "torsor.models.mlp:MLPConfig", "one dense network on whatever it is fed, flattened, no symmetry"),
    Entry(
        "symmetrized",
        "torsor.dial.symmetrize.config:SymmetrizedConfig",
        "any of these, averaged over group elements that move with the input, coupled or exact",
        "arXiv 2306.02866",
    ),
    Entry(
        "symmetrized",
        "torsor.dial.symmetrize.config:SymmetrizedConfig",
        "any of these, averaged over group elements that move with the input, coupled or exact",
        "arXiv 2306.02866",
    ),
    Entry(
        "relaxed",
        "torsor.dial.relax.config:RelaxedConfig",
        "any of these with a dial from strict to free, approximate",
        "arXiv 2406.13488",
    ),
)

_NAMES = {
    "DeepSet": "deep_set",
    "DeepSetConfig": "deep_set",
    "EGNN": "egnn",
    "EGNNConfig": "egnn",
    "EquivariantMLP": "equivariant_mlp",
    "EquivariantMLPConfig": "equivariant_mlp",
    "GATr": "gatr",
    "GATrConfig": "gatr",
    "GATrNetwork": "gatr",
    "GATrSlim": "gatr",
    "GATrSlimConfig": "gatr",
    "GIN": "gin",
    "GINConfig": "gin",
    "LieTransformer": "lie_transformer",
    "LieTransformerConfig": "lie_transformer",
    "LGATr": "lgatr",
    "LGATrConfig": "lgatr",
    "LGATrSlim": "lgatr",
    "LGATrSlimConfig": "lgatr",
    "MLP": "mlp",
    "MLPConfig": "mlp",
    "MessagePassing": "message_passing",
    "MessagePassingConfig": "message_passing",
    "PairTransformer": "pair_transformer",
    "PairTransformerConfig": "pair_transformer",
    "SE3Transformer": "se3_transformer",
    "SE3TransformerConfig": "se3_transformer",
    "SetTransformer": "set_transformer",
    "SetTransformerConfig": "set_transformer",
    "Transformer": "transformer",
    "TransformerConfig": "transformer",
    "VisionTransformer": "vision_transformer",
    "VisionTransformerConfig": "vision_transformer",
}

__all__ = [
    "EGNN",
    "GIN",
    "MLP",
    "REGISTRY",
    "DeepSet",
    "DeepSetConfig",
    "EGNNConfig",
    "EquivariantMLP",
    "EquivariantMLPConfig",
    "GATr",
    "GATrConfig",
    "GATrNetwork",
    "GATrSlim",
    "GATrSlimConfig",
    "GINConfig",
    "LGATr",
    "LGATrConfig",
    "LGATrSlim",
    "LGATrSlimConfig",
    "LieTransformer",
    "LieTransformerConfig",
    "MLPConfig",
    "MessagePassing",
    "MessagePassingConfig",
    "PairTransformer",
    "PairTransformerConfig",
    "SE3Transformer",
    "SE3TransformerConfig",
    "SetTransformer",
    "SetTransformerConfig",
    "Transformer",
    "TransformerConfig",
    "VisionTransformer",
    "VisionTransformerConfig",
]


def __getattr__(name: str) -> Any:
    """Import a model the first time it is used, so that looking at the registry stays fast."""
    if name in _NAMES:
        return getattr(import_module(f"torsor.models.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'torsor.models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
