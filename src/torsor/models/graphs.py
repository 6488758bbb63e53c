"""What every model over graphs shares: how its inputs are checked.

One forward for all: `forward(adjacency, features=None, edge_features=None, mask=None)`, padded, with `mask [b, n]` true where a node is.

Axes: b batch, n nodes, f node features, e edge features.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from torsor.errors import ShapeError
from torsor.models.point_clouds import expect_shape
from torsor.signatures import Graphs


class Graph(NamedTuple):
    """Checked inputs, zero wherever `mask` is false, so that what stands in the padding (NaN even) has no influence.

    Args:
        adjacency: `[b, n, n]`.
        features: `[b, n, f]`, f = 0 where there are none.
        edge_features: `[b, n, n, e]`, None where there are none.
        mask: `[b, n]`, None where every place is taken.
    """

    adjacency: Float[Tensor, "b n n"]
    features: Float[Tensor, "b n f"]
    edge_features: Float[Tensor, "b n n e"] | None
    mask: Bool[Tensor, "b n"] | None


def graph(
    adjacency: Float[Tensor, "b n m"],
    features: Float[Tensor, "b p f"] | None,
    edge_features: Float[Tensor, "b q r e"] | None,
    mask: Bool[Tensor, "b s"] | None,
    signature: Graphs,
) -> Graph:
    """Check the inputs of a model against the signature it was built for, and clear the padding.

    Raises:
        ShapeError: an input is missing, was not announced or has another shape; names it.
    """
    b, n = adjacency.shape[:2]
    expect_shape("adjacency", adjacency, (b, n, n))
    expect_shape("features", features, (b, n, signature.node_features) if signature.node_features else None)
    expect_shape("edge_features", edge_features, (b, n, n, signature.edge_features) if signature.edge_features else None)
    if signature.nodes is not None and n > signature.nodes:
        raise ShapeError(f"adjacency has {n} nodes, but this model was built for {signature.nodes}: give fewer")
    if features is None:
        features = adjacency.new_zeros(b, n, 0)
    if mask is None:
        return Graph(adjacency, features, edge_features, None)
    expect_shape("mask", mask, (b, n))
    pairs = mask[:, :, None] & mask[:, None]
    if edge_features is not None:
        edge_features = edge_features.where(pairs[..., None], 0)
    return Graph(adjacency.where(pairs, 0), features.where(mask[..., None], 0), edge_features, mask)


def clear(output: Float[Tensor, "b *places out"], mask: Bool[Tensor, "b n"] | None, signature: Graphs) -> Float[Tensor, "b *places out"]:
    """An output with zeros at places and pairs of places that are padding."""
    if mask is None or signature.level == "graph":
        return output
    valid = mask if signature.level == "node" else mask[:, :, None] & mask[:, None]
    return output.where(valid[..., None], 0)
