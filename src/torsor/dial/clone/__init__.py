"""Symmetry as a supervised learning task: imitate an equivariant layer with a plain one, then keep, bend or break what it learned."""

from torsor.dial.clone.anchors import AnchorSettings
from torsor.dial.clone.card import CloneCard, card_of, load_clone, save_clone
from torsor.dial.clone.cloning import clone
from torsor.dial.clone.convolutions import CircularConvolution, GroupConvolution, LiftingConvolution, PlaneFunctions
from torsor.dial.clone.densify import Dense, densify, densify_from_samples
from torsor.dial.clone.laws import Examples, Gaussian, matched
from torsor.dial.clone.loop import CloneSettings
from torsor.dial.clone.network import ClonedNetwork, layer_laws, layer_teachers
from torsor.dial.clone.quality import Probe, Quality
from torsor.dial.clone.students import (
    STUDENTS,
    BilinearConfig,
    EntryTransformerConfig,
    Homogeneous,
    HypernetworkConfig,
    LowRankConfig,
    MLPStudentConfig,
)
from torsor.dial.clone.teachers import (
    BasisLayer,
    DeepSets,
    ExchangeableMatrix,
    FixedTeacher,
    ModuleTeacher,
    Teacher,
    dense_teacher,
    gated_teacher,
    linear_teacher,
)

__all__ = [
    "STUDENTS",
    "AnchorSettings",
    "BasisLayer",
    "BilinearConfig",
    "CircularConvolution",
    "CloneCard",
    "CloneSettings",
    "ClonedNetwork",
    "DeepSets",
    "Dense",
    "EntryTransformerConfig",
    "Examples",
    "ExchangeableMatrix",
    "FixedTeacher",
    "Gaussian",
    "GroupConvolution",
    "Homogeneous",
    "HypernetworkConfig",
    "LiftingConvolution",
    "LowRankConfig",
    "MLPStudentConfig",
    "ModuleTeacher",
    "PlaneFunctions",
    "Probe",
    "Quality",
    "Teacher",
    "card_of",
    "clone",
    "dense_teacher",
    "densify",
    "densify_from_samples",
    "gated_teacher",
    "layer_laws",
    "layer_teachers",
    "linear_teacher",
    "load_clone",
    "matched",
    "save_clone",
]
