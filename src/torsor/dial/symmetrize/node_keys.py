"""What tells the items of a set or the nodes of a graph apart: rows of numbers that do not depend on the order of the items.

Items are put in the order of their rows. Rows are whole numbers, so that rounding cannot decide a tie.

Axes: b batch, n items, q numbers of an item.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from torsor.errors import GroupError, ShapeError

RESOLUTION = 0.01
"""Numbers are compared to two decimals."""
OFF_CENTRE = 1e-6
"""Shifts the borders between rounded numbers away from such values as 0.125, where rounding errors would decide."""
SAME_EIGENVALUE = 1e-6
"""Eigenvalues of a Laplacian nearer than this part of the largest are one."""


def rounded(x: Float[Tensor, "*shape"], resolution: float = RESOLUTION) -> Int64[Tensor, "*shape"]:
    """The numbers in units of the resolution, as whole numbers; what is not finite counts as very large."""
    return torch.nan_to_num(x.double() / resolution + OFF_CENTRE, nan=1e15, posinf=1e15, neginf=-1e15).clamp(-1e15, 1e15).round().long()


class NodeKeys(ABC):
    """Rows of whole numbers for each item: `keys(p x) = p keys(x)` for permutations p, and invariant under everything else.

    Args:
        source: name of the input that they are made of; `usual` if not given.
        resolution: numbers are compared in units of it.
    """

    usual: ClassVar[str]
    """The input that such rows are made of in the signatures of graphs and clouds."""

    def __init__(self, source: str | None = None, resolution: float = RESOLUTION) -> None:
        self.source = self.usual if source is None else source
        self.resolution = resolution

    @abstractmethod
    def __call__(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n q"]:
        """The rows of all items; those of items that are not valid do not matter."""

    def relations(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n n"] | None:  # noqa: ARG002
        """Whole numbers for each pair of items, permuted with them, that say how one stands to the other; None where there are none."""
        return None

    def read(self, inputs: Mapping[str, Any]) -> Tensor:
        """The input that the rows are made of, without its graph and in double precision.

        Raises:
            GroupError: it is not among the inputs.
        """
        if inputs.get(self.source) is None:
            raise GroupError(f"{type(self).__name__} needs the input {self.source!r}: give it, or name another source")
        x: Tensor = inputs[self.source]
        return x.detach().double()


class LaplacianKeys(NodeKeys):
    """Absolute values of the eigenvectors of the graph Laplacian, smallest eigenvalue first.

    An eigenvalue that is repeated has a space of eigenvectors: each of its columns holds the norms of the rows of a basis, which do not
    depend on the basis. The Laplacian is that of the undirected graph, D - (A + A^T) / 2.

    Puny et al. (2022), section 3.2, with row norms as in Kim et al. (2023).

    Args:
        source: name of the adjacency, `[b, n, n]`; "adjacency" if not given.
        resolution: numbers are compared in units of it.
    """

    usual = "adjacency"

    def __call__(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n q"]:
        """The rows of the matrix of eigenvectors."""
        adjacency = self._undirected(inputs, valid)
        # places without a node come last, each with an eigenvalue far from all others, so that they change nothing for the nodes
        beyond = 4 * adjacency.abs().sum((-1, -2)).unsqueeze(-1) + 1 + torch.arange(adjacency.shape[-1], device=adjacency.device)
        values, vectors = torch.linalg.eigh(torch.where(valid, adjacency.sum(-1), beyond).diag_embed() - adjacency)
        largest = values.where(values < beyond[:, :1], 0).abs().amax(-1, keepdim=True)
        apart = values.diff(dim=-1) > SAME_EIGENVALUE * largest.clamp(min=1e-300)
        cluster = torch.nn.functional.pad(apart.cumsum(-1), (1, 0))
        same = (cluster.unsqueeze(1) == cluster.unsqueeze(2)).double()
        return rounded((vectors.square() @ same).sqrt(), self.resolution)

    def relations(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n n"]:
        """The heat that flows from one node to another, exp(-L), in thousandths of the resolution."""
        adjacency = self._undirected(inputs, valid)
        laplacian = adjacency.sum(-1).diag_embed() - adjacency
        return rounded(torch.linalg.matrix_exp(-laplacian), self.resolution / 1000)

    def _undirected(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Float[Tensor, "b n n"]:
        """The adjacency without directions, zero where there is no node."""
        adjacency = self.read(inputs)
        if adjacency.ndim != 3 or adjacency.shape[-1] != adjacency.shape[-2]:
            raise ShapeError(f"{self.source} is {list(adjacency.shape)}: a Laplacian needs [b, n, n]")
        return (adjacency + adjacency.mT).where(valid.unsqueeze(-1) & valid.unsqueeze(-2), 0) / 2


class DistanceKeys(NodeKeys):
    """The distances of each point to all points, in ascending order and in units of the largest distance of the cloud.

    Invariant under rotations, reflections and translations, so that an order by them can go with a frame of space.

    Args:
        source: name of the points, `[b, n, d]`; "positions" if not given.
        resolution: numbers are compared in units of it.
    """

    usual = "positions"

    def __call__(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n q"]:
        """The sorted rows of the matrix of distances."""
        return self.relations(inputs, valid).sort(-1).values

    def relations(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n n"]:
        """The distances."""
        points = self.read(inputs)
        if points.ndim != 3:
            raise ShapeError(f"{self.source} is {list(points.shape)}: distances need [b, n, d]")
        points = points.where(valid.unsqueeze(-1), 0)
        distances = torch.linalg.vector_norm(points.unsqueeze(1) - points.unsqueeze(2), dim=-1)
        pairs = valid.unsqueeze(-1) & valid.unsqueeze(-2)
        largest = distances.where(pairs, 0).amax((-1, -2), keepdim=True)
        scaled = distances / torch.where(largest > 0, largest, 1)
        return rounded(scaled.where(pairs, torch.inf), self.resolution)


class ValueKeys(NodeKeys):
    """The numbers that each item carries, in the order in which it carries them: an order of numbers, or of rows of numbers.

    They must be invariant under the other factors of the group: scalars, or coordinates that an earlier sampler of a `Chained` has turned.

    Args:
        source: name of the input, `[b, n, q]`; "features" if not given.
        resolution: numbers are compared in units of it.
    """

    usual = "features"

    def __call__(self, inputs: Mapping[str, Any], valid: Bool[Tensor, "b n"]) -> Int64[Tensor, "b n q"]:
        """The numbers themselves."""
        x = self.read(inputs)
        return rounded(x.reshape(*valid.shape, -1), self.resolution)
