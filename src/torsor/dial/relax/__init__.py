"""Relax an equivariant model: symmetry where the data have it, and a measured way around it where they do not.

Every method has one number, `strength`, from strict to free, and a strict branch with the same weights.
"""

from torsor.dial.relax.base import Dial, Relaxed, set_strength, strict
from torsor.dial.relax.config import RelaxedConfig
from torsor.dial.relax.fixed_inputs import Box, ConstantInputs, FixedInputs, FixedSource, NodeIdentities, PixelInputs
from torsor.dial.relax.injection import Port, WithFixedInputs, extended, fixed_representation
from torsor.dial.relax.penalties import EquivariancePenalized, equivariance_penalty
from torsor.dial.relax.projection import AverageProjection, BasisProjection, ProjectedLinear, Projection, project_, projection
from torsor.dial.relax.region import RegionReport, deviation, region_report
from torsor.dial.relax.relaxed_convolution import GridWeights, PositionWeights, RelaxedConvolution
from torsor.dial.relax.residual import ParallelResidual, ResidualLayer
from torsor.dial.relax.settings import RelaxSettings
from torsor.dial.relax.verb import relax

__all__ = [
    "AverageProjection",
    "BasisProjection",
    "Box",
    "ConstantInputs",
    "Dial",
    "EquivariancePenalized",
    "FixedInputs",
    "FixedSource",
    "GridWeights",
    "NodeIdentities",
    "ParallelResidual",
    "PixelInputs",
    "Port",
    "PositionWeights",
    "ProjectedLinear",
    "Projection",
    "RegionReport",
    "RelaxSettings",
    "Relaxed",
    "RelaxedConfig",
    "RelaxedConvolution",
    "ResidualLayer",
    "WithFixedInputs",
    "deviation",
    "equivariance_penalty",
    "extended",
    "fixed_representation",
    "project_",
    "projection",
    "region_report",
    "relax",
    "set_strength",
    "strict",
]
