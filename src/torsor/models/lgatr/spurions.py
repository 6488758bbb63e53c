"""Spurions: constant four-vectors and planes among the inputs, by which an equivariant network learns of directions that the data prefer.

A network that sees the beam may treat it apart, and stays exactly equivariant under what leaves the beam alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import ConfigError
from torsor.groups import SO, Group, S
from torsor.representations.geometric_algebra import BLADES
from torsor.signatures import Particles
from torsor.symmetry import Symmetry

Spurion = Literal["time", "beam", "plane"]
_VECTORS = {"time": ((1.0, 0.0, 0.0, 0.0),), "beam": ((1.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, -1.0)), "plane": ()}


def spurion_vectors(spurions: tuple[Spurion, ...]) -> Float[Tensor, "k 4"]:
    """The time direction and the two light-like directions of the beam, the z axis; a plane is no vector.

    Raises:
        ConfigError: a spurion is given twice.
    """
    if len(set(spurions)) != len(spurions):
        raise ConfigError(f"spurions is {list(spurions)}: give each once")
    return torch.tensor([vector for name in spurions for vector in _VECTORS[name]]).reshape(-1, 4)


def spurion_multivectors(spurions: tuple[Spurion, ...]) -> Float[Tensor, "k 16"]:
    """The vectors in grade 1, and the plane across the beam as the bivector e12."""
    found = as_multivectors(spurion_vectors(spurions))
    if "plane" not in spurions:
        return found
    plane = torch.eye(16)[BLADES.index((1, 2))]
    return torch.cat((found, plane[None]))


def as_multivectors(vectors: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 16"]:
    """Four-vectors in grade 1."""
    return torch.nn.functional.pad(vectors, (1, 11))


def contract(signature: Particles, spurions: tuple[Spurion, ...], group: Group) -> Symmetry:
    """What a network with these spurions is equivariant under: the group, the rotations of space, or those about the beam."""
    if spurions:
        group = SO(3) if set(spurions) == {"time"} else SO(2)
    return signature.symmetry(group * S())
