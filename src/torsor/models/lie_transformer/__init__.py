"""LieTransformer (Hutchinson, Le Lan, Zaidi, Dupont, Teh, Kim, 2021): attention on a group of the user's choice."""

from torsor.models.lie_transformer.attention import LieSelfAttention, Scene
from torsor.models.lie_transformer.config import LieTransformerConfig, published_kernel
from torsor.models.lie_transformer.model import LieTransformer
from torsor.models.lie_transformer.published import published_constellations, published_dynamics, published_qm9

__all__ = [
    "LieSelfAttention",
    "LieTransformer",
    "LieTransformerConfig",
    "Scene",
    "published_constellations",
    "published_dynamics",
    "published_kernel",
    "published_qm9",
]
