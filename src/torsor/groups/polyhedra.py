"""Finite groups of rotations: cyclic groups of the plane and the rotation groups of the regular polyhedra, exact to the last digit.

Their randomly rotated copies are low-variance samples of the Haar measure: they integrate the low degrees exactly.
"""

from functools import cache
from itertools import permutations, product
from math import sqrt
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torsor.errors import unknown_name

ORDERS = MappingProxyType({"klein": 4, "tetrahedral": 12, "octahedral": 24, "icosahedral": 60})


def plane_rotation(turns: Int[Tensor, "*batch"], n: int) -> Float[Tensor, "*batch 2 2"]:
    """Rotation by 2 pi turns / n in float64; whole quarter turns have the entries 0, 1 and -1 exactly."""
    quarters = (4 * turns).div(n, rounding_mode="floor")
    angle = (4 * turns - quarters * n).double() * (torch.pi / 2 / n)
    c, s = angle.cos(), angle.sin()
    pairs = ((c, s), (-s, c), (-c, -s), (s, -c))
    table = torch.stack([torch.stack(pair, dim=-1) for pair in pairs], dim=-2)
    first = table.gather(-2, quarters.remainder(4)[..., None, None].expand(*turns.shape, 1, 2)).squeeze(-2)
    x, y = first.unbind(-1)
    return torch.stack((torch.stack((x, -y), dim=-1), torch.stack((y, x), dim=-1)), dim=-2)


def polyhedral(name: str) -> Float[Tensor, "order 3 3"]:
    """All rotations of a polyhedron in float64, identity first: tetrahedral, octahedral, icosahedral or klein.

    The Klein group holds the half turns about the three axes.


    Raises:
        UnknownNameError: there is no such group.
    """
    if name not in ORDERS:
        raise unknown_name("finite subgroup of SO(3)", name, ORDERS)
    return _table(name).clone()


@cache
def _table(name: str) -> Tensor:
    if name == "icosahedral":
        return _icosahedral()
    signed = [_signed_permutation(p, s) for p in permutations(range(3)) for s in product((1.0, -1.0), repeat=3)]
    rotations = torch.stack([m for m in signed if torch.linalg.det(m) > 0])
    if name == "octahedral":
        return rotations
    # the even permutations of the axes keep a tetrahedron, the trivial one belongs to the half turns
    unsigned = rotations.abs()
    if name == "tetrahedral":
        return rotations[torch.linalg.det(unsigned) > 0]
    return rotations[unsigned.diagonal(dim1=-2, dim2=-1).sum(-1) == 3]


def _signed_permutation(places: tuple[int, ...], factors: tuple[float, ...]) -> Tensor:
    matrix = torch.zeros(3, 3, dtype=torch.float64)
    matrix[list(places), list(range(3))] = torch.tensor(factors, dtype=torch.float64)
    return matrix


def _icosahedral() -> Tensor:
    """Every rotation is one of the tetrahedron times a power of a fifth of a turn: A5 = A4 C5. Entries: 0, 1, 1/2, phi/2, 1/(2 phi)."""
    phi = (1 + sqrt(5)) / 2
    fifth = torch.tensor([[1, -phi, 1 / phi], [phi, 1 / phi, -1], [1 / phi, 1, phi]], dtype=torch.float64) / 2
    powers = torch.stack([torch.linalg.matrix_power(fifth, k) for k in range(5)])
    rotations = (_table("tetrahedral")[:, None] @ powers).flatten(0, 1)
    sizes = torch.tensor([0, 1, 0.5, (1 + sqrt(5)) / 4, (sqrt(5) - 1) / 4], dtype=torch.float64)
    entries = torch.cat((sizes, -sizes))
    return entries[(rotations[..., None] - entries).abs().argmin(-1)]
