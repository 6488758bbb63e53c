"""More or less symmetry, module in and module out: augmentation, orbit averages, controls."""

from torsor.dial.augment import Augment, OrbitAverage
from torsor.dial.conjugate import Conjugate, Conjugated, squeeze

__all__ = ["Augment", "Conjugate", "Conjugated", "OrbitAverage", "squeeze"]
