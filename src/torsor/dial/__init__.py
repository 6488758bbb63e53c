"""More or less symmetry, module in and module out: augmentation, averages over groups, relaxation, controls."""

from torsor.dial.augment import Augment, AugmentedBatches, OrbitAverage, augment
from torsor.dial.conjugate import Conjugate, Conjugated, squeeze
from torsor.dial.relax import relax
from torsor.dial.symmetrize import Symmetrized

__all__ = ["Augment", "AugmentedBatches", "Conjugate", "Conjugated", "OrbitAverage", "Symmetrized", "augment", "relax", "squeeze"]
