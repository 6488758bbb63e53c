"""Attention between multivector tokens: inner products, distances between points, and scalars, through the fused kernel.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), section 3.2:

    logit_ij = [sum_c <q_ic, k_jc> + sum_c exp(lambda_hc) phi(q_ic).psi(k_jc) + q^s_i.k^s_j] / sqrt(width),

where phi(q).psi(k) is minus the squared distance of the points q and k. All three are dot products, so queries and keys are concatenated
to one vector. With keys and values shared by all heads, the heads are further queries of one attention: no tensor is copied for them.

Axes: b batch, n queries, m keys, h heads, k heads of keys, c multivector channels of a head, s scalars of a head, w width.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from torsor.errors import SignatureError
from torsor.nn.attention import attend
from torsor.nn.multivector_layers import MultivectorDropout, wide
from torsor.nn.multivector_linear import Implementation, MultivectorLinear
from torsor.representations import GeometricAlgebra
from torsor.representations.geometric_algebra import inner_table, join_table
from torsor.representations.precision import precise
from torsor.representations.tables import Array, Table

Logits = Literal["distance", "inner", "join"]
EPSILON = 1e-3
"""Added to the square of a point's weight e123 where it is divided by it."""


class Visibility(NamedTuple):
    """What attention weights besides its logits.

    Args:
        bias: added to the logits, -inf where a query does not see a key.
        seeing: whether a query sees any key; None where all do.
        plain: write the attention out, see `torsor.nn.attention`.
    """

    bias: Float[Tensor, "#b #n #h m"] | None
    seeing: Bool[Tensor, "#b n"] | None
    plain: bool = False


def visibility(
    visible: Bool[Tensor, "b #n m"] | None, bias: Float[Tensor, "b n h m"] | None = None, *, like: Tensor, plain: bool = False
) -> Visibility:
    """Visible keys and a bias, in one; queries that see nothing are let see all, and their outputs set to zero."""
    if visible is None:
        return Visibility(bias, None, plain)
    seeing = visible.any(-1)
    shown = (visible | ~seeing[..., None])[:, :, None]
    added = (like.new_zeros(()) if bias is None else bias).where(shown, float("-inf"))
    return Visibility(added, seeing, plain)


@Table
def invariant_slots(metric: str) -> Array:
    """The signs of the slots in the inner product."""
    return inner_table(metric)[list(GeometricAlgebra(metric).slots)]


@Table
def join_norm_table() -> Array:
    """[p, i, j]: the components without e0 of the join, on slots of G(3, 0, 1)."""
    slots = list(GeometricAlgebra("0+++").slots)
    joined: Array = join_table()[slots[:8]][:, slots][:, :, slots]
    return joined


def point_features(x: Float[Tensor, "16 *shape"], epsilon: float = EPSILON) -> Float[Tensor, "5 *shape"]:
    """Phi of each multivector of G(3, 0, 1), in slots: (|u|^2, v^2, u v) with u = n t, v = n w, n = w / (w^2 + eps).

    w is the component e123 and t those of e012, e013, e023: u/v are the coordinates of the point up to order and sign. `psi` is the same in
    another order, see `MultivectorAttention`. Points at infinity, w = 0, have no feature.
    """
    weight = x[7]
    n = weight / (weight.square() + epsilon)
    u, v = n * x[12:15], n * weight
    return torch.cat((u.square().sum(0)[None], v.square()[None], u * v))


def key_point_features(x: Float[Tensor, "16 *shape"], epsilon: float = EPSILON) -> Float[Tensor, "5 *shape"]:
    """Psi of each multivector: (-v^2, -|u|^2, 2 u v)."""
    square, weight, mixed = torch.split(point_features(x, epsilon), [1, 1, 3])
    return torch.cat((-weight, -square, 2 * mixed))


class Context(NamedTuple):
    """Tokens to attend to: multivectors, scalars, and multivector channels that are reinserted."""

    x: Float[Tensor, "16 b m c"]
    s: Float[Tensor, "b m s"]
    again: Float[Tensor, "16 b m r"] | None = None


class MultivectorAttention(nn.Module):
    """Multi-head or multi-query attention over tokens of multivectors and scalars.

    Args:
        algebra: whose inner product.
        channels: multivector channels in and out.
        scalars: scalar channels in and out.
        heads: attention heads, of max(factor channels / heads, 1) multivector and max(factor scalars / heads, 4) scalar channels.
        factor: channels of all heads together over those of the input.
        logits: "distance" (G(3, 0, 1) alone), "inner" products alone, or "join", minus the squared norm of the join, which is the exact
            distance of points and of planes through lines, at the price of memory for every pair of tokens.
        multi_query: one head of keys and values for all heads of queries.
        reinserted: multivector channels that are given to queries and keys of every layer anew.
        rotary: rotary encoding of the place of a token, on the scalars.
        reflections: see `MultivectorLinear`.
        dropout: probability that a grade of an output channel is dropped.
        implementation: see `MultivectorLinear`.

    Raises:
        SignatureError: distances in another algebra.
    """

    def __init__(
        self,
        algebra: GeometricAlgebra,
        channels: int,
        scalars: int,
        *,
        heads: int = 8,
        factor: int = 2,
        logits: Logits = "distance",
        multi_query: bool = True,
        reinserted: int = 0,
        rotary: bool = False,
        dropout: float = 0.0,
        reflections: bool = True,
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        if logits != "inner" and algebra.metric != "0+++":
            raise SignatureError(f"logits {logits!r} need the points of G(3, 0, 1), not the metric {algebra.metric}: give 'inner'")
        self.metric, self.logits, self.rotary = algebra.metric, logits, rotary
        self.heads, self.key_heads = heads, 1 if multi_query else heads
        self.channels, self.scalars = max(factor * channels // heads, 1), max(factor * scalars // heads, 4)
        if rotary:
            self.scalars = max(self.scalars + self.scalars % 2, 8)
        common: dict[str, Any] = {"reflections": reflections, "implementation": implementation}
        seen, widths = channels + reinserted, (self.heads, self.key_heads, self.key_heads)
        self.query, self.key, self.value = (
            MultivectorLinear(algebra, source, width * self.channels, scalars, width * self.scalars, **common)
            for source, width in zip((seen, seen, channels), widths, strict=True)
        )
        inner = self.heads * self.channels, self.heads * self.scalars
        self.merge = MultivectorLinear(algebra, inner[0], channels, inner[1], scalars, initialisation="small", **common)
        self.dropout = MultivectorDropout(algebra, dropout)
        self.log_weight = None if logits == "inner" else nn.Parameter(torch.zeros(heads, self.channels))

    def forward(
        self,
        x: Float[Tensor, "16 b n c"],
        s: Float[Tensor, "b n s"],
        seen: Visibility,
        again: Float[Tensor, "16 b n r"] | None = None,
        context: Context | None = None,
    ) -> tuple[Float[Tensor, "16 b n c"], Float[Tensor, "b n s"]]:
        """What each token gathers from the tokens it sees.

        Args:
            x: multivectors of the queries.
            s: scalars of the queries.
            seen: which keys count, and how much.
            again: reinserted channels of the queries.
            context: the tokens that make keys and values; those of the queries where it is None.
        """
        source = Context(x, s, again) if context is None else context
        queries = self._heads(self.query(_with(x, again), s), self.heads)
        keys = self._heads(self.key(_with(source.x, source.again), source.s), self.key_heads)
        values = self._heads(self.value(source.x, source.s), self.key_heads)
        query, key = self._queries(*queries), self._keys(*keys)
        bias = self._joins(queries[0], keys[0], query.shape[-1], seen.bias) if self.logits == "join" else seen.bias
        with precise(x):
            # distances are differences of large numbers: half precision would lose them
            mixed = self._attend(wide(query), wide(key), wide(_tokens(*values)), bias, seen.plain)
        if seen.seeing is not None:
            mixed = mixed.where(seen.seeing[..., None, None], 0)
        c = self.channels
        mixed_x = torch.unflatten(mixed[..., : 16 * c], -1, (16, c)).permute(3, 0, 1, 2, 4).flatten(3)
        dropped: tuple[Tensor, Tensor] = self.dropout(*self.merge(mixed_x, mixed[..., 16 * c : 16 * c + self.scalars].flatten(2)))
        return dropped

    def _heads(self, pair: tuple[Tensor, Tensor], heads: int) -> tuple[Float[Tensor, "16 b n h c"], Float[Tensor, "b n h s"]]:
        """Channels apart by heads."""
        x, s = pair
        return torch.unflatten(x, -1, (heads, -1)), torch.unflatten(s, -1, (heads, -1))

    def _queries(self, x: Float[Tensor, "16 b n h c"], s: Float[Tensor, "b n h s"]) -> Float[Tensor, "b n h w"]:
        """What is multiplied with keys."""
        if self.logits == "inner":
            return _tokens(x[:8] if self.metric == "0+++" else x, self._placed(s))
        if self.logits == "join":
            return _tokens(x[:7], self._placed(s))
        assert self.log_weight is not None
        with precise(x):
            features = point_features(wide(x)) * self.log_weight.exp()
        return _tokens(torch.cat((wide(x[:7]), features)), self._placed(s))

    def _keys(self, x: Float[Tensor, "16 b m k c"], s: Float[Tensor, "b m k s"]) -> Float[Tensor, "b m k w"]:
        """What is multiplied with queries."""
        if self.logits == "inner" and self.metric != "0+++":
            x = x * invariant_slots.like(x, self.metric)[:, None, None, None, None]
        if self.logits != "distance":
            return self._queries(x, s)
        with precise(x):
            features = key_point_features(wide(x))
        return _tokens(torch.cat((wide(x[:7]), features)), self._placed(s))

    def _placed(self, s: Float[Tensor, "b n h s"]) -> Float[Tensor, "b n h s"]:
        """The scalars, turned by the place of their token where the encoding is rotary."""
        return rotate_by_place(s) if self.rotary else s

    def _joins(self, q: Tensor, k: Tensor, width: int, bias: Tensor | None) -> Float[Tensor, "b n h m"]:
        """The bias, and minus the squared norms of all joins of a query with a key, in units of the logits."""
        assert self.log_weight is not None
        with precise(q):
            q, k = wide(q), wide(k).expand(-1, -1, -1, self.heads, -1)
            joined = torch.einsum("pij,ibnhc,jbmhc->pbnhmc", join_norm_table.like(q), q, k)
            distance: Tensor = torch.einsum("pbnhmc,hc->bnhm", joined.square(), self.log_weight.exp()) * width**-0.5
        return -distance if bias is None else bias - distance

    def _attend(
        self,
        query: Float[Tensor, "b n h w"],
        key: Float[Tensor, "b m k w"],
        value: Float[Tensor, "b m k v"],
        bias: Float[Tensor, "#b #n #h m"] | None,
        plain: bool,
    ) -> Float[Tensor, "b n h p"]:
        """Fused attention on widths padded alike, to a multiple of eight."""
        b, n, h, width = query.shape
        padded = -(-max(width, value.shape[-1]) // 8) * 8
        key = key * (padded / width) ** 0.5
        q, k, v = (pad(x, (0, padded - x.shape[-1])) for x in (query, key, value))
        if self.key_heads == 1:
            rows = None if bias is None else bias.to(q.dtype).expand(b, n, h, -1).flatten(1, 2)[:, None]
            mixed = attend(q.flatten(1, 2)[:, None], k.transpose(1, 2), v.transpose(1, 2), rows, plain=plain)
            return torch.unflatten(mixed[:, 0], 1, (n, h))
        rows = None if bias is None else bias.to(q.dtype).expand(b, n, h, -1).transpose(1, 2)
        return attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), rows, plain=plain).transpose(1, 2)


def _with(x: Float[Tensor, "16 b n c"], again: Float[Tensor, "16 b n r"] | None) -> Float[Tensor, "16 b n d"]:
    """The channels, and those that are reinserted."""
    return x if again is None else torch.cat((x, again.to(x.dtype)), -1)


def _tokens(x: Float[Tensor, "f b n h c"], s: Float[Tensor, "b n h s"]) -> Float[Tensor, "b n h w"]:
    """Slots, channels and scalars in one row for each token and head."""
    return torch.cat((x.permute(1, 2, 3, 0, 4).flatten(3), s), -1)


def rotate_by_place(s: Float[Tensor, "b n h s"], base: float = 4096.0) -> Float[Tensor, "b n h s"]:
    """Pairs of scalars turned by the place of their token times a frequency of their own (Su et al. 2021, RoFormer, equation 34)."""
    n, pairs = s.shape[1], s.shape[-1] // 2
    frequency = base ** (-torch.arange(pairs, device=s.device, dtype=s.dtype) / pairs)
    angle = (torch.arange(n, device=s.device, dtype=s.dtype)[:, None] * frequency)[:, None]
    first, second = torch.split(s, pairs, -1)
    return torch.cat((first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()), -1)
