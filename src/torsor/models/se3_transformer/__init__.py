"""SE(3)-Transformers (Fuchs, Worrall, Fischer, Welling, 2020): attention on irreducible representations of rotations."""

from torsor.models.se3_transformer.config import SE3TransformerConfig
from torsor.models.se3_transformer.convert import load_so2_state, so2_state
from torsor.models.se3_transformer.heights import heights
from torsor.models.se3_transformer.iterative import IterativeSE3Transformer
from torsor.models.se3_transformer.model import SE3Transformer
from torsor.models.se3_transformer.published import published_nbody, published_qm9, published_tfn

__all__ = [
    "IterativeSE3Transformer",
    "SE3Transformer",
    "SE3TransformerConfig",
    "heights",
    "load_so2_state",
    "published_nbody",
    "published_qm9",
    "published_tfn",
    "so2_state",
]
