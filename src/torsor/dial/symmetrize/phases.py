"""A continuous frame of the rotations of the plane, made of the phases of whatever turns with a frequency.

A complex number c that a rotation by t takes to e^(i k t) c is made real and positive by k rotations. With weights |c|^2 the average over
the rotations of several such numbers is continuous (Dym, Lawrence, Siegel (2024)): where a number vanishes its phase has no limit, but its
weight is zero. Vectors turn once, the coefficients of binary forms of degree d with frequencies d, d - 2, ...

Axes: b batch, k elements, m copies, c numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from torsor.dial.symmetrize.base import Draws, OneFactorSampler, noise_dtype, one_factor
from torsor.dial.symmetrize.spatial import actions_of, summands
from torsor.dial.symmetrize.weighted import shares
from torsor.errors import GroupError
from torsor.groups import SO, Group
from torsor.representations import BinaryForms, Representation, Vectors
from torsor.representations.base import Action
from torsor.representations.tables import Array, Table
from torsor.symmetry import Symmetry


@Table
def phase_table(degree: int) -> Array:
    """Real and imaginary parts `[2, c, d + 1]` of the numbers of a form that turn, frequencies descending: d, d - 2, ... > 0.

    With w = x + i y a form is sum_j c_j w^j conj(w)^(d - j). Group elements act on z = (y, x), so that the inverse of a rotation by t takes
    w to e^(i t) w, and c_j to e^(i (2 j - d) t) c_j.
    """
    turning = [j for j in range(degree, -1, -1) if 2 * j > degree]
    rows = np.zeros((degree + 1, degree + 1), dtype=complex)
    for a in range(degree + 1):
        # x^a y^(d - a) with x = (w + conj w) / 2 and y = (w - conj w) / 2 i, in powers of w
        x, y = np.polynomial.Polynomial([0.5, 0.5]), np.polynomial.Polynomial([0.5j, -0.5j])
        rows[:, a] = (x**a * y ** (degree - a)).coef
    return np.stack((rows[turning].real, rows[turning].imag))


def turning_parts(action: Action, group: Group) -> list[tuple[slice, int]]:
    """Vectors and binary forms on the last axis of a tensor: where each lies, and its degree, -1 for vectors; constants are left out.

    Under SL2 vectors are dual to forms of degree 1.
    """
    degrees = [(place, _degree(part)) for place, part in summands(action, group)]
    return [(place, degree) for place, degree in degrees if degree]


def _degree(part: Representation) -> int:
    """The degree of a form, -1 for a vector and 0 for all else."""
    return -1 if isinstance(part, Vectors) else part.degree if isinstance(part, BinaryForms) else 0


class PhaseFrame(OneFactorSampler):
    """The rotations of the plane that make one of the phases of the input zero, weighted by the squares of the absolute values.

    Exact but where nothing turns, that is where the stabiliser is the whole group, and right up to it there; continuous everywhere else.

    Args:
        symmetry: the contract, with one factor SO(2).
        sources: names of the inputs that make the frame, sums of `Vectors()` and `BinaryForms(d)`; all that have such if not given.

    Raises:
        GroupError: the group has no factor SO(2), or nothing turns.
    """

    exactness = "exact"

    def __init__(self, symmetry: Symmetry, sources: Sequence[str] | None = None) -> None:
        super().__init__(symmetry, one_factor(symmetry, lambda factor: factor == SO(2), "SO(2): a frame of phases needs one"))
        self.parts = turning_inputs(symmetry, self.factor, sources)

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """All rotations with their weights, whatever number of samples is asked for."""
        dtype = noise_dtype(inputs)
        found = [
            _rotations(inputs[name][..., place].to(dtype).reshape(len(inputs[name]), -1, place.stop - place.start), degree)
            for name, parts in self.parts.items()
            if inputs.get(name) is not None
            for place, degree in parts
        ]
        angles, weights = (torch.cat([pair[i] for pair in found], 1) for i in range(2))
        return self.of_factor(inputs, SO(2).exp(angles.unsqueeze(-1)), shares(weights))


def turning_inputs(symmetry: Symmetry, factor: int, sources: Sequence[str] | None) -> dict[str, list[tuple[slice, int]]]:
    """The vectors and forms of each input that has some, by name.

    Raises:
        GroupError: a source that is named, or every input, has none.
    """
    names = tuple(symmetry.inputs) if sources is None else tuple(sources)
    found = {name: turning_parts(actions_of(symmetry, name, factor), symmetry.factors[factor]) for name in names}
    empty = [name for name, parts in found.items() if not parts]
    if len(empty) == len(found) or (sources is not None and empty):
        raise GroupError(f"input {', '.join(empty)} has no vectors or binary forms under {symmetry.factors[factor]}: name another source")
    return {name: parts for name, parts in found.items() if parts}


def _rotations(x: Float[Tensor, "b m dim"], degree: int) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]:
    """The angles that make a number real and positive, and the squares of the absolute values of the numbers, each shared by its angles."""
    if degree < 0:
        real, imaginary, frequencies = x[..., :1], x[..., 1:], [1]
    else:
        table = phase_table.like(x, degree)
        real, imaginary, frequencies = x @ table[0].mT, x @ table[1].mT, list(range(degree, 0, -2))
    squared = real.square() + imaginary.square()
    some = squared > 0
    phase = torch.atan2(imaginary.where(some, 0), real.where(some, 1))
    turns = [2 * torch.pi * torch.arange(k, dtype=x.dtype, device=x.device) for k in frequencies]
    angles = [(phase[..., c : c + 1] + turns[c]) / k for c, k in enumerate(frequencies)]
    weights = [(squared[..., c : c + 1] / k).expand(*squared.shape[:-1], k) for c, k in enumerate(frequencies)]
    return torch.cat(angles, -1).flatten(1), torch.cat(weights, -1).flatten(1)
