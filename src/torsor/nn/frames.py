"""Coordinates in which messages are computed: those of space, or those of each edge.

In a frame whose polar axis is the edge, a kernel couples only components of equal order |m| (Passaro and Zitnick: Reducing SO(3)
convolutions to SO(2), 2023). Components of local features are ordered by order, not by degree: m = 0 of all degrees, then +1, -1, +2, ...

Axes: N nodes, e edges, m components in space, p components in the local frame, c channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import isqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.nn.edges import DenseEdges, Edges
from torsor.nn.sender_contraction import SenderOrder
from torsor.representations.clebsch_gordan import couplings
from torsor.representations.harmonics import spherical_harmonics
from torsor.representations.tables import Array, Table
from torsor.representations.wigner import edge_frames


def order_major(l_max: int) -> list[tuple[int, int]]:
    """(degree, order) of each local component."""
    signed = [0] + [sign * m for m in range(1, l_max + 1) for sign in (1, -1)]
    return [(l, m) for m in signed for l in range(abs(m), l_max + 1)]


def degree_major(l_max: int) -> list[tuple[int, int]]:
    """(degree, order) of each component in space."""
    return [(l, m) for l in range(l_max + 1) for m in range(-l, l + 1)]


@Table
def basis_table(l: int, k: int, step: int) -> Array:
    """Couplings from the harmonics of all J = |l - k|..l + k to the kernels of every `step`-th of them, `[harmonics, a b j]`."""
    chosen = range(abs(l - k), l + k + 1, step)
    table = np.zeros(((l + k + 1) ** 2 - (l - k) ** 2, 2 * l + 1, 2 * k + 1, len(chosen)))
    for place, j in enumerate(chosen):
        rows = slice(j * j - (l - k) ** 2, (j + 1) ** 2 - (l - k) ** 2)
        table[rows, :, :, place] = couplings(l, k, j).transpose(2, 0, 1)
    return table.reshape(len(table), -1)


@Table
def stacked_table(degrees: str, k: int, step: int) -> Array:
    """`basis_table` of several degrees l one after the other on both axes a and j, zero between different ones."""
    each = [int(l) for l in degrees.split()]
    tables = [basis_table(l, k, step).reshape((l + k + 1) ** 2 - (l - k) ** 2, 2 * l + 1, 2 * k + 1, -1) for l in each]
    stacked = np.zeros(((max(each) + k + 1) ** 2, sum(2 * l + 1 for l in each), 2 * k + 1, sum(t.shape[-1] for t in tables)))
    row, column = 0, 0
    for l, table in zip(each, tables, strict=True):
        stacked[(l - k) ** 2 : (l + k + 1) ** 2, row : row + 2 * l + 1, :, column : column + table.shape[-1]] = table
        row, column = row + 2 * l + 1, column + table.shape[-1]
    return stacked.reshape(len(stacked), -1)


class Frames(ABC):
    """Between space and the local coordinates of each edge.

    Args:
        edges: the edges.
    """

    def __init__(self, edges: Edges) -> None:
        self.edges = edges

    @staticmethod
    @abstractmethod
    def components(l_max: int) -> list[tuple[int, int]]:
        """(degree, order) of each local component."""

    @abstractmethod
    def enter(self, x: Float[Tensor, "e m c"]) -> Float[Tensor, "e p c"]:
        """Turn features of edges into the frames."""

    @abstractmethod
    def receive(self, x: Float[Tensor, "N m c"]) -> Float[Tensor, "e p c"]:
        """Features of each edge's receiver, in its frame."""

    @abstractmethod
    def total(self, y: Float[Tensor, "e p c"]) -> Float[Tensor, "N m c"]:
        """Turn messages back into space and add up those that a node receives."""


class SpaceFrames(Frames):
    """Local coordinates are those of space; kernels are combinations of spherical harmonics.

    Args:
        edges: the edges.
        l_max: highest degree of features; harmonics go up to 2 l_max.
    """

    def __init__(self, edges: Edges, l_max: int) -> None:
        super().__init__(edges)
        # edges between points in the same place have the zero vector, whose harmonics are those of degree 0 alone
        self.harmonics = spherical_harmonics(2 * l_max, edges.vectors, normalization="integral")
        self._bases: dict[tuple[int, int, int], Tensor] = {}

    def basis(self, l: int, k: int, step: int = 1) -> Float[Tensor, "e a b j"]:
        """W_J^{lk} of each edge, for J = |l - k|, |l - k| + step, .., l + k."""
        key = (l, k, step)
        if key not in self._bases:
            y = self.harmonics[:, (l - k) ** 2 : (l + k + 1) ** 2]
            self._bases[key] = torch.unflatten(y @ basis_table.like(y, l, k, step), 1, (2 * l + 1, 2 * k + 1, -1))
        return self._bases[key]

    @staticmethod
    def components(l_max: int) -> list[tuple[int, int]]:
        """As in space."""
        return degree_major(l_max)

    def enter(self, x: Float[Tensor, "e m c"]) -> Float[Tensor, "e p c"]:
        """Nothing to turn."""
        return x

    def receive(self, x: Float[Tensor, "N m c"]) -> Float[Tensor, "e p c"]:
        """Features of each edge's receiver."""
        return self.edges.receive(x)

    def total(self, y: Float[Tensor, "e p c"]) -> Float[Tensor, "N m c"]:
        """Add up the messages that a node receives."""
        return self.edges.total(y)


class SenderFrames(SpaceFrames):
    """The coordinates of space again, with the edges also at hand in the order of their senders, for `contract_by_sender`.

    Args:
        edges: the edges.
        l_max: highest degree of features.
    """

    def __init__(self, edges: Edges, l_max: int) -> None:
        super().__init__(edges, l_max)
        self.order = SenderOrder.of(edges.source, edges.nodes)
        self._at_places = self.harmonics.index_select(0, self.order.filled)
        self._together: dict[tuple[str, int, int], Tensor] = {}

    def kernels(self, degrees: tuple[int, ...], k: int, step: int = 1) -> Float[Tensor, "T a b j"]:
        """`basis` of several degrees l one after the other on both axes a and j, at the places of the order."""
        key = (" ".join(map(str, degrees)), k, step)
        if key not in self._together:
            highest = max(degrees)
            flat = self._at_places[:, : (highest + k + 1) ** 2] @ stacked_table.like(self._at_places, *key)
            self._together[key] = torch.unflatten(flat, 1, (sum(2 * l + 1 for l in degrees), 2 * k + 1, -1))
        return self._together[key]

    @staticmethod
    def serves(edges: Edges) -> bool:
        """Whether the order of these edges can be known: not where tensors are traced or batched by `torch.func`."""
        return not _abstract(edges.vectors)


class EdgeFrames(Frames):
    """Local coordinates have their polar axis along the edge.

    `coincident` marks edges without a direction, None where there are none.

    Args:
        edges: the edges.
        l_max: highest degree of features.
    """

    def __init__(self, edges: Edges, l_max: int) -> None:
        super().__init__(edges)
        self.coincident = edges.coincident if _any(edges.coincident) else None
        blocks = edge_frames(l_max, edges.directions)
        size = (l_max + 1) ** 2
        rows = [pad(block, (l * l, size - (l + 1) ** 2)) for l, block in enumerate(blocks)]
        self._matrix = torch.cat(rows, -2)
        self._turns: dict[int, Tensor] = {}
        self._spread: dict[int, Tensor] = {}

    @staticmethod
    def components(l_max: int) -> list[tuple[int, int]]:
        """By order."""
        return order_major(l_max)

    def _turn(self, l_max: int) -> Float[Tensor, "e m p"]:
        """D(R_u), with columns by order."""
        if l_max not in self._turns:
            columns = torch.tensor([l * l + l + m for l, m in order_major(l_max)], device=self._matrix.device)
            self._turns[l_max] = self._matrix[:, : len(columns)].index_select(-1, columns)
        return self._turns[l_max]

    def _turn_all(self, l_max: int) -> Float[Tensor, "N m kp"]:
        """The turns of all edges that a node receives, side by side: summing over edges is then part of the matrix product."""
        assert isinstance(self.edges, DenseEdges)
        if l_max not in self._spread:
            shape = (self.edges.nodes, self.edges.neighbours)
            self._spread[l_max] = torch.unflatten(self._turn(l_max), 0, shape).transpose(1, 2).flatten(2)
        return self._spread[l_max]

    def enter(self, x: Float[Tensor, "e m c"]) -> Float[Tensor, "e p c"]:
        """D(R_u)^T x."""
        if x.shape[-2] == 1:
            return x
        turn = self._turn(_degree(x)).transpose(1, 2)
        if x.shape[-2] > 4:
            return _product(turn, x)
        # where the product is its definition, leaving the scalar out saves nearly half of it
        scalar, vector = torch.split(x.to(turn.dtype), [1, 3], 1)
        return torch.cat([scalar, _product(turn[:, 1:, 1:], vector)], 1)

    def receive(self, x: Float[Tensor, "N m c"]) -> Float[Tensor, "e p c"]:
        """D(R_u)^T x of the receiver."""
        if not isinstance(self.edges, DenseEdges):
            return self.enter(self.edges.receive(x))
        local = _product(self._turn_all(_degree(x)).transpose(1, 2), x)
        return torch.unflatten(local, 1, (self.edges.neighbours, -1)).flatten(0, 1)

    def total(self, y: Float[Tensor, "e p c"]) -> Float[Tensor, "N m c"]:
        """Sum of D(R_u) y."""
        if not isinstance(self.edges, DenseEdges):
            return self.edges.total(_product(self._turn(_degree(y)), y))
        together = torch.unflatten(y, 0, (self.edges.nodes, self.edges.neighbours)).flatten(1, 2)
        return _product(self._turn_all(_degree(y)), together)


def _any(flags: Tensor) -> bool:
    """Whether a flag is set; yes where the answer cannot be known because tensors are traced or batched by `torch.func`."""
    return _abstract(flags) or bool(flags.any())


def _abstract(x: Tensor) -> bool:
    return torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(x)


def _degree(x: Tensor) -> int:
    return isqrt(x.shape[-2]) - 1


def _product(turn: Tensor, x: Tensor) -> Tensor:
    """Batched matrix product in the precision of the geometry, also under autocast."""
    x = x.to(turn.dtype)
    if turn.shape[-1] <= 4 and turn.shape[-2] <= 4:
        # so small that a batched matrix product is slower than its definition
        return (turn[..., None] * x[..., None, :, :]).sum(-2)
    with torch.autocast(x.device.type, enabled=False):
        return turn @ x
