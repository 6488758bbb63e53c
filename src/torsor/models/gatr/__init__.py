"""GATr (Brehmer, de Haan, Behrends, Cohen, 2023): a transformer on multivectors of the projective geometric algebra."""

from torsor.models.gatr.axial import AxialGATr
from torsor.models.gatr.config import GATrConfig
from torsor.models.gatr.model import GATr
from torsor.models.gatr.network import BlockSettings, GATrBlock, GATrNetwork
from torsor.models.gatr.published import embed_bodies, published_arteries, published_nbody
from torsor.models.gatr.slim import GATrSlim, GATrSlimConfig

__all__ = [
    "AxialGATr",
    "BlockSettings",
    "GATr",
    "GATrBlock",
    "GATrConfig",
    "GATrNetwork",
    "GATrSlim",
    "GATrSlimConfig",
    "embed_bodies",
    "published_arteries",
    "published_nbody",
]
