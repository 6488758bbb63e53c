"""Symmetrise any network: average it over group elements that move with its input.

`torsor.symmetrize` chooses the parts of this room; here they are one by one. Samplers say where group elements come from, `Symmetrized`
averages over them.
"""

from torsor.dial.symmetrize.averages import Enumerated, Haar
from torsor.dial.symmetrize.base import Draws, Sampler
from torsor.dial.symmetrize.chain import Chained
from torsor.dial.symmetrize.controls import Identity, Phased, SameNoise
from torsor.dial.symmetrize.frames import PCAFrame, RandomPCAFrame
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.node_keys import DistanceKeys, LaplacianKeys, NodeKeys, ValueKeys
from torsor.dial.symmetrize.orders import OrderFrame, RandomOrderFrame
from torsor.dial.symmetrize.phases import PhaseFrame
from torsor.dial.symmetrize.symdiff import Symdiff
from torsor.dial.symmetrize.weighted import WeightedFrame, WeightedOrderFrame, directions_in_general_position

__all__ = [
    "Chained",
    "DistanceKeys",
    "Draws",
    "Enumerated",
    "Haar",
    "Identity",
    "LaplacianKeys",
    "NodeKeys",
    "OrderFrame",
    "PCAFrame",
    "PhaseFrame",
    "Phased",
    "RandomOrderFrame",
    "RandomPCAFrame",
    "SameNoise",
    "Sampler",
    "Symdiff",
    "Symmetrized",
    "ValueKeys",
    "WeightedFrame",
    "WeightedOrderFrame",
    "directions_in_general_position",
]
