"""Finite sets of elements that make draws from a group spread out: all of a finite group, subgroups, and x -> -x.

If g is drawn uniformly, so is g s for every fixed s, and both move with the input. Elements g s_1, ..., g s_m of a subgroup integrate low
degrees exactly, whatever g is.

Axes: m elements.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor

from torsor.groups import SO, TC, FiniteGroup, Group, O
from torsor.groups.motions import Motions
from torsor.groups.planar import Planar
from torsor.groups.polyhedra import plane_rotation
from torsor.groups.translations import homogeneous


def listed(factor: Group) -> Tensor | None:
    """All elements of a finite group, `[m, *element]`; of TC(n) those that leave the origin alone; None where infinite."""
    if isinstance(factor, TC):
        return _about_origin(factor.rotations())
    return factor.elements() if isinstance(factor, FiniteGroup) else None


def minus_one(factor: Group) -> Tensor | None:
    """The element x -> -x of the group; None where it has none. It commutes with all rotations and reflections."""
    if isinstance(factor, Motions):
        inner = minus_one(factor.rotations)
        return None if inner is None else _about_origin(inner)
    if isinstance(factor, SO | O):
        return -factor.identity(dtype=torch.float64) if isinstance(factor, O) or factor.n % 2 == 0 else None
    if isinstance(factor, TC) and factor.n % 2 == 0:
        return _about_origin(factor.rotations()[factor.n // 2])
    return torch.tensor([factor.n // 2, 0]) if isinstance(factor, Planar) and factor.n % 2 == 0 else None


def spread(factor: Group, samples: int) -> Tensor | None:
    """The largest subgroup known here whose order divides the number of samples, `[m, *element]`; None where the group has none.

    Turns of the plane by equal angles, the rotations of regular polyhedra in space, with their reflections under O(d).
    """
    if isinstance(factor, Motions):
        inner = spread(factor.rotations, samples)
        return None if inner is None else _about_origin(inner)
    if isinstance(factor, SO):
        return factor.spread(samples) if factor.n in (2, 3) else None
    if isinstance(factor, O):
        return _with_reflections(factor.n, samples)
    if isinstance(factor, TC):
        return _about_origin(plane_rotation(torch.arange(gcd(factor.n, samples)), gcd(factor.n, samples)))
    if not isinstance(factor, Planar):
        return None
    if samples % factor.order == 0:
        elements: Tensor = factor.elements()
        return elements
    turns = gcd(factor.n, samples)
    return torch.stack((torch.arange(turns) * (factor.n // turns), torch.zeros(turns, dtype=torch.int64)), -1)


def _with_reflections(n: int, samples: int) -> Tensor | None:
    """Rotations, or half as many and their reflections where these are more: by x -> -x in space, of the first axis in the plane."""
    if n not in (2, 3):
        return None
    rotations, half = SO(n).spread(samples), SO(n).spread(samples // 2 if samples % 2 == 0 else 1)
    if len(rotations) >= 2 * len(half) or samples % 2:
        return rotations
    reflection = torch.eye(n, dtype=torch.float64)
    reflection = -reflection if n % 2 else reflection - 2 * torch.diag(reflection[0])
    return torch.cat((half, half @ reflection))


def _about_origin(rotations: Tensor) -> Tensor:
    """Rotations `[*batch, d, d]` as motions that leave the origin where it is."""
    return homogeneous(rotations, rotations.new_zeros(rotations.shape[:-1]))
