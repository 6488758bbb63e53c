"""What acts: groups as objects, their elements as batched, differentiable tensors."""

from torsor.groups.base import ActsOnSpace, Element, FiniteGroup, Group, LieGroup, Lifted, MatrixGroup
from torsor.groups.linear import GL, SL2
from torsor.groups.lorentz import Lorentz, RestrictedLorentz
from torsor.groups.motions import SE, E
from torsor.groups.parse import REGISTRY, parse
from torsor.groups.permutations import S
from torsor.groups.planar import C, D
from torsor.groups.product import Product
from torsor.groups.rotations import SO, O
from torsor.groups.translations import T

__all__ = [
    "GL",
    "REGISTRY",
    "SE",
    "SL2",
    "SO",
    "ActsOnSpace",
    "C",
    "D",
    "E",
    "Element",
    "FiniteGroup",
    "Group",
    "LieGroup",
    "Lifted",
    "Lorentz",
    "MatrixGroup",
    "O",
    "Product",
    "RestrictedLorentz",
    "S",
    "T",
    "parse",
]
