"""Graphs as matrices: nodes, pairs of nodes, and what they carry.

Axes: b batch, n nodes, f node features, e edge features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from torsor.errors import SignatureError
from torsor.groups import Group, S
from torsor.representations import Pairs, Permuted, Trivial
from torsor.signatures.common import padded
from torsor.symmetry import Actions, Exactness, Symmetry

Level = Literal["graph", "node", "pair"]


@dataclass(frozen=True)
class Graphs:
    """Graphs in, numbers of the graph, of each node or of each ordered pair of nodes out.

    A model of this family takes `adjacency [b, n, n]` (0 and 1, or weights; entry i, j is the edge from i to j), `features [b, n, f]`,
    `edge_features [b, n, n, e]` and `mask [b, n]`, and returns `[b, outputs]`, `[b, n, outputs]` or `[b, n, n, outputs]`.

    Args:
        node_features: number of features of a node.
        edge_features: number of features of a pair of nodes, besides the adjacency; zero where there is no edge.
        outputs: numbers that a model returns.
        level: what has an output: the graph, each node or each pair.
        nodes: size of the largest graph, None where there is no bound; models of fixed width need it.

    Raises:
        SignatureError: an entry makes no sense; the message says what to give.
    """

    node_features: int = 0
    edge_features: int = 0
    outputs: int = 1
    level: str = "graph"
    nodes: int | None = None

    def __post_init__(self) -> None:
        for name in ("node_features", "edge_features"):
            if getattr(self, name) < 0:
                raise SignatureError(f"{name} is {getattr(self, name)}: give the number of them, 0 for none")
        if self.outputs < 1:
            raise SignatureError(f"outputs is {self.outputs}: give how many numbers a model returns, at least 1")
        if self.level not in get_args(Level):
            raise SignatureError(f"level is {self.level!r}: give one of {', '.join(map(repr, get_args(Level)))}")
        if self.nodes is not None and self.nodes < 1:
            raise SignatureError(f"nodes is {self.nodes}: give the size of the largest graph, or None for no bound")

    def __str__(self) -> str:
        size = "" if self.nodes is None else f", at most {self.nodes} nodes"
        carried = f"{self.node_features} features of each node, {self.edge_features} of each edge"
        where = {"graph": "the graph", "node": "each node", "pair": "each pair of nodes"}[self.level]
        return f"graphs{size}: {carried} -> {self.outputs} numbers of {where}"

    def symmetry(self, group: Group | None = None, exactness: Exactness = "exact") -> Symmetry:
        """The contract of a model that serves this signature.

        Args:
            group: permutations of the nodes, the only group that acts; `S()` if not given.
            exactness: what the model guarantees.

        Raises:
            SignatureError: the group is another one.
        """
        group = S() if group is None else group
        if not isinstance(group, S):
            raise SignatureError(f"{group} does not act on graphs: give S(), the permutations of their nodes")
        inputs: dict[str, Actions] = {"adjacency": Pairs(1, 2)}
        if self.node_features:
            inputs["features"] = Permuted(1)
        if self.edge_features:
            inputs["edge_features"] = Pairs(1, 2)
        output = {"graph": Trivial(), "node": Permuted(1), "pair": Pairs(1, 2)}[self.level]
        return Symmetry(group, inputs, output, exactness=exactness)

    def example(
        self,
        batch: int = 2,
        nodes: int = 5,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Undirected graphs whose edges are there with probability 1/2, with standard normal features, for tests and for a first look.

        Args:
            batch: number of graphs.
            nodes: places in each graph.
            generator: where the numbers come from; seed 0 if not given.
            dtype: of the numbers; torch's default if not given.
            device: of the tensors.
            lengths: nodes of each graph; adds the `mask`, and what is behind it is zero.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        like: dict[str, Any] = {"generator": generator, "dtype": dtype, "device": generator.device}
        upper = (torch.rand(batch, nodes, nodes, **like) < 0.5).to(dtype or torch.get_default_dtype()).triu(1)
        adjacency = upper + upper.mT
        drawn = {"adjacency": adjacency.to(device)}
        if self.node_features:
            drawn["features"] = torch.randn(batch, nodes, self.node_features, **like).to(device)
        if self.edge_features:
            edges = torch.randn(batch, nodes, nodes, self.edge_features, **like)
            drawn["edge_features"] = (edges * adjacency.unsqueeze(-1)).to(device)
        return drawn if lengths is None else padded(drawn, lengths, on_pairs=("adjacency", "edge_features"))
