"""Graphs of different sizes, kept as lists of nodes and edges, and made dense a batch at a time.

Matrices of all graphs of a set would not fit into memory where the largest has a few hundred nodes; those of a batch do.

Axes: s samples, b batch, n places for nodes, r rows of all graphs one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from torsor.data.samples import Samples
from torsor.errors import DataError, unknown_name


@dataclass(frozen=True)
class Ragged:
    """Rows of many samples, one sample after another.

    Args:
        rows: `[r, ...]`.
        counts: rows of each sample; they add up to r.

    Raises:
        DataError: they do not.
    """

    rows: Shaped[Tensor, "r *inner"]
    counts: Int64[Tensor, "s"]

    def __post_init__(self) -> None:
        if int(self.counts.sum()) != len(self.rows):
            raise DataError(f"{len(self.rows)} rows for counts that add up to {int(self.counts.sum())}: give as many")

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> Ragged:
        """One part a sample."""
        return cls(torch.cat(list(parts)), torch.tensor([len(part) for part in parts]))

    @cached_property
    def starts(self) -> Int64[Tensor, "s"]:
        """The first row of each sample."""
        return self.counts.cumsum(0) - self.counts

    @property
    def owners(self) -> Int64[Tensor, "r"]:
        """The sample of each row."""
        return torch.arange(len(self.counts)).repeat_interleave(self.counts)

    @property
    def places(self) -> Int64[Tensor, "r"]:
        """How many rows of the same sample are before each row."""
        return torch.arange(len(self.rows)) - self.starts.repeat_interleave(self.counts)

    def take(self, indices: Int64[Tensor, "b"]) -> Ragged:
        """The rows of these samples."""
        counts = self.counts[indices]
        inner = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        return Ragged(self.rows[self.starts[indices].repeat_interleave(counts) + inner], counts)

    def dense(self, places: int) -> Shaped[Tensor, "s n *inner"]:
        """Rows at the places of their samples, zeros behind them."""
        filled = self.rows.new_zeros(len(self.counts), places, *self.rows.shape[1:])
        filled[self.owners, self.places] = self.rows
        return filled

    def matrices(self, places: int, values: Tensor | None = None) -> Shaped[Tensor, "s n n *inner"]:
        """Matrices with `values` (True if not given) at the pairs that the rows `[r, 2]` name, zeros elsewhere."""
        values = torch.ones(len(self.rows), dtype=torch.bool) if values is None else values
        filled = values.new_zeros(len(self.counts), places, places, *values.shape[1:])
        first, second = self.rows.long().unbind(-1)
        filled[self.owners, first, second] = values
        return filled


@dataclass(frozen=True)
class SparseGraphs:
    """Graphs with what their nodes, edges and pairs carry.

    Args:
        edges: ordered pairs of nodes `[r, 2]`, integers; an undirected edge is there both ways.
        nodes: what each node carries by name, such as "features" `[r, f]`; the number of nodes of each graph is that of its rows.
        edge_features: `[r, e]`, parallel to `edges`.
        pairs: further relations by name, ordered pairs `[r, 2]`.

    Raises:
        DataError: the parts are not of the same graphs, or an edge names a node that is not there.
    """

    edges: Ragged
    nodes: Mapping[str, Ragged]
    edge_features: Tensor | None = None
    pairs: Mapping[str, Ragged] | None = None

    def __post_init__(self) -> None:
        if not self.nodes:
            raise DataError("graphs need at least one tensor of their nodes: there is none")
        for name, part in self.nodes.items():
            if not torch.equal(part.counts, self.sizes):
                raise DataError(f"{name!r} has other numbers of nodes than {next(iter(self.nodes))!r}")
        for name, relation in {"edges": self.edges, **(self.pairs or {})}.items():
            if len(relation.counts) != len(self) or relation.rows.shape[1:] != (2,):
                raise DataError(f"{name!r} is {list(relation.rows.shape)} for {len(relation.counts)} graphs: give [r, 2] for {len(self)}")
            largest = self.sizes[relation.owners].unsqueeze(-1)
            if ((relation.rows < 0) | (relation.rows >= largest)).any():
                raise DataError(f"{name!r} names a node that its graph does not have")
        if self.edge_features is not None and len(self.edge_features) != len(self.edges.rows):
            raise DataError(f"{len(self.edge_features)} edge features for {len(self.edges.rows)} edges: give one row an edge")

    @property
    def sizes(self) -> Int64[Tensor, "s"]:
        """Nodes of each graph."""
        return next(iter(self.nodes.values())).counts

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, indices: Int64[Tensor, "b"]) -> SparseGraphs:
        """The graphs at `indices`."""
        features = None if self.edge_features is None else Ragged(self.edge_features, self.edges.counts).take(indices).rows
        return SparseGraphs(
            self.edges.take(indices),
            {name: part.take(indices) for name, part in self.nodes.items()},
            features,
            {name: relation.take(indices) for name, relation in (self.pairs or {}).items()},
        )

    def mask(self, places: int) -> Bool[Tensor, "s n"]:
        """Which places are nodes."""
        return torch.arange(places) < self.sizes.unsqueeze(-1)

    def dense(self, places: int, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Padded tensors: adjacency, features and targets of nodes, edge features, relations, mask. Relations and floats have the dtype.

        Args:
            places: of each graph; at least the size of the largest.
            dtype: of real numbers, torch's default if not given.
        """
        dtype = torch.get_default_dtype() if dtype is None else dtype
        dense = {"adjacency": self.edges.matrices(places).to(dtype)}
        for name, part in self.nodes.items():
            filled = part.dense(places)
            dense[name] = filled.to(dtype) if name == "features" or filled.is_floating_point() else filled
        if self.edge_features is not None:
            dense["edge_features"] = self.edges.matrices(places, self.edge_features).to(dtype)
        dense |= {name: relation.matrices(places).to(dtype) for name, relation in (self.pairs or {}).items()}
        return dense | {"mask": self.mask(places)}


class GraphSamples(Samples):
    """Samples that are graphs: sparse until a batch is taken.

    Args:
        graphs: the graphs.
        places: for the nodes of each; at least the size of the largest.
        targets: further tensors with one row a graph.
        dtype: of real numbers in a batch.

    Raises:
        DataError: a graph is larger than `places`, or the targets are of another number of graphs.
    """

    def __init__(
        self, graphs: SparseGraphs, places: int, targets: Mapping[str, Tensor] | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__({"sizes": graphs.sizes, **(targets or {})})
        if int(graphs.sizes.max()) > places:
            raise DataError(f"a graph has {int(graphs.sizes.max())} nodes: more than the {places} places that there are")
        self.graphs, self.places, self.dtype = graphs, places, dtype
        self._targets = dict(targets or {})
        extras = ("edge_features",) if graphs.edge_features is not None else ()
        self._names = ("adjacency", *graphs.nodes, *extras, *(graphs.pairs or {}), "mask", *self._targets)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Tensor:
        """A tensor of all graphs; a dense one where it is not one of the targets."""
        if name not in self._names:
            raise unknown_name("tensor of the samples", name, self._names)
        return self._targets[name] if name in self._targets else self.take(slice(None))[name]

    def __repr__(self) -> str:
        return f"GraphSamples({len(self)} graphs of at most {self.places} nodes: {', '.join(self._names)})"

    def take(self, indices: Tensor | slice) -> dict[str, Tensor]:
        """The dense batch at `indices` (int64 `[b]`, or a slice)."""
        chosen = torch.arange(len(self))[indices]
        targets = {name: tensor[chosen] for name, tensor in self._targets.items()}
        real = {name: tensor.to(self.dtype) if tensor.is_floating_point() else tensor for name, tensor in targets.items()}
        return self.graphs.take(chosen).dense(self.places, self.dtype) | real

    def subset(self, indices: Int64[Tensor, "b"]) -> GraphSamples:
        """The samples at `indices`."""
        targets = {name: tensor[indices] for name, tensor in self._targets.items()}
        return GraphSamples(self.graphs.take(indices), self.places, targets, self.dtype)

    def prefix(self, count: int) -> GraphSamples:
        """The first `count` samples.

        Raises:
            DataError: there are fewer.
        """
        if not 0 < count <= len(self):
            raise DataError(f"{count} samples were asked for and there are {len(self)}: give 1 to {len(self)}")
        return self.subset(torch.arange(count))

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Samples:
        """The samples with batches in another dtype; on another device they are dense, all at once."""
        moved = GraphSamples(self.graphs, self.places, self._targets, self.dtype if dtype is None else dtype)
        return moved if device is None else Samples(moved.take(slice(None))).to(device=device)


def sparse(adjacencies: Sequence[Bool[Tensor, "_ _"]], nodes: Mapping[str, Sequence[Tensor]] | None = None) -> SparseGraphs:
    """Graphs from their adjacency matrices.

    Args:
        adjacencies: one matrix a graph.
        nodes: what nodes carry, by name one tensor `[n, ...]` a graph; their degree if not given, as "features".
    """
    carried = {"features": [matrix.sum(1, keepdim=True).float() for matrix in adjacencies]} if nodes is None else nodes
    edges = Ragged.of([matrix.nonzero().to(torch.int16) for matrix in adjacencies])
    return SparseGraphs(edges, {name: Ragged.of(list(parts)) for name, parts in carried.items()})
