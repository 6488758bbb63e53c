"""GATr (Brehmer, de Haan, Behrends, Cohen, 2023): a transformer on multivectors of the projective geometric algebra."""

from torsor.models.gatr.config import GATrConfig
from torsor.models.gatr.model import GATr
from torsor.models.gatr.network import BlockSettings, GATrBlock, GATrNetwork

__all__ = ["BlockSettings", "GATr", "GATrBlock", "GATrConfig", "GATrNetwork"]
