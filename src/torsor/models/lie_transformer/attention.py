"""Self-attention of functions on a group.

Hutchinson et al.: LieTransformer (2021), section 3.2:

    f'(g_i) = sum_j w_ij W^V f(g_j),   w = normalised F(k_c(f(g_i), f(g_j)), k_l(g_i^-1 g_j))

with content k_c (queries and keys) and location k_l (the coordinates of the pair). The forms computed here equal the naive ones
(`torsor.models.lie_transformer.naive`) with the same parameters:

- the sum of dot product and location under a softmax is fused attention with a bias;
- the sum under constant normalisation is linear attention, Q (K^T V), plus the location term;
- in networks of content and location the first layer is applied to elements, not to pairs;
- W^l in "relative" attention is applied to queries, not to pairs.

Axes: b batch, m lifted elements, k neighbours, c channels, h heads, e content, o hidden units, p coordinates of a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.models.lie_transformer.config import LieTransformerConfig
from torsor.models.lie_transformer.layers import HeadMLP
from torsor.models.lie_transformer.neighbourhood import Neighbourhood
from torsor.models.lie_transformer.pair_networks import PairNetworks, location_logits, pair_logits, seen
from torsor.nn.attention import attend


@dataclass(frozen=True)
class Scene:
    """What all layers share.

    Args:
        pairs: coordinates of every element and its neighbours.
        neighbourhood: who they are.
        mask: valid elements, None where all are.
        samples: lifted elements of a point.
        plain: write attention out instead of calling the fused kernel, see `torsor.nn.attention`.
        recompute: whether the networks of pairs are worked through in chunks.
    """

    pairs: Float[Tensor, "b m k p"]
    neighbourhood: Neighbourhood
    mask: Bool[Tensor, "b m"] | None
    samples: int
    plain: bool
    recompute: bool


class LieSelfAttention(nn.Module):
    """Attention among lifted elements.

    Args:
        config: kernel, heads and widths.
        pair_dim: number of coordinates of a pair.
    """

    def __init__(self, config: LieTransformerConfig, pair_dim: int) -> None:
        super().__init__()
        config.validate(pair_dim)
        self.config = config
        c, heads, width = config.hidden, config.heads, config.content_width()
        keyed = {"dot": c, "concat": heads * width // 2, "linear_concat": heads * width, "none": 0}[config.content]
        self.query = nn.Linear(c, keyed) if keyed else None
        self.key = nn.Linear(c, keyed) if keyed else None
        self.mix = nn.Linear(2 * width, width) if config.content == "linear_concat" else None
        self.value = nn.Linear(c, c)
        self.merge = nn.Linear(c, c)
        activation, final = config.activation, config.final_activation
        self.location = HeadMLP(heads, pair_dim, config.kernel_dim, activation, final) if config.location == "mlp" else None
        self.combine = None
        if config.combination == "mlp":
            # content first, then location
            inputs = _content_length(config) + {"mlp": 1, "plain": pair_dim, "none": 0}[config.location]
            self.combine = HeadMLP(heads, inputs, config.kernel_dim, activation, final)
        self.relative = nn.Linear(pair_dim, c, bias=False) if config.combination == "relative" else None
        if self.relative is not None:
            self.content_bias = nn.Parameter(torch.zeros(heads, c // heads))
            self.location_bias = nn.Parameter(torch.zeros(heads, c // heads))

    def forward(self, x: Float[Tensor, "b n c"], scene: Scene, location: Float[Tensor, "b h m k"] | None = None) -> Float[Tensor, "b m c"]:
        """Attend; elements that are equal for all samples of a point may be given once for each point.

        Args:
            x: features of the elements, or of the points.
            scene: pairs and neighbourhoods.
            location: the location term, where it is known.
        """
        if self.location is not None and location is None:
            (location,) = location_logits([self.location], scene.pairs, scene.recompute)
        query, key = (None if layer is None else self._heads(layer(x), scene) for layer in (self.query, self.key))
        value = self._heads(self.value(x), scene)
        if self._fused(scene):
            mixed = self._attend(query, key, value, location, scene)
        elif self._linear(scene):
            mixed = self._linear_attention(query, key, value, location, scene)
        else:
            mixed = mix(self._logits(query, key, location, scene), value, scene.neighbourhood, self.config.normalisation)
        out: Tensor = self.merge(mixed.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Float[Tensor, "b n w"], scene: Scene) -> Float[Tensor, "b h m e"]:
        """Channels by head, once for each element."""
        x = torch.unflatten(x, -1, (self.config.heads, -1)).transpose(1, 2)
        count = scene.pairs.shape[1]
        return x if x.shape[2] == count else x.repeat_interleave(scene.samples, 2)

    # -- closed forms -----------------------------------------------------------------------------------------------------------------

    def _fused(self, scene: Scene) -> bool:
        config = self.config
        adds = config.combination == "add" and config.content == "dot"
        return adds and config.normalisation == "softmax" and scene.neighbourhood.index is None

    def _attend(self, query: Tensor | None, key: Tensor | None, value: Tensor, location: Tensor | None, scene: Scene) -> Tensor:
        """Softmax of dot product and location."""
        assert query is not None
        assert key is not None
        bias, visible = self._plain_location(location, scene), scene.neighbourhood.visible
        if visible is not None:
            bias = torch.where(visible[:, None], query.new_zeros(()) if bias is None else bias, -torch.inf)
        return attend(query, key, value, bias, plain=scene.plain)

    def _linear(self, scene: Scene) -> bool:
        config = self.config
        adds = config.combination == "add" and config.content == "dot"
        return adds and config.normalisation == "constant" and scene.neighbourhood.index is None

    def _linear_attention(self, query: Tensor | None, key: Tensor | None, value: Tensor, location: Tensor | None, scene: Scene) -> Tensor:
        """Constant normalisation of dot product and location: (Q (K^T V) / sqrt(e) + k_l V) / count."""
        assert query is not None
        assert key is not None
        weights = scene.neighbourhood.weights()
        kept = value if weights is None else value * weights.transpose(1, 2)[:, None]
        mixed = query @ (key.transpose(-2, -1) @ kept) * query.shape[-1] ** -0.5
        bias = self._plain_location(location, scene)
        if bias is not None:
            mixed = mixed + bias @ kept
        averaged: Tensor = mixed / scene.neighbourhood.count[:, None]
        return averaged

    def _plain_location(self, location: Tensor | None, scene: Scene) -> Tensor | None:
        """The scalar location term; the one coordinate of a pair where it is "plain"."""
        return scene.pairs.permute(0, 3, 1, 2) if self.config.location == "plain" else location

    # -- all kernels ------------------------------------------------------------------------------------------------------------------

    def _logits(self, query: Tensor | None, key: Tensor | None, location: Tensor | None, scene: Scene) -> Float[Tensor, "b h m k"]:
        config = self.config
        if config.combination == "mlp":
            return self._combined(query, key, location, scene)
        if config.combination == "relative":
            return self._relative(query, key, scene)
        place = self._plain_location(location, scene)
        if query is None or key is None:
            assert place is not None
            return place.expand(-1, config.heads, -1, -1)
        content = dots(query, key, scene.neighbourhood)
        if place is None:
            return content
        return content + place if config.combination == "add" else content * place

    def _combined(self, query: Tensor | None, key: Tensor | None, location: Tensor | None, scene: Scene) -> Float[Tensor, "b h m k"]:
        """MLP([k_c, k_l]), its first layer shared out among query, key and pair."""
        assert self.combine is not None
        content = _content_length(self.config)
        weight = self.combine.first.weight
        to_content, to_location = weight[:, :content], weight[:, content:]
        inputs: dict[str, Tensor | None] = {}
        if query is not None and key is not None:
            if self.config.content == "dot":
                inputs = {"scalar": dots(query, key, scene.neighbourhood), "scalar_weight": to_content[:, 0]}
            else:
                of_query, of_key = self._shared_out(query, key, to_content, scene)
                inputs = {"query": of_query, "key": of_key}
        if location is not None:
            inputs |= {"other": location, "other_weight": to_location[:, 0]}
        elif self.config.location == "plain":
            inputs |= {"pairs": scene.pairs, "pair_weight": to_location}
        networks = PairNetworks.of([self.combine], **inputs)
        return pair_logits(networks, self.config.activation, self.config.final_activation, scene.recompute)

    def _shared_out(
        self, query: Tensor, key: Tensor, weight: Float[Tensor, "h e o"], scene: Scene
    ) -> tuple[Float[Tensor, "h o b m"], Float[Tensor, "h o b #m k"]]:
        """What the first layer makes of a query and of a key: W [q, k] = A q + B k."""
        width = query.shape[-1]
        if self.mix is None:
            to_query, to_key, bias = weight[:, :width], weight[:, width:], None
        else:
            to_query, to_key = (part.T @ weight for part in torch.split(self.mix.weight, width, 1))
            bias = self.mix.bias @ weight
        of_query = torch.einsum("bhme, heo -> hobm", query, to_query)
        of_key = torch.einsum("bhme, heo -> bmho", key, to_key)
        gathered = torch.unflatten(scene.neighbourhood.keys(of_key.flatten(2)), -1, of_key.shape[2:]).permute(3, 4, 0, 1, 2)
        # keys that all queries share are read once for each of them
        gathered = gathered.contiguous() if gathered.shape[3] == 1 else gathered
        return (of_query if bias is None else of_query + bias[:, :, None, None]), gathered

    def _relative(self, query: Tensor | None, key: Tensor | None, scene: Scene) -> Float[Tensor, "b h m k"]:
        """((Q_i + u) K_j + (Q_i + v) W^l P_ij) / sqrt(e), Transformer-XL."""
        assert self.relative is not None
        assert query is not None
        assert key is not None
        by_head = torch.unflatten(self.relative.weight, 0, (self.config.heads, -1))
        turned = torch.einsum("bhme, hep -> bmhp", query + self.location_bias[:, None], by_head)
        place = (turned @ scene.pairs.transpose(-2, -1)).transpose(1, 2) * query.shape[-1] ** -0.5
        total: Tensor = dots(query + self.content_bias[:, None], key, scene.neighbourhood) + place
        return total


def _content_length(config: LieTransformerConfig) -> int:
    """Numbers that content has to say of a pair, for each head."""
    return {"dot": 1, "none": 0}.get(config.content, config.content_width())


def dots(query: Float[Tensor, "b h m e"], key: Float[Tensor, "b h m e"], neighbourhood: Neighbourhood) -> Float[Tensor, "b h m k"]:
    """Scaled dot products of each query with its neighbours."""
    scaled = query * query.shape[-1] ** -0.5
    if neighbourhood.index is None:
        dense: Tensor = scaled @ key.transpose(-2, -1)
        return dense
    gathered = torch.unflatten(neighbourhood.keys(key.transpose(1, 2).flatten(2)), -1, (key.shape[1], -1))
    return torch.einsum("bhme, bmkhe -> bhmk", scaled, gathered)


def mix(
    logits: Float[Tensor, "b h m k"], value: Float[Tensor, "b h m e"], neighbourhood: Neighbourhood, normalisation: str
) -> Float[Tensor, "b h m e"]:
    """The values of the neighbours, weighted."""
    if normalisation == "softmax":
        weights = seen(logits, neighbourhood).softmax(-1).to(value.dtype)
    else:
        weights = logits.exp() if normalisation == "exp" else logits
        valid = neighbourhood.weights()
        weights = (weights if valid is None else weights * valid[:, None]) / neighbourhood.count[:, None]
    if neighbourhood.index is None:
        return weights.to(value.dtype) @ value
    gathered = torch.unflatten(neighbourhood.keys(value.transpose(1, 2).flatten(2)), -1, (value.shape[1], -1))
    return torch.einsum("bhmk, bmkhe -> bhme", weights.to(value.dtype), gathered)
