"""More or less symmetry, module in and module out: augmentation, orbit averages, relaxation, controls."""

from torsor.dial.augment import Augment, OrbitAverage
from torsor.dial.conjugate import Conjugate, Conjugated, squeeze
from torsor.dial.relax import relax

__all__ = ["Augment", "Conjugate", "Conjugated", "OrbitAverage", "relax", "squeeze"]
