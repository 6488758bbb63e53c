"""How groups act on features."""

from torsor.representations.algebra import DirectSum, Dual, TensorProduct
from torsor.representations.base import Action, Representation
from torsor.representations.clebsch_gordan import coupling, radial_from_so2, so2_from_radial, wigner_3j
from torsor.representations.harmonics import spherical_harmonics
from torsor.representations.irreps import Irrep, Irreps
from torsor.representations.wigner import edge_frames, wigner_blocks, wigner_d

__all__ = [
    "Action",
    "DirectSum",
    "Dual",
    "Irrep",
    "Irreps",
    "Representation",
    "TensorProduct",
    "coupling",
    "edge_frames",
    "radial_from_so2",
    "so2_from_radial",
    "spherical_harmonics",
    "wigner_3j",
    "wigner_blocks",
    "wigner_d",
]
