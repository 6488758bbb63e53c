"""`relax`: a module in, the same module with a dial out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from torsor.dial.relax.base import Relaxed
from torsor.dial.relax.fixed_inputs import Box, ConstantInputs, FixedInputs, FixedSource, NodeIdentities
from torsor.dial.relax.injection import Signature, WithFixedInputs, fixed_representation, own_representation, port_of
from torsor.dial.relax.penalties import EquivariancePenalized
from torsor.dial.relax.projection import Representations, with_projections
from torsor.dial.relax.relaxed_convolution import with_relaxed_convolutions
from torsor.dial.relax.residual import ParallelResidual, with_residual_layers
from torsor.dial.relax.settings import RelaxSettings
from torsor.errors import ConfigError, SignatureError
from torsor.models.point_clouds import configured
from torsor.representations import Representation
from torsor.signatures import Graphs, Particles, PointClouds
from torsor.symmetry import Symmetry


def relax(
    module: nn.Module,
    *,
    signature: Signature | None = None,
    symmetry: Symmetry | None = None,
    free: nn.Module | None = None,
    layers: Mapping[str, Representations] | None = None,
    settings: RelaxSettings | None = None,
    **changes: Any,
) -> Relaxed:
    """Give an equivariant module a dial from strict to free.

        model = torsor.relax(EGNN("4x0e", "1x1o"), method="fixed-inputs", box=2.0)
        with model.strict():                # the strictly equivariant model with the same weights
            ...

    At strength 0 and inside `strict()` the result computes what the module computes, and its contract is the module's; else the contract
    says "approximate", and `torsor.check` measures how far. "residual", "relaxed-convolution" and "projection" work on a copy.

    Args:
        module: a module with a contract.
        signature: fixed-inputs: what the relaxed model is fed, where the module was built for `extended(signature, ..)` ("concat"). If not
            given, it is the module's own, and the fixed inputs are added to its features.
        symmetry: projection, penalty and relaxed-convolution: the contract of the strict branch; the module's own if not given.
        free: residual: a plain network beside the whole module, for modules without equivariant linear layers.
        layers: projection: (rep_in, rep_out) of plain `nn.Linear` layers by name.
        settings: all settings; those of `RelaxSettings` if not given.
        **changes: fields of the settings, written over them: `method`, `strength` and others.

    Raises:
        ConfigError: the method does not go with the module; the message says what is missing.
        GroupError: there is no contract.
        UnknownNameError: a setting is not a field of `RelaxSettings`.
    """
    settings = configured(RelaxSettings, settings, changes)
    strength, penalty = settings.dial, settings.loss_weight
    if settings.method == "fixed-inputs":
        return _with_fixed_inputs(module, settings, signature)
    if settings.method == "residual":
        if free is not None:
            return ParallelResidual(module, free, strength, settings.prior, penalty)
        return with_residual_layers(module, strength, settings.prior, penalty, settings.places)
    if settings.method == "relaxed-convolution":
        box = Box.everywhere if settings.box == "seen" else settings.make_box
        return with_relaxed_convolutions(
            module, strength, filters=settings.filters, symmetry=symmetry, box=box, dropout=settings.dropout, **settings.functions()
        )
    if settings.method == "projection":
        return with_projections(module, strength, penalty=penalty, layers=layers, symmetry=symmetry)
    return EquivariancePenalized(module, strength, symmetry, penalty)


def _with_fixed_inputs(module: nn.Module, settings: RelaxSettings, signature: Signature | None) -> WithFixedInputs:
    """Fixed inputs beside the features of a module that was built for them, or added to the features."""
    own: Any = getattr(module, "signature", None) if signature is None else signature
    injection = settings.injection or ("add" if signature is None else "concat")
    if own is None or (injection == "concat" and signature is None):
        raise ConfigError(
            f"{type(module).__name__} has to be built for the fixed inputs: give signature=, what the relaxed model is fed, and a module "
            "built for extended(signature, fixed_representation(signature, inputs)); or build both through RelaxedConfig"
        )
    port, rep_own = port_of(own), own_representation(own)
    if injection == "add":
        if rep_own is None:
            raise ConfigError(f"{own} has no features to add fixed inputs to: build the model through RelaxedConfig, with 'concat'")
        fixed = rep_own
    else:
        fixed = fixed_representation(own, settings.inputs, settings.vectors, settings.parity)
    source = _source(own, fixed, settings)
    return WithFixedInputs(module, source, port, injection, rep_own, fixed, settings.loss_weight)


def _source(signature: Signature, fixed: Representation, settings: RelaxSettings) -> FixedSource:
    """Where the fixed inputs of a family come from."""
    common: dict[str, Any] = {"dropout": settings.dropout, "strength": settings.dial}
    if isinstance(signature, PointClouds | Particles):
        dimension = signature.dimension if isinstance(signature, PointClouds) else 4
        return FixedInputs(dimension, fixed.dim, box=settings.make_box(dimension), **settings.functions(), **common)
    if isinstance(signature, Graphs):
        if signature.nodes is None:
            raise SignatureError(f"relaxed cannot serve {signature}: it tells the nodes apart by their place, so it needs nodes=")
        return NodeIdentities(signature.nodes, fixed.dim, **common)
    return ConstantInputs(fixed.dim, **common)
