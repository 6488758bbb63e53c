"""Registered networks that a symmetrised one is made of: the network itself, and what corrects the uniform draws of `Symdiff`.

Axes: b batch, n places, w numbers of a place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from torsor.config import named_from_mapping
from torsor.dial.symmetrize.spatial import masked_mean
from torsor.groups import LieGroup, S, T
from torsor.models import REGISTRY
from torsor.representations import Irreps, Trivial
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds, check_family
from torsor.symmetry import Symmetry

Signature = PointClouds | Particles | Graphs | FeatureVectors

PLAIN: Mapping[type, str] = {PointClouds: "mlp", Particles: "transformer", Graphs: "mlp", FeatureVectors: "mlp"}
"""The network of each family if none is named: with as little symmetry as there is."""


def registered(model: Mapping[str, Any], signature: Signature) -> nn.Module:
    """A registered network for a signature; the plain one of the family if it has no name.

    Raises:
        SignatureError: it cannot serve the signature.
    """
    named = {"name": PLAIN[type(signature)], **model}
    config = named_from_mapping(REGISTRY, named, "symmetrized model")
    check_family(str(named["name"]), config, signature, REGISTRY)
    built: nn.Module = config.build(signature)
    return built


class Corrections(nn.Module):
    """A registered network as the one of `Symdiff`: scores of the places, and coordinates of what turns as a mean over the places.

    Args:
        model: name and settings; a plain network of the family if there is no name.
        signature: of the network that is symmetrised.
        symmetry: the contract that is wanted.
        moving: for each factor whether it is drawn.

    Raises:
        SignatureError: the network cannot serve the signature.
    """

    def __init__(self, model: Mapping[str, Any], signature: Signature, symmetry: Symmetry, moving: tuple[bool, ...]) -> None:
        super().__init__()
        drawn = [f for f, moves in zip(symmetry.factors, moving, strict=True) if moves and not isinstance(f, T)]
        self.scored = tuple(isinstance(f, S) for f in drawn)
        self.widths = tuple(f.dim if isinstance(f, LieGroup) else 1 for f in drawn)
        self.network = registered(model, _numbers_of_places(signature, sum(self.widths)))

    def forward(self, mask: Tensor | None = None, **inputs: Tensor) -> tuple[Tensor, ...]:
        """Scores `[b, n]` or coordinates `[b, dim]` for each factor that is drawn."""
        numbers = self.network(**inputs) if mask is None else self.network(**inputs, mask=mask)
        parts = torch.split(numbers, list(self.widths), dim=-1)
        return tuple(part.squeeze(-1) if scored else _pooled(part, mask) for part, scored in zip(parts, self.scored, strict=True))


def _pooled(numbers: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the valid places, where there are places."""
    if numbers.ndim == 2:
        return numbers
    return masked_mean(numbers, torch.ones(numbers.shape[:2], dtype=torch.bool, device=numbers.device) if mask is None else mask)


def _numbers_of_places(signature: Signature, width: int) -> Signature:
    """The signature with so many numbers of each place for an output; of the whole vector where there are no places."""
    if isinstance(signature, PointClouds):
        return replace(signature, rep_out=Irreps(f"{width}x0e"), pool=None)
    if isinstance(signature, Particles):
        return replace(signature, scalars_out=width, vectors_out=0, pool=None)
    if isinstance(signature, Graphs):
        return replace(signature, outputs=width, level="node")
    return FeatureVectors(signature.group, signature.rep_in, Trivial(width))
