"""Symmetrise any network: average it over group elements that move with its input.

`torsor.symmetrize` chooses the parts of this room; here they are one by one. Samplers say where group elements come from, `Symmetrized`
averages over them.
"""

from torsor.dial.symmetrize.averages import Enumerated, Haar
from torsor.dial.symmetrize.base import Draws, Sampler
from torsor.dial.symmetrize.controls import Identity, Phased, SameNoise
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.symdiff import Symdiff

__all__ = ["Draws", "Enumerated", "Haar", "Identity", "Phased", "SameNoise", "Sampler", "Symdiff", "Symmetrized"]
