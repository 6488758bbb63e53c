"""The perceptron on graphs and on vectors of numbers.

Axes: b batch, n nodes given, p nodes of the largest graph, f node features, e edge features, i numbers in, o numbers out.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from torsor.errors import ShapeError
from torsor.models import REGISTRY
from torsor.models.graphs import Graph, clear, graph
from torsor.models.mlp import MLPConfig, Perceptron
from torsor.signatures import FeatureVectors, Graphs, cannot_serve


class GraphMLP(Perceptron):
    """f(mask, adjacency, features, edge features), all flattened and padded to the size of the largest graph.

    Args:
        signature: what it is fed and what it returns.
        config: settings.

    Raises:
        SignatureError: the signature does not bound the number of nodes.
    """

    def __init__(self, signature: Graphs, config: MLPConfig) -> None:
        if signature.nodes is None:
            missing = "its width is fixed, so it needs the size of the largest graph: give nodes="
            raise cannot_serve("mlp", signature, missing, REGISTRY)
        p, axes = signature.nodes, {"graph": 0, "node": 1, "pair": 2}[signature.level]
        width = p * (1 + p + signature.node_features + p * signature.edge_features)
        super().__init__(config, width, p**axes * signature.outputs)
        self.nodes, self.places = p, (p,) * axes
        self.signature, self.symmetry = signature, signature.symmetry(exactness="none")

    def forward(
        self,
        adjacency: Float[Tensor, "b n n"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *places out"]:
        """Map a padded batch of graphs to one output a graph, node or pair of nodes."""
        inputs = graph(adjacency, features, edge_features, mask, self.signature)
        output = torch.unflatten(self.dense(self._flat(inputs)), -1, (*self.places, self.signature.outputs))
        for axis in range(len(self.places)):
            output = output.narrow(1 + axis, 0, adjacency.shape[1])
        return clear(output, mask, self.signature)

    def _flat(self, inputs: Graph) -> Float[Tensor, "b width"]:
        """The graph as one row: mask, adjacency, node features, edge features."""
        missing = self.nodes - inputs.adjacency.shape[1]
        valid = torch.ones_like(inputs.adjacency[:, 0]) if inputs.mask is None else inputs.mask.to(inputs.adjacency.dtype)
        rows = [pad(valid, (0, missing)), pad(inputs.adjacency, (0, missing, 0, missing)), pad(inputs.features, (0, 0, 0, missing))]
        if inputs.edge_features is not None:
            rows.append(pad(inputs.edge_features, (0, 0, 0, missing, 0, missing)))
        return torch.cat([row.flatten(1) for row in rows], -1)


class VectorMLP(Perceptron):
    """f(x) on vectors of numbers.

    Args:
        signature: what it is fed and what it returns.
        config: settings.
    """

    def __init__(self, signature: FeatureVectors, config: MLPConfig) -> None:
        super().__init__(config, signature.rep_in.dim, signature.rep_out.dim)
        self.width = signature.rep_in.dim
        self.signature, self.symmetry = signature, signature.symmetry(exactness="none")

    def forward(self, x: Float[Tensor, "b i"]) -> Float[Tensor, "b o"]:
        """Map a batch of vectors.

        Raises:
            ShapeError: they have another length than that of the signature.
        """
        if x.shape[-1] != self.width:
            raise ShapeError(f"x is {list(x.shape)}, but this model was built for {self.width} numbers: give [b, {self.width}]")
        return self.dense(x)
