"""What a model is told of the atoms of a molecule, and of the bonds between them.

Hutchinson et al.: LieTransformer (2021), section 5.2, and Anderson et al.: Cormorant (2019), for elements times powers of the charge; Fuchs
et al.: SE(3)-Transformers (2020), section 4.3, for elements, atomic number and kinds of bonds.

Axes: m molecules, n atoms of the largest molecule, e elements, p three times as many, f one more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int, Real
from torch import Tensor

AtomFeatures = Literal["elements", "charge powers", "bonds"]
LARGEST_CHARGE = 9
"""Fluorine, the heaviest element of QM9: charges are given as a share of its own."""
BOND_KINDS = ("single", "double", "triple", "aromatic")
MARGIN = 0.15
"""A pair is bonded up to so many angstrom beyond the length of its single bond."""
_LENGTHS = {
    (1, 1): (0.74,),
    (1, 6): (1.09,),
    (1, 7): (1.01,),
    (1, 8): (0.96,),
    (1, 9): (0.92,),
    (6, 6): (1.54, 1.34, 1.20, 1.40),
    (6, 7): (1.47, 1.27, 1.16, 1.34),
    (6, 8): (1.43, 1.21, 1.13, 1.36),
    (6, 9): (1.35,),
    (7, 7): (1.45, 1.25, 1.10, 1.34),
    (7, 8): (1.40, 1.21, 1.06, 1.37),
    (7, 9): (1.36,),
    (8, 8): (1.48, 1.21),
    (8, 9): (1.42,),
    (9, 9): (1.42,),
}
"""Typical lengths in angstrom of the kinds of bonds between two elements, from textbook tables."""


def one_hot(numbers: Int[Tensor, "m n"], elements: tuple[int, ...]) -> Float[Tensor, "m n e"]:
    """Which element an atom is, zero where there is no atom (float64)."""
    return torch.stack([numbers == z for z in elements], -1).double()


def charge_powers(numbers: Int[Tensor, "m n"], elements: tuple[int, ...]) -> Float[Tensor, "m n p"]:
    """Which element an atom is, times 1, Z/9 and (Z/9)^2 (float64): fifteen numbers for the five elements of QM9."""
    charge = (numbers.double() / LARGEST_CHARGE).unsqueeze(-1)
    powers = torch.stack([charge**power for power in range(3)], -1)
    return rearrange(one_hot(numbers, elements).unsqueeze(-1) * powers, "m n e p -> m n (e p)")


def elements_and_number(numbers: Int[Tensor, "m n"], elements: tuple[int, ...]) -> Float[Tensor, "m n f"]:
    """Which element an atom is, and its atomic number (float64)."""
    return torch.cat([one_hot(numbers, elements), numbers.double().unsqueeze(-1)], -1)


def bond_kinds(numbers: Real[Tensor, "m n"], positions: Float[Tensor, "m n 3"]) -> Float[Tensor, "m n n 4"]:
    """Which of `BOND_KINDS` joins two atoms, one-hot, zero where none does.

    The published files of QM9 name no bonds between the atoms they list, so a bond is told from its length: the kind whose typical length
    is nearest, for pairs that are not much longer than a single bond. That is a reading of the geometry, not of the chemistry: a bond
    beside a conjugated system may be called aromatic.

    Args:
        numbers: atomic numbers, 0 where there is no atom; elements beyond fluorine have no bonds.
        positions: in angstrom.
    """
    table = _length_table().to(positions)
    z = numbers.long().clamp(max=LARGEST_CHARGE + 1)
    typical = table[z.unsqueeze(2), z.unsqueeze(1)]
    distance = (positions.unsqueeze(2) - positions.unsqueeze(1)).square().sum(-1, keepdim=True).sqrt()
    kind = torch.nn.functional.one_hot((typical - distance).abs().argmin(-1), len(BOND_KINDS))
    other = ~torch.eye(numbers.shape[1], dtype=torch.bool, device=positions.device)[..., None]
    return (kind * ((distance <= typical[..., :1] + MARGIN) & other)).to(positions.dtype)


@lru_cache(maxsize=1)
def _length_table() -> Tensor:
    """Typical lengths by the two atomic numbers and the kind; a kind that does not exist is out of reach, a pair that has none too far."""
    table = torch.full((LARGEST_CHARGE + 2, LARGEST_CHARGE + 2, len(BOND_KINDS)), 1e3, dtype=torch.float64)
    table[..., 0] = -1e3
    for (first, second), lengths in _LENGTHS.items():
        row = torch.tensor(lengths, dtype=torch.float64)
        table[first, second, : len(lengths)] = table[second, first, : len(lengths)] = row
    return table
