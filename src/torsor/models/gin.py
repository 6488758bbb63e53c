"""The graph isomorphism network, and the one that also knows which node is which.

Xu, Hu, Leskovec, Jegelka: How Powerful are Graph Neural Networks? (2019), equation 4.1. It tells apart what colour refinement tells apart.
With identifiers it can tell apart any two graphs, and no longer commutes with permutations: the base network "GIN-ID" of Kim et al.,
Learning Probabilistic Symmetrization (2023), to be symmetrised.

Axes: b batch, n nodes, f node features, e edge features, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.models import REGISTRY
from torsor.models.graphs import Graph, clear, graph
from torsor.nn.graph_isomorphism import GraphIsomorphismLayer
from torsor.nn.masked_norm import Statistics
from torsor.nn.perceptron import ACTIVATIONS, Activation, hidden_layers, output_layer
from torsor.nn.pooling import pool_points
from torsor.signatures import Graphs, Pool, cannot_serve


@dataclass(frozen=True)
class GINConfig(Settings):
    """Settings of `GIN`.

    The published GIN-ID has `identifiers=True`, `update=None`, `output_scale=1` and, for GRAPH8c, `activation=output_activation="tanh"`; to
    classify graphs of EXP, `readout=(10,)`.

    Args:
        width: channels of a node.
        layers: rounds of messages.
        update: width of the hidden layer of each update; None for a single linear map.
        statistics: of the norm in each update: of the "batch", of each "item", or "none". A single linear map has none.
        dropout: probability that a hidden number of an update is dropped in training.
        activation: after each round and each layer of the readout.
        identifiers: whether a node carries its place in the order, one-hot, which gives up the symmetry.
        pool: how nodes become one graph.
        readout: widths of hidden layers between the last round and the output.
        output_activation: after the last layer; None for none.
        output_scale: multiplies the initial weights of the last layer, so that training starts near the zero prediction. Not zero, or an
            untrained model would look perfectly symmetric.
    """

    families: ClassVar[tuple[type, ...]] = (Graphs,)
    width: int = 64
    layers: int = 3
    update: int | None = 64
    statistics: Statistics = "none"
    dropout: float = 0.0
    activation: Activation = "relu"
    identifiers: bool = False
    pool: Pool = "sum"
    readout: tuple[int, ...] = ()
    output_activation: Activation | None = None
    output_scale: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers, self.update or 1, *self.readout) < 1:
            raise ConfigError("GINConfig has a width or a number of layers below 1: give 1 or more")

    def build(self, signature: Graphs) -> GIN:
        """The model for a task's signature.

        Raises:
            SignatureError: the output is one of pairs of nodes, or nodes are to be numbered and their number has no bound.
        """
        return GIN(signature, self)


class GIN(nn.Module):
    """h_j <- activation(update((1 + epsilon) h_j + sum_i A_ij h_i)), then a readout of the nodes or of their pool.

    Exactly equivariant under permutations without identifiers; under nothing with them.

    Args:
        signature: what it is fed and what it returns.
        config: settings.

    Raises:
        SignatureError: the output is one of pairs of nodes, or nodes are to be numbered and their number has no bound.
    """

    def __init__(self, signature: Graphs, config: GINConfig) -> None:
        super().__init__()
        if signature.level == "pair":
            raise cannot_serve("gin", signature, "it has no features of pairs to read out", REGISTRY)
        if config.identifiers and signature.nodes is None:
            raise cannot_serve("gin", signature, "its identifiers need the size of the largest graph: give nodes=", REGISTRY)
        self.signature, self.config = signature, config
        self.symmetry = signature.symmetry(exactness="none" if config.identifiers else "exact")
        self.identifiers = (signature.nodes or 0) if config.identifiers else 0
        # nodes that carry nothing carry a one, or no message would say anything
        widths = (max(signature.node_features + self.identifiers, 1), *(config.width,) * config.layers)
        self.rounds = nn.ModuleList(
            GraphIsomorphismLayer(a, config.width, config.update, signature.edge_features, config.statistics, config.dropout)
            for a in widths[:-1]
        )
        self.activation = ACTIVATIONS[config.activation]()
        readout = (config.width, *config.readout)
        self.readout = hidden_layers(readout, config.activation)
        self.output = output_layer(readout[-1], signature.outputs, config.output_scale)
        self.finish = ACTIVATIONS[config.output_activation]() if config.output_activation else nn.Identity()

    def forward(
        self,
        adjacency: Float[Tensor, "b n n"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *places out"]:
        """Map a padded batch of graphs to one output a graph or node."""
        inputs = graph(adjacency, features, edge_features, mask, self.signature)
        h = self._start(inputs)
        for layer in self.rounds:
            h = self.activation(layer(h, inputs.adjacency, inputs.mask, inputs.edge_features))
        if self.signature.level == "graph":
            h = pool_points(h, inputs.mask, self.config.pool)
        output: Tensor = self.finish(self.output(self.readout(h)))
        return clear(output, inputs.mask, self.signature)

    def _start(self, inputs: Graph) -> Float[Tensor, "b n c"]:
        """What the nodes carry before the first round."""
        h = inputs.features
        if self.identifiers:
            numbered = torch.eye(self.identifiers, dtype=h.dtype, device=h.device)[: h.shape[1]]
            h = torch.cat((h, numbered.expand(len(h), -1, -1)), -1)
        return h if h.shape[-1] else h.new_ones(*h.shape[:-1], 1)
