"""A vision transformer that is shown graphs: the network without any symmetry that may bring weights trained on photographs.

Dosovitskiy et al.: An Image is Worth 16x16 Words (2021), with its patch embedding replaced as in Kim et al., Learning Probabilistic
Symmetrization (2023): nodes are cut into pieces of a row, pairs of nodes into tiles of a square, one for each token. The defaults are
ViT-Ti/16; ViT-B/16, whose weights are published, has `width=768, heads=12`.

Axes: b batch, n nodes given, p nodes of the largest graph, f node features, e edge features, t = g x g tokens, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import pad

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.models import REGISTRY
from torsor.models.graphs import Graph, clear, graph
from torsor.models.transformer import Block, TransformerConfig
from torsor.models.vision_weights import read_weights, write_weights
from torsor.nn.attention import needs_plain_attention
from torsor.signatures import Graphs, cannot_serve

Padding = Literal["zeros", "reflect", "circular", "replicate"]
EPSILON = 1e-6
"""Under the roots of the layer norms, as the published weights were trained."""


@dataclass(frozen=True)
class VisionTransformerConfig(Settings):
    """Settings of `VisionTransformer`.

    Args:
        width: channels of a token.
        heads: attention heads; `width` must divide by it.
        layers: number of blocks.
        mlp_ratio: hidden width of the feed-forward part over `width`.
        grid: tokens along each side of the picture.
        padding: what fills up the nodes of the largest graph to whole pieces and tiles: "zeros", or those nodes once more, there and back
            ("reflect"), from the first on ("circular"), or the outermost ("replicate").
        centred: whether the nodes stand in the middle; at the beginning if not.
        weights: file of weights with timm's names, or "hub:OWNER/NAME"; None to start anew.
        checksum: SHA-256 of that file.
        output_scale: multiplies the initial weights of the last layer, so that training starts near the zero prediction. Not zero, or an
            untrained model would look perfectly symmetric.
    """

    families: ClassVar[tuple[type, ...]] = (Graphs,)
    width: int = 192
    heads: int = 3
    layers: int = 12
    mlp_ratio: float = 4.0
    grid: int = 14
    padding: Padding = "zeros"
    centred: bool = False
    weights: str | None = None
    checksum: str | None = None
    output_scale: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid < 1:
            raise ConfigError(f"grid is {self.grid}: give 1 token or more along each side")

    def build(self, signature: Graphs) -> VisionTransformer:
        """The model for a task's signature.

        Raises:
            SignatureError: the signature does not bound the number of nodes, or `width` does not divide by `heads`.
            CheckpointError: the weights cannot be read, or are those of another architecture.
        """
        return VisionTransformer(signature, self)


def padded_places(size: int, length: int, padding: Padding, centred: bool) -> tuple[Int64[Tensor, " length"], Bool[Tensor, " length"], int]:
    """Which of `size` places each of `length` places repeats, whether it holds anything, and where the places themselves begin.

    Args:
        size: places that are given.
        length: places to fill, at least as many.
        padding: what fills them.
        centred: whether the given places stand in the middle.
    """
    start = (length - size) // 2 if centred else 0
    places = torch.arange(length) - start
    inside = (places >= 0) & (places < size)
    period = max(2 * size - 2, 1)
    sources = {
        "reflect": size - 1 - (places.remainder(period) - (size - 1)).abs(),
        "circular": places.remainder(size),
        "replicate": places.clamp(0, size - 1),
        "zeros": places.where(inside, 0),
    }[padding]
    return sources, torch.ones_like(inside) if padding != "zeros" else inside, start


class Padded(nn.Module):
    """Places filled up to whole pieces: `[b, ..., p, ...]` to `[b, ..., pieces * size, ...]`, and back.

    Args:
        size: places given.
        pieces: number of pieces.
        config: what fills the others.
    """

    sources: Tensor
    filled: Tensor

    def __init__(self, size: int, pieces: int, config: VisionTransformerConfig) -> None:
        super().__init__()
        self.size, self.piece = size, -(-size // pieces)
        sources, filled, self.start = padded_places(size, pieces * self.piece, config.padding, config.centred)
        self.register_buffer("sources", sources, persistent=False)
        self.register_buffer("filled", filled, persistent=False)

    def forward(self, x: Float[Tensor, "b *axes"], axis: int) -> Float[Tensor, "b *more"]:
        """Fill up one axis."""
        shape = [1] * x.ndim
        shape[axis] = len(self.filled)
        return x.index_select(axis, self.sources) * self.filled.view(shape).to(x.dtype)

    def cropped(self, x: Float[Tensor, "b *more"], axis: int) -> Float[Tensor, "b *axes"]:
        """The places that were given, of one axis."""
        return x.narrow(axis, self.start, self.size)


class Encoder(nn.Module):
    """Class token, learned places, pre-norm blocks and a last norm: a vision transformer without eyes and without an answer.

    Args:
        config: widths, and weights to start from.

    Raises:
        SignatureError: the width does not divide by the heads.
        CheckpointError: the weights cannot be read, or are those of another architecture.
    """

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(1, config.width) * EPSILON)
        self.places = nn.Parameter(torch.randn(1 + config.grid**2, config.width) * 0.02)
        block = TransformerConfig(config.width, config.heads, config.layers, config.mlp_ratio)
        self.blocks = nn.ModuleList(Block(block, 0) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        for part in self.modules():
            if isinstance(part, nn.LayerNorm):
                part.eps = EPSILON
        if config.weights is not None:
            write_weights(self, read_weights(config.weights, config.checksum))

    def forward(self, tokens: Float[Tensor, "b t c"], plain: bool) -> Float[Tensor, "b t1 c"]:
        """The class token and the tokens after the last norm."""
        x = torch.cat((self.class_token.expand(len(tokens), -1, -1), tokens), 1) + self.places
        for block in self.blocks:
            x = block(x, None, None, plain)
        normed: Tensor = self.norm(x)
        return normed


class VisionTransformer(nn.Module):
    """Tokens = pieces of [mask, node features] + tiles of [adjacency, edge features]; read from the class token, the pieces or the tiles.

    Args:
        signature: what it is fed and what it returns.
        config: settings.

    Raises:
        SignatureError: the signature does not bound the number of nodes, or `width` does not divide by `heads`.
        CheckpointError: the weights cannot be read, or are those of another architecture.
    """

    def __init__(self, signature: Graphs, config: VisionTransformerConfig) -> None:
        super().__init__()
        if signature.nodes is None:
            missing = "its picture is of fixed size, so it needs the size of the largest graph: give nodes="
            raise cannot_serve("vision-transformer", signature, missing, REGISTRY)
        self.signature, self.config, self.nodes = signature, config, signature.nodes
        self.symmetry = signature.symmetry(exactness="none")
        self.row, self.square = Padded(self.nodes, config.grid**2, config), Padded(self.nodes, config.grid, config)
        self.encoder = Encoder(config)
        piece, tile, c, o = self.row.piece, self.square.piece, config.width, signature.outputs
        self.embed_nodes = nn.Conv1d(1 + signature.node_features, c, piece, piece)
        self.embed_pairs = nn.Conv2d(1 + signature.edge_features, c, tile, tile)
        self.output: nn.Linear | nn.ConvTranspose1d | nn.ConvTranspose2d = nn.Linear(c, o)
        if signature.level != "graph":
            self.output = nn.ConvTranspose1d(c, o, piece, piece) if signature.level == "node" else nn.ConvTranspose2d(c, o, tile, tile)
        with torch.no_grad():
            for p in self.output.parameters():
                p.mul_(config.output_scale)

    def forward(
        self,
        adjacency: Float[Tensor, "b n n"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *places out"]:
        """Map a padded batch of graphs to one output a graph, node or pair of nodes."""
        inputs = graph(adjacency, features, edge_features, mask, self.signature)
        x = self.encoder(self._tokens(inputs), needs_plain_attention(adjacency, features, edge_features))
        return clear(self._read(x, adjacency.shape[1]), mask, self.signature)

    def _tokens(self, inputs: Graph) -> Float[Tensor, "b t c"]:
        """Pieces of the nodes and tiles of the pairs, added."""
        missing = self.nodes - inputs.adjacency.shape[1]
        valid = torch.ones_like(inputs.adjacency[..., :1]) if inputs.mask is None else inputs.mask[..., None].to(inputs.adjacency.dtype)
        nodes = pad(torch.cat((valid, inputs.features), -1), (0, 0, 0, missing))
        pairs = inputs.adjacency[..., None]
        pairs = pairs if inputs.edge_features is None else torch.cat((pairs, inputs.edge_features), -1)
        pairs = pad(pairs, (0, 0, 0, missing, 0, missing))
        pieces = self.embed_nodes(self.row(nodes, 1).transpose(1, 2))
        tiles = self.embed_pairs(rearrange(self.square(self.square(pairs, 1), 2), "b i j k -> b k i j"))
        added: Tensor = pieces + tiles.flatten(2)
        return added.transpose(1, 2)

    def _read(self, x: Float[Tensor, "b t1 c"], nodes: int) -> Float[Tensor, "b *places out"]:
        """The answer for the graph, or for its nodes or pairs, of which `nodes` places were given."""
        if self.signature.level == "graph":
            answer: Tensor = self.output(x[:, 0])
            return answer
        tokens = x[:, 1:].transpose(1, 2)
        if self.signature.level == "node":
            row: Tensor = self.row.cropped(self.output(tokens), 2)
            return row[..., :nodes].transpose(1, 2)
        square: Tensor = self.output(torch.unflatten(tokens, -1, (self.config.grid, self.config.grid)))
        square = self.square.cropped(self.square.cropped(square, 2), 3)[..., :nodes, :nodes]
        return square.permute(0, 2, 3, 1)
