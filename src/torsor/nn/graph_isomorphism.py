"""Graph isomorphism layers on dense adjacency matrices, and the virtual node that sees the whole graph.

Xu, Hu, Leskovec, Jegelka: How powerful are graph neural networks? (2019), equation 4.1; with features of edges as in Hu et al.: Strategies
for pre-training graph neural networks (2020); the virtual node of Gilmer et al.: Neural message passing for quantum chemistry (2017).

Axes: b batch, n nodes, f features in, c channels, e edge features.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout, pad, relu

from torsor.nn.masked_norm import Statistics, masked_norm


class GraphIsomorphismLayer(nn.Module):
    """h_j' = update((1 + epsilon) h_j + sum_i A_ij h_i), with a learned epsilon that starts uniform in [0, 1].

    With features of edges the message along one is relu(h_i + W e_ij) instead of h_i.

    Args:
        channels_in: channels of a node.
        channels_out: channels of a node afterwards.
        hidden: width of the update's hidden layer, Linear, norm, ReLU, dropout, Linear; None for a single Linear.
        edge_features: number of features of each pair of nodes.
        statistics: of the norm: those of the valid nodes of the "batch", of each "item" by itself, or "none" for no norm.
        dropout: probability that a hidden number is dropped.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        hidden: int | None = None,
        edge_features: int = 0,
        statistics: Statistics = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(torch.rand(()))
        self.edges = nn.Linear(edge_features, channels_in, bias=False) if edge_features else None
        self.first = None if hidden is None else nn.Linear(channels_in, hidden)
        self.norm = None if hidden is None else masked_norm(statistics, hidden)
        self.last = nn.Linear(channels_in if hidden is None else hidden, channels_out)
        self.dropout = dropout

    def forward(
        self,
        h: Float[Tensor, "b n f"],
        adjacency: Float[Tensor, "b n n"],
        mask: Bool[Tensor, "b n"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Update every node from those with an edge to it.

        Args:
            h: channels of the nodes.
            adjacency: entry i, j weighs the edge from i to j; zero in rows and columns of padding.
            mask: the valid nodes, which alone the norm looks at; None where all are.
            edge_features: of each pair of nodes, where the layer was built for them.
        """
        x = (1 + self.epsilon) * h + self._received(h, adjacency, edge_features)
        if self.first is not None and self.norm is not None:
            x = dropout(relu(self.norm(self.first(x), mask)), self.dropout, self.training)
        updated: Tensor = self.last(x)
        return updated

    def _received(self, h: Tensor, adjacency: Tensor, edge_features: Tensor | None) -> Float[Tensor, "b n f"]:
        """Sum of the messages to each node."""
        if self.edges is None or edge_features is None:
            return adjacency.mT.to(h.dtype) @ h
        message = relu(h[:, :, None] + self.edges(edge_features))
        return (adjacency[..., None] * message).sum(1)


class GraphIsomorphismStack(nn.Module):
    """Layers with a norm and ReLU after each: node channels that know their neighbourhood, and with a virtual node the whole graph.

    The virtual node has learned features (normal at the start), an edge to itself, and edges from and to every node. What it carries is
    equal for all graphs before the first layer, so that it is the same place of every graph.

    Args:
        channels_in: features of a node; 0 where nodes carry nothing, and a column of ones takes their place.
        hidden: channels of a node after each layer.
        layers: number of layers.
        edge_features: number of features of each pair of nodes; zero on the edges of the virtual node.
        virtual_node: whether there is one.
        statistics: of every norm: "batch", "item" or "none".
        dropout: probability that a hidden number of an update is dropped.
    """

    def __init__(
        self,
        channels_in: int,
        hidden: int = 64,
        layers: int = 3,
        *,
        edge_features: int = 0,
        virtual_node: bool = True,
        statistics: Statistics = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels_in = channels_in
        width = max(channels_in, 1)
        self.virtual = nn.Parameter(torch.randn(width)) if virtual_node else None
        self.layers = nn.ModuleList(
            GraphIsomorphismLayer(width if i == 0 else hidden, hidden, hidden, edge_features, statistics, dropout) for i in range(layers)
        )
        self.norms = nn.ModuleList(masked_norm(statistics, hidden) for _ in range(layers))

    def forward(
        self,
        adjacency: Float[Tensor, "b n n"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Channels of the nodes after the last layer, zero behind the mask; what the inputs hold there has no influence."""
        nodes = adjacency.shape[1]
        h = adjacency.new_ones(*adjacency.shape[:2], 1) if features is None or not self.channels_in else features
        present = adjacency.new_ones(adjacency.shape[:2], dtype=torch.bool) if mask is None else mask
        pairs = present[:, :, None] & present[:, None]
        h, adjacency = h.where(present[..., None], 0), adjacency.where(pairs, 0)
        if edge_features is not None:
            edge_features = edge_features.where(pairs[..., None], 0)
        if self.virtual is not None:
            h, adjacency, edge_features, present = _with_virtual_node(self.virtual, h, adjacency, edge_features, present)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = relu(norm(layer(h, adjacency, present, edge_features), present))
        return h.where(present[..., None], 0)[:, :nodes]


def _with_virtual_node(
    virtual: Tensor, h: Tensor, adjacency: Tensor, edge_features: Tensor | None, present: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The graph with one more node behind the others, joined to itself and to all that are present."""
    h = torch.cat((h, virtual.to(h.dtype).expand(len(h), 1, -1)), 1)
    present = pad(present, (0, 1), value=True)
    joined = present.to(adjacency.dtype)
    adjacency = torch.cat((torch.cat((adjacency, joined[:, :-1, None]), 2), joined[:, None]), 1)
    return h, adjacency, None if edge_features is None else pad(edge_features, (0, 0, 0, 1, 0, 1)), present
