"""Attention as the paper writes it: everything that a pair has to say side by side, then the network. The oracle of the fast forms.

It holds `[b, m, k, h, e]` tensors and computes the same thing for every pair and layer anew, with the same parameters.

Axes: b batch, m lifted elements, k neighbours, c channels, h heads, e content, p coordinates of a pair.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.models.lie_transformer.attention import LieSelfAttention, Scene
from torsor.models.lie_transformer.pair_networks import seen


def naive_attention(layer: LieSelfAttention, x: Float[Tensor, "b m c"], scene: Scene) -> Float[Tensor, "b m c"]:
    """What `layer(x, scene)` computes.

    Args:
        layer: whose parameters to use.
        x: features of all lifted elements.
        scene: pairs and neighbourhoods.
    """
    logits = _logits(layer, x, scene)
    weights = _normalised(logits, scene, layer.config.normalisation)
    value = _by_head(layer, _of_keys(layer.value(x), scene))
    mixed = (weights.permute(0, 2, 3, 1)[..., None] * value).sum(2) if scene.neighbourhood.index is not None else _dense(weights, value)
    out: Tensor = layer.merge(mixed.flatten(2))
    return out


def _dense(weights: Float[Tensor, "b h m k"], value: Float[Tensor, "b #m k h e"]) -> Float[Tensor, "b m h e"]:
    return torch.einsum("bhmk, bkhe -> bmhe", weights, value[:, 0])


def _of_keys(x: Float[Tensor, "b m c"], scene: Scene) -> Float[Tensor, "b #m k c"]:
    return scene.neighbourhood.keys(x)


def _by_head(layer: LieSelfAttention, x: Float[Tensor, "*shape w"]) -> Float[Tensor, "*shape h e"]:
    return torch.unflatten(x, -1, (layer.config.heads, -1))


def _logits(layer: LieSelfAttention, x: Tensor, scene: Scene) -> Float[Tensor, "b h m k"]:
    """F(k_c, k_l)."""
    config = layer.config
    content, location = _content(layer, x, scene), _location(layer, scene)
    if config.combination == "mlp":
        assert layer.combine is not None
        together = torch.cat([part for part in (content, location) if part is not None], -1)
        return _front(layer.combine(together))
    if config.combination == "relative":
        return _relative(layer, x, scene)
    parts = [part.squeeze(-1) for part in (content, location) if part is not None]
    if len(parts) == 2:
        parts = [parts[0] + parts[1] if config.combination == "add" else parts[0] * parts[1]]
    return _front(parts[0])


def _front(x: Float[Tensor, "b m k h"]) -> Float[Tensor, "b h m k"]:
    return x.permute(0, 3, 1, 2)


def _content(layer: LieSelfAttention, x: Tensor, scene: Scene) -> Float[Tensor, "b m k h e"] | None:
    """k_c of every pair."""
    if layer.query is None or layer.key is None:
        return None
    query = _by_head(layer, layer.query(x))[:, :, None]
    key = _by_head(layer, _of_keys(layer.key(x), scene))
    if layer.config.content == "dot":
        scale = query.shape[-1] ** -0.5
        if scene.neighbourhood.index is None:
            return torch.einsum("bmhe, bkhe -> bmkh", query[:, :, 0], key[:, 0]).mul(scale)[..., None]
        return (query * key).sum(-1, keepdim=True).mul(scale)
    shape = (*scene.pairs.shape[:3], *query.shape[3:])
    both: Tensor = torch.cat((query.expand(shape), key.expand(shape)), -1)
    mixed: Tensor = both if layer.mix is None else layer.mix(both)
    return mixed


def _location(layer: LieSelfAttention, scene: Scene) -> Float[Tensor, "b m k h l"] | None:
    """k_l of every pair, copied to all heads."""
    if layer.config.location == "none":
        return None
    copied = scene.pairs[:, :, :, None].expand(-1, -1, -1, layer.config.heads, -1)
    located: Tensor = copied if layer.location is None else layer.location(copied)[..., None]
    return located


def _relative(layer: LieSelfAttention, x: Tensor, scene: Scene) -> Float[Tensor, "b h m k"]:
    """(Q_i K_j + u K_j + e_ij (Q_i + v)) / sqrt(e) with e_ij = W^l P_ij."""
    assert layer.relative is not None
    assert layer.query is not None
    assert layer.key is not None
    query = _by_head(layer, layer.query(x))[:, :, None]
    key = _by_head(layer, _of_keys(layer.key(x), scene))
    edge = _by_head(layer, layer.relative(scene.pairs))
    total = (query * key).sum(-1) + (layer.content_bias * key).sum(-1) + (edge * (query + layer.location_bias)).sum(-1)
    return _front(total * query.shape[-1] ** -0.5)


def _normalised(logits: Tensor, scene: Scene, normalisation: str) -> Float[Tensor, "b h m k"]:
    """Weights of the neighbours."""
    if normalisation == "softmax":
        return seen(logits, scene.neighbourhood).softmax(-1)
    valid = scene.neighbourhood.weights()
    weights = logits.exp() if normalisation == "exp" else logits
    return (weights if valid is None else weights * valid[:, None]) / scene.neighbourhood.count[:, None]
