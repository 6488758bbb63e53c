"""What acts: groups as objects, their elements as batched, differentiable tensors."""

from torsor.groups.base import ActsOnSpace, Element, FiniteGroup, Group, LieGroup, Lifted, MatrixGroup
from torsor.groups.cyclic_motions import TC
from torsor.groups.flows import Flow, Scale, ScaleRotation, ScaleSqueeze, Squeeze, Trivial, Tx, Ty
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
    "TC",
    "ActsOnSpace",
    "C",
    "D",
    "E",
    "Element",
    "FiniteGroup",
    "Flow",
    "Group",
    "LieGroup",
    "Lifted",
    "Lorentz",
    "MatrixGroup",
    "O",
    "Product",
    "RestrictedLorentz",
    "S",
    "Scale",
    "ScaleRotation",
    "ScaleSqueeze",
    "Squeeze",
    "T",
    "Trivial",
    "Tx",
    "Ty",
    "parse",
]
