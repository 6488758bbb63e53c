"""L-GATr: Lorentz-equivariant geometric algebra transformers, with whole multivectors or with scalars and four-vectors alone."""

from torsor.models.lgatr.model import LGATr, LGATrConfig
from torsor.models.lgatr.slim import LGATrSlim, LGATrSlimConfig

__all__ = ["LGATr", "LGATrConfig", "LGATrSlim", "LGATrSlimConfig"]
