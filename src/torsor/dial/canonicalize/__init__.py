"""Canonicalisers: one group element for each input, which puts it upright before a network sees it.

phi(x) = g(x) f(g(x)^-1 x), with g(h x) = h g(x)

They are samplers that give one element and need no noise, so `Symmetrized(network, canonicaliser)` costs one call of the network, and the
way back for outputs of every kind comes from the contract. Two things cannot be had (Kaba, Mondal, Zhang, Bengio, Ravanbakhsh: Equivariance
with Learned Canonicalization Functions (2023); Dym, Lawrence, Siegel (2024)): an input with symmetries has no upright position of its own,
there the output is right only up to one of them ("relaxed"); and the position jumps somewhere. Frames and noise mend the first, weighted
frames the second (`torsor.dial.symmetrize`). A canonicaliser that learns can be kept near the identity for a pretrained network:
`prior=` of `Symmetrized`, or of the energies.
"""

from torsor.dial.canonicalize.energy import EnergyCanonical, EnergyFrame
from torsor.dial.canonicalize.kempf_ness import KempfNess
from torsor.dial.canonicalize.learned import LearnedCanonical
from torsor.dial.canonicalize.orders import SortedCanonical
from torsor.dial.canonicalize.pca import PCACanonical

__all__ = ["EnergyCanonical", "EnergyFrame", "KempfNess", "LearnedCanonical", "PCACanonical", "SortedCanonical"]
