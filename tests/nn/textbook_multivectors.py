"""The layers of multivectors on components `[..., c, 16]`, from the formulas of the paper and as slow: the oracle of the fast ones.

Every function takes the fast layer for its weights.
"""

import math

import torch

from torsor.representations import GeometricAlgebra
from torsor.representations.geometric_algebra import GRADES, equivariant_maps


def textbook_linear(layer, x, s):
    """sum_m w_m B_m(x), B_m of Frobenius norm one; scalars and bias in the grade 0."""
    maps = torch.tensor(equivariant_maps(layer.metric, layer.reflections), dtype=x.dtype)
    maps = maps / maps.flatten(1).norm(dim=1)[:, None, None]
    y = torch.zeros(*x.shape[:-2], layer.weight.shape[2], 16, dtype=x.dtype)
    for matrix, weight in zip(maps, layer.weight, strict=True):
        y = y + torch.einsum("ki,...ci,cd->...dk", matrix, x, weight)
    grade0 = torch.zeros_like(y[..., 0])
    if layer.bias is not None:
        grade0 = grade0 + layer.bias
    if layer.from_scalars is not None:
        grade0 = grade0 + s @ layer.from_scalars.T
    y = y + torch.nn.functional.pad(grade0[..., None], (0, 15))
    if layer.to_scalars is None:
        return y, s[..., :0]
    c = x.shape[-2]
    weight = layer.to_scalars.weight
    return y, x[..., 0] @ weight[:, :c].T + s @ weight[:, c:].T + layer.to_scalars.bias


def textbook_norm(algebra: GeometricAlgebra, x, s):
    """x / sqrt(max(mean_c sum_k |<x_c>_k^2|, 0.01))."""
    squares = sum(algebra.inner(algebra.grade(x, k), algebra.grade(x, k)).abs() for k in range(5)).mean(-1)
    mean, variance = s.mean(-1, keepdim=True), s.var(-1, unbiased=False, keepdim=True)
    return x / squares.clamp(min=0.01).sqrt()[..., None, None], (s - mean) / (variance + 1e-5).sqrt()


def textbook_gate(x, s):
    """The tanh form of GELU for multivectors, the exact one for scalars."""
    g = x[..., :1]
    gate = 0.5 * g * (1 + torch.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g**3)))
    return gate * x, 0.5 * s * (1 + torch.erf(s / math.sqrt(2)))


def textbook_bilinear(algebra: GeometricAlgebra, layer, x, s, reference):
    """(l r, z (l' v r')), then a linear map."""
    y, _ = textbook_linear(layer.factors, x, s)
    parts = y.chunk(layer.parts, -2)
    products = algebra.product(parts[0], parts[1])
    if layer.join is not None:
        products = torch.cat((products, algebra.join(parts[2], parts[3]) * reference), -2)
    return textbook_linear(layer.merge, products, s)


def textbook_mlp(algebra: GeometricAlgebra, mlp, x, s, reference):
    """Bilinear layer, gate, linear layer."""
    return textbook_linear(mlp.merge, *textbook_gate(*textbook_bilinear(algebra, mlp.bilinear, x, s, reference)))


def point_distance(q, k, epsilon):
    """Minus the squared distance of two homogeneous points, each divided by w^2 + eps in place of w^2."""
    tq, tk, wq, wk = q[..., 11:14], k[..., 11:14], q[..., 14:15], k[..., 14:15]
    weight = (wq / (wq**2 + epsilon) * wk / (wk**2 + epsilon)).squeeze(-1) ** 2
    return -weight * (wk * tq - wq * tk).square().sum(-1)


def textbook_attention(algebra: GeometricAlgebra, layer, x, s, visible=None, bias=None, again=None, context=None):
    """One loop over samples, heads, queries and keys."""
    source, source_s, source_again = (x, s, again) if context is None else context
    add = lambda y, more: y if more is None else torch.cat((y, more), -2)  # noqa: E731
    (q, qs), (k, ks), (v, vs) = (
        textbook_linear(layer.query, add(x, again), s),
        textbook_linear(layer.key, add(source, source_again), source_s),
        textbook_linear(layer.value, source, source_s),
    )
    c, r = layer.channels, layer.scalars
    batch, n, m = x.shape[0], x.shape[1], source.shape[1]
    mixed = torch.zeros(batch, n, layer.heads, c, 16, dtype=x.dtype)
    mixed_s = torch.zeros(batch, n, layer.heads, r, dtype=x.dtype)
    width = {"distance": 12 * c, "inner": (8 if algebra.metric == "0+++" else 16) * c, "join": 7 * c}[layer.logits] + r
    for b in range(batch):
        for h in range(layer.heads):
            keys = h if layer.key_heads > 1 else 0
            at, at_s, key, key_s = (slice(i * w, (i + 1) * w) for i, w in ((h, c), (h, r), (keys, c), (keys, r)))
            for i in range(n):
                logits = torch.full((m,), float("-inf"), dtype=x.dtype)
                for j in range(m):
                    if visible is None or visible[b, i, j]:
                        added = 0.0 if bias is None else bias[b, i, h, j]
                        logits[j] = (
                            logit(algebra, layer, q[b, i, at], k[b, j, key], qs[b, i, at_s], ks[b, j, key_s], h) / width**0.5 + added
                        )
                if logits.isinf().all():
                    continue
                weights = logits.softmax(0)
                mixed[b, i, h] = torch.einsum("j,jck->ck", weights, v[b, :, key])
                mixed_s[b, i, h] = weights @ vs[b, :, key_s]
    return textbook_linear(layer.merge, mixed.flatten(2, 3), mixed_s.flatten(2))


def logit(algebra: GeometricAlgebra, layer, q, k, qs, ks, head):
    """The logit of one query and one key, before the scale."""
    scalars = qs @ ks
    if layer.logits == "inner":
        return algebra.inner(q, k).sum() + scalars
    blind = torch.ones(16, dtype=q.dtype)
    blind[14] = 0  # the weight of points belongs to their distance
    inner = algebra.inner(q * blind, k).sum()
    if layer.logits == "distance":
        return inner + (layer.log_weight[head].exp() * point_distance(q, k, 1e-3)).sum() + scalars
    joined = algebra.join(q, k)
    return inner - (layer.log_weight[head].exp() * algebra.inner(joined, joined)).sum() + scalars


def grades_of(x):
    """Components `[..., 16]` grade by grade."""
    return [x[..., [i for i, grade in enumerate(GRADES) if grade == k]] for k in range(5)]
