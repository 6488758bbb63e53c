"""SE(3)-Transformers (Fuchs, Worrall, Fischer, Welling, 2020): attention on irreducible representations of rotations."""

from torsor.models.se3_transformer.config import SE3TransformerConfig
from torsor.models.se3_transformer.model import SE3Transformer
from torsor.models.se3_transformer.published import published_nbody, published_qm9, published_tfn

__all__ = ["SE3Transformer", "SE3TransformerConfig", "published_nbody", "published_qm9", "published_tfn"]
