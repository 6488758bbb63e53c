"""Coordinates in which messages are computed: those of space, or those of each edge.

In a frame whose polar axis is the edge, a kernel couples only components of equal order |m| (Passaro and Zitnick: Reducing SO(3)
convolutions to SO(2), 2023). Components of local features are ordered by order, not by degree: m = 0 of all degrees, then +1, -1, +2, ...

Axes: N nodes, e edges, m components in space, p components in the local frame, c channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.nn.edges import DenseEdges, Edges
from torsor.representations.clebsch_gordan import couplings
from torsor.representations.harmonics import spherical_harmonics
from torsor.representations.wigner import edge_frames


def order_major(l_max: int) -> list[tuple[int, int]]:
    """(degree, order) of each local component."""
    signed = [0] + [sign * m for m in range(1, l_max + 1) for sign in (1, -1)]
    return [(l, m) for m in signed for l in range(abs(m), l_max + 1)]


def degree_major(l_max: int) -> list[tuple[int, int]]:
    """(degree, order) of each component in space."""
    return [(l, m) for l in range(l_max + 1) for m in range(-l, l + 1)]


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
        self._bases: dict[tuple[int, int, tuple[int, ...]], Tensor] = {}

    def basis(self, l: int, k: int, terms: tuple[int, ...]) -> Float[Tensor, "e a j b"]:
        """W_J^{lk} of each edge, for some J."""
        key = (l, k, terms)
        if key not in self._bases:
            y = self.harmonics
            kernels = [torch.tensordot(y[:, j * j : (j + 1) ** 2], couplings.like(y, l, k, j), ([1], [2])) for j in terms]
            self._bases[key] = torch.stack(kernels, 2)
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
        return _product(self._turn(_degree(x)).transpose(1, 2), x)

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
    if torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(flags):
        return True
    return bool(flags.any())


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
