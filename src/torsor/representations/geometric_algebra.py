"""Geometric algebras with four generators: products, duals and the linear maps that their versors leave alone, for any metric.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), section 2 and appendix A; Roelfs, De Keninck: Graded symmetry
groups (2021), for the action of reflections.

A multivector has 16 components on its last axis, one for each product of distinct generators: 1; e0 e1 e2 e3; e01 e02 e03 e12 e13 e23;
e012 e013 e023 e123; e0123. Everything here is the textbook form, one einsum with a table; layers have faster ones.

Layers hold multivectors slot by slot, `[16, ..., channels]`: the first eight slots are one half of the components, the last eight are
their partners in the same order, so that linear maps are products of whole slots (`to_slots`, `from_slots`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.representations.tables import Array, Table

BLADES: tuple[tuple[int, ...], ...] = tuple(blade for grade in range(5) for blade in combinations(range(4), grade))
"""The generators of each component, in order."""
GRADES: tuple[int, ...] = tuple(map(len, BLADES))
"""The grade of each component."""
_SQUARES = {"0": 0, "+": 1, "-": -1}


def _blade_product(metric: str, left: tuple[int, ...], right: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
    """Sign (or zero) and generators of the product of two blades: sort the generators, contract those that meet."""
    swaps = sum(a > b for a in left for b in right)
    common = set(left) & set(right)
    sign = (-1.0) ** swaps
    for generator in common:
        sign *= _SQUARES[metric[generator]]
    return sign, tuple(sorted(set(left) ^ set(right)))


@Table
def product_table(metric: str) -> Array:
    """[k, i, j]: the component k of the geometric product of the components i and j."""
    table = np.zeros((16, 16, 16))
    for i, left in enumerate(BLADES):
        for j, right in enumerate(BLADES):
            sign, blade = _blade_product(metric, left, right)
            table[BLADES.index(blade), i, j] = sign
    return table


@Table
def wedge_table() -> Array:
    """[k, i, j]: the outer product, which is the product of blades without a common generator, whatever the metric."""
    table: Array = product_table("0000")
    return table


@Table
def dual_table() -> Array:
    """[k, i]: the right complement, e_I ^ dual(e_I) = e0123."""
    dual: Array = wedge_table()[15].T.copy()
    return dual


@Table
def join_table() -> Array:
    """[k, i, j]: dual(dual x ^ dual y)."""
    dual = dual_table()
    table: Array = np.einsum("kc,cab,ai,bj->kij", dual, wedge_table(), dual, dual)
    return table


@Table
def reverse_table() -> Array:
    """The signs of the reverse, which turns the order of generators around."""
    return np.array([(-1.0) ** (grade * (grade - 1) // 2) for grade in GRADES])


@Table
def involution_table() -> Array:
    """The signs of the grade involution, which turns every generator around."""
    return np.array([(-1.0) ** grade for grade in GRADES])


@Table
def inner_table(metric: str) -> Array:
    """The signs of the inner product <rev(x) y>_0, zero for components that it does not see."""
    return np.diagonal(product_table(metric)[0]) * reverse_table()


def slot_components(metric: str) -> tuple[int, ...]:
    """The component in each slot: those without a null e0, then e0 times each; or the first eight, then their complements."""
    if metric[0] == "0":
        first = tuple(blade for blade in BLADES if 0 not in blade)
        second = tuple((0, *blade) for blade in first)
    else:
        first = BLADES[:8]
        second = tuple(tuple(sorted(set(range(4)) - set(blade))) for blade in first)
    return tuple(BLADES.index(blade) for blade in first + second)


@Table
def equivariant_maps(metric: str, reflections: int) -> Array:
    """[m, k, i]: a basis of the linear maps that commute with every versor (reflections = 1) or with every even one (0).

    The five projections on a grade; products of e0 with four of them where e0 is null; without reflections, products with e0123, and where
    e0 is null the three maps among invariants e123 -> 1, e0123 -> 1, e0123 -> e0. Numbers for (0, +, +, +): 9 and 16; for (+, -, -, -): 5
    and 10.
    """
    product, null = product_table(metric), metric[0] == "0"
    grades = [np.diag([float(grade == k) for grade in GRADES]) for k in range(5)]
    maps = list(grades)
    if null:
        maps += [product[:, 1] @ grade for grade in grades[:4]]
    if not reflections:
        maps += [product[:, 15] @ grade for grade in (grades[:4] if null else grades)]
        maps += [_unit(0, 14), _unit(0, 15), _unit(1, 15)] if null else []
    return np.stack(maps)


def _unit(k: int, i: int) -> Array:
    """The matrix that copies the component i to the component k."""
    matrix = np.zeros((16, 16))
    matrix[k, i] = 1
    return matrix


@dataclass(frozen=True)
class GeometricAlgebra:
    """The products of one metric, on the last axis of tensors `[..., 16]`.

    Args:
        metric: the squares of e0 to e3 as four of "0", "+" and "-"; only e0 may be null.

    Raises:
        RepresentationError: the metric is something else.
    """

    metric: str

    def __post_init__(self) -> None:
        if len(self.metric) != 4 or set(self.metric) - set(_SQUARES) or "0" in self.metric[1:]:
            raise RepresentationError(f"metric is {self.metric!r}: give four signs of '0', '+' and '-', of which only the first may be '0'")

    def product(self, x: Float[Tensor, "*shape 16"], y: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 16"]:
        """The geometric product."""
        return _bilinear(product_table.like(x, self.metric), x, y)

    def wedge(self, x: Float[Tensor, "*shape 16"], y: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 16"]:
        """The outer product: the meet of planes, lines and points."""
        return _bilinear(wedge_table.like(x), x, y)

    def join(self, x: Float[Tensor, "*shape 16"], y: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 16"]:
        """dual(dual x ^ dual y): the line through two points, the plane through a line and a point. Odd under reflections."""
        return _bilinear(join_table.like(x), x, y)

    def dual(self, x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 16"]:
        """The right complement; twice is -x on odd grades and x on even ones."""
        return x @ dual_table.like(x).mT

    def reverse(self, x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 16"]:
        """Generators in reverse order."""
        return x * reverse_table.like(x)

    def involute(self, x: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape 16"]:
        """Every generator with the other sign."""
        return x * involution_table.like(x)

    def inner(self, x: Float[Tensor, "*shape 16"], y: Float[Tensor, "*shape 16"]) -> Float[Tensor, "*shape"]:
        """<rev(x) y>_0, invariant under every versor."""
        return (x * y * inner_table.like(x, self.metric)).sum(-1)

    def grade(self, x: Float[Tensor, "*shape 16"], k: int) -> Float[Tensor, "*shape 16"]:
        """The part of grade k."""
        return x * x.new_tensor([float(grade == k) for grade in GRADES])

    def sandwich(self, u: Float[Tensor, "*shape 16"], x: Float[Tensor, "*shape 16"], odd: bool = False) -> Float[Tensor, "*shape 16"]:
        """How a versor acts: u x u^-1, and for an odd one (a product of an odd number of vectors) u involute(x) u^-1."""
        inverse = self.reverse(u) / self.product(u, self.reverse(u))[..., :1]
        return self.product(self.product(u, self.involute(x) if odd else x), inverse)

    # -- slots ----------------------------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> tuple[int, ...]:
        """The component in each slot."""
        return slot_components(self.metric)

    @property
    def slot_grades(self) -> tuple[int, ...]:
        """The grade in each slot."""
        return tuple(GRADES[component] for component in self.slots)

    def to_slots(self, x: Float[Tensor, "*tokens c 16"]) -> Float[Tensor, "16 *tokens c"]:
        """From components on the last axis to slots on the first."""
        return torch.stack([x[..., component] for component in self.slots])

    def from_slots(self, x: Float[Tensor, "16 *tokens c"]) -> Float[Tensor, "*tokens c 16"]:
        """From slots on the first axis to components on the last."""
        slots = self.slots
        return torch.stack([x[slots.index(component)] for component in range(16)], -1)


def _bilinear(table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """sum_ij table[k, i, j] x_i y_j."""
    return torch.einsum("kij,...i,...j->...k", table, x, y)


def outermorphism(matrix: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 16 16"]:
    """How multivectors transform when the generators do by `matrix` (columns are the images of e0 to e3): its exterior powers, whole."""
    blocks = [matrix.new_ones(*matrix.shape[:-2], 1, 1)]
    for grade in range(1, 5):
        blades = torch.tensor([blade for blade in BLADES if len(blade) == grade], device=matrix.device)
        minors = matrix[..., blades[:, None, :, None], blades[None, :, None, :]]
        blocks.append(_determinant(minors))
    rows, start = [], 0
    for block in blocks:
        rows.append(torch.nn.functional.pad(block, (start, 16 - start - block.shape[-1])))
        start += block.shape[-1]
    return torch.cat(rows, -2)


def _determinant(matrix: Float[Tensor, "*batch m m"]) -> Float[Tensor, "*batch"]:
    """Expanded along the first row: exact signs, and derivatives at singular matrices."""
    size = matrix.shape[-1]
    if size == 1:
        return matrix[..., 0, 0]
    columns = [[c for c in range(size) if c != skipped] for skipped in range(size)]
    terms = [(-1) ** c * matrix[..., 0, c] * _determinant(matrix[..., 1:, columns[c]]) for c in range(size)]
    return torch.stack(terms).sum(0)


PROJECTIVE = GeometricAlgebra("0+++")
"""G(3, 0, 1): planes, lines and points of space, and its rigid motions."""
LORENTZ = GeometricAlgebra("+---")
"""G(1, 3): spacetime, e0 is time."""
