"""The relaxed model as an entry of the registry: a model, a method and a strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import nn

from torsor.config import named_from_mapping
from torsor.dial.relax.base import Relaxed
from torsor.dial.relax.free_twins import has_equivariant_layers
from torsor.dial.relax.injection import Signature, extended, fixed_representation
from torsor.dial.relax.settings import RelaxSettings
from torsor.dial.relax.verb import relax
from torsor.models import REGISTRY
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds, check_family

STRICT: Mapping[type, str] = {PointClouds: "egnn", Particles: "lgatr-slim", Graphs: "gin", FeatureVectors: "equivariant-mlp"}
"""The model of each family where none is named."""
PLAIN: Mapping[type, str] = {PointClouds: "transformer", Particles: "transformer", Graphs: "mlp", FeatureVectors: "mlp"}
"""The plain network of each family beside a model without equivariant linear layers."""


@dataclass(frozen=True)
class RelaxedConfig(RelaxSettings):
    """Settings of a relaxed model: those of `RelaxSettings`, and these.

    Args:
        model: name and settings of the model; a strict one of the family if not given: "egnn", "lgatr-slim", "gin" ("mlp", which has no
            symmetry, for pairs of nodes) or "equivariant-mlp".
        free: residual: name and settings of a plain network beside the whole model. If not given, each equivariant linear layer has a free
            weight of its own, or a plain network of the family stands beside a model that has no such layers.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds, Particles, Graphs, FeatureVectors)
    model: dict[str, Any] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)

    def build(self, signature: Signature) -> Relaxed:
        """The relaxed model for a task's signature.

        Raises:
            ConfigError: the method does not go with the model.
            SignatureError: the model cannot serve the signature.
        """
        if self.method == "fixed-inputs":
            concat = self.injection != "add"
            fixed = fixed_representation(signature, self.inputs, self.vectors, self.parity) if concat else None
            inner = _strict_model(self.model, signature if fixed is None else extended(signature, fixed))
            return relax(inner, signature=signature, settings=replace(self, injection="concat" if concat else "add"))
        module = _strict_model(self.model, signature)
        if self.method != "residual":
            return relax(module, settings=self)
        if self.free or not has_equivariant_layers(module):
            return relax(module, free=_registered({"name": PLAIN[type(signature)], **self.free}, signature), settings=self)
        return relax(module, settings=replace(self, places={**_places(signature), **self.places}))


def _strict_model(model: Mapping[str, Any], signature: Signature) -> nn.Module:
    """The model that is named, or a strict one of the family."""
    if model:
        return _registered(model, signature)
    pairs = isinstance(signature, Graphs) and signature.level == "pair"
    return _registered({"name": "mlp" if pairs else STRICT[type(signature)]}, signature)


def _registered(model: Mapping[str, Any], signature: Signature) -> nn.Module:
    """A registered model for a signature."""
    config = named_from_mapping(REGISTRY, model, "relaxed model")
    check_family(str(model["name"]), config, signature, REGISTRY)
    built: nn.Module = config.build(signature)
    return built


def _places(signature: Signature) -> dict[str, int]:
    """Size of the largest set, where the signature bounds it; models call it n."""
    size = getattr(signature, "points", None) or getattr(signature, "nodes", None)
    return {"n": size} if size else {}
