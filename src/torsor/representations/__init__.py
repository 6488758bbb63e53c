"""How groups act on features."""

from torsor.representations.algebra import DirectSum, Dual, TensorProduct
from torsor.representations.axes import Pairs, Permuted
from torsor.representations.base import Action, Representation
from torsor.representations.basis import equivariant_basis
from torsor.representations.binary_forms import BinaryForms
from torsor.representations.clebsch_gordan import coupling, radial_from_so2, so2_from_radial, wigner_3j
from torsor.representations.commuting import Commuting
from torsor.representations.elementary import Defining, Matrix, Points, Regular, Shifted, Trivial, Vectors
from torsor.representations.elements import LeftMultiplied
from torsor.representations.geometric_algebra import LORENTZ, PROJECTIVE, GeometricAlgebra
from torsor.representations.grids import GridRotated
from torsor.representations.harmonics import spherical_harmonics
from torsor.representations.irreps import Irrep, Irreps
from torsor.representations.multivectors import Multivectors
from torsor.representations.wigner import edge_frames, wigner_blocks, wigner_d

__all__ = [
    "LORENTZ",
    "PROJECTIVE",
    "Action",
    "BinaryForms",
    "Commuting",
    "Defining",
    "DirectSum",
    "Dual",
    "GeometricAlgebra",
    "GridRotated",
    "Irrep",
    "Irreps",
    "LeftMultiplied",
    "Matrix",
    "Multivectors",
    "Pairs",
    "Permuted",
    "Points",
    "Regular",
    "Representation",
    "Shifted",
    "TensorProduct",
    "Trivial",
    "Vectors",
    "coupling",
    "edge_frames",
    "equivariant_basis",
    "radial_from_so2",
    "so2_from_radial",
    "spherical_harmonics",
    "wigner_3j",
    "wigner_blocks",
    "wigner_d",
]
