"""A multilayer perceptron for any matrix group and any representations.

Finzi, Welling, Wilson: A Practical Method for Constructing Equivariant Multilayer Perceptrons for Arbitrary Matrix Groups (2021): linear
layers from a numerical basis, a bilinear layer, and gates. Nothing is hard-wired to a group, so it is slow for large representations.

    group = groups.SL2()
    model = EquivariantMLP(group, BinaryForms(4) + 2 * Vectors(), Trivial())
    output = model(features)

Axes: k maps of a basis, c channels (copies of one representation), o and i components out and in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from operator import add
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.errors import RepresentationError, ShapeError
from torsor.groups.base import Group
from torsor.representations import Representation, Trivial
from torsor.representations.basis import common_group, is_permuted, part_basis
from torsor.representations.commuting import for_each_factor
from torsor.signatures import FeatureVectors
from torsor.symmetry import Symmetry

PRODUCTS_AT_START = 0.1
"""Size of the bilinear terms beside the linear ones in a new network."""


@dataclass(frozen=True)
class EquivariantMLPConfig(Settings):
    """Settings of `EquivariantMLP`.

    Args:
        channels: hidden scalars, and copies of each other summand of the input and output.
        layers: number of hidden layers.
        multiplied: largest dimension of a summand that is multiplied by others; of larger ones, such as tensors of a high rank, there are
            many products.
    """

    families: ClassVar[tuple[type, ...]] = (FeatureVectors,)
    channels: int = 16
    layers: int = 2
    multiplied: int | None = None

    def build(self, signature: FeatureVectors) -> EquivariantMLP:
        """The model for a task's signature.

        Raises:
            RepresentationError: a summand is too large to solve for.
        """
        return EquivariantMLP(signature.group, signature.rep_in, signature.rep_out, self.channels, self.layers, self.multiplied)


class Constant(nn.Module):
    """A tensor that follows its module to other types and devices, and loses no digit on the way there and back.

    Args:
        exact: the values, in float64.
    """

    value: Tensor

    def __init__(self, exact: Float[Tensor, "..."]) -> None:
        super().__init__()
        self.exact = exact
        self.register_buffer("value", exact.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Constant:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.value = self.exact.to(self.value)
        return self


def is_scalar(part: Representation, group: Group) -> bool:
    """Whether the representation is one number that does not change."""
    return part.dim == 1 and len(part_basis(Trivial().on(group), part, group)) == 1


def is_pointwise(part: Representation, group: Group) -> bool:
    """Whether a function applied to every number commutes with the group: it leaves the numbers alone, or permutes them."""
    return is_scalar(part, group) or is_permuted(part, group)


def kinds(*reps: Representation) -> tuple[Representation, ...]:
    """The different summands, each once, in order."""
    return tuple(dict.fromkeys(part for rep in reps for _, part in rep.parts()))


class Span(nn.Module):
    """A matrix of free coefficients times a basis, block by block; zero where no map commutes with the group.

    Args:
        rep_in: columns, bound to a group.
        rep_out: rows, bound to the same group.
        gain: a vector of variance one goes to one of variance `gain` squared at the start.
    """

    places: Tensor

    def __init__(self, rep_in: Representation, rep_out: Representation, gain: float) -> None:
        super().__init__()
        group = common_group(rep_in, rep_out)
        self.shape = (rep_out.dim, rep_in.dim)
        self.weights, self.bases = nn.ParameterDict(), nn.ModuleDict()
        places = [torch.zeros(0, dtype=torch.int64)]
        whole = torch.arange(rep_out.dim * rep_in.dim).reshape(self.shape)
        for row, (mul_out, out) in enumerate(rep_out.parts()):
            band, whole = whole[: mul_out * out.dim], whole[mul_out * out.dim :]
            bases = [part_basis(part, out, group) for _, part in rep_in.parts()]
            inflow = sum(mul * len(basis) for (mul, _), basis in zip(rep_in.parts(), bases, strict=True))
            for column, ((mul_in, into), basis) in enumerate(zip(rep_in.parts(), bases, strict=True)):
                block, band = band[:, : mul_in * into.dim], band[:, mul_in * into.dim :]
                if len(basis):
                    weight = torch.randn(len(basis), mul_out, mul_in) * gain * (out.dim / inflow) ** 0.5
                    self.weights[f"{row}_{column}"] = nn.Parameter(weight)
                    self.bases[f"{row}_{column}"] = Constant(basis)
                    places.append(block.flatten())
        self.register_buffer("places", torch.cat(places), persistent=False)

    def forward(self, like: Float[Tensor, "..."]) -> Float[Tensor, "o i"]:
        """The matrix of the present weights; `like` gives type and device where there are none."""
        parts = [torch.einsum("kcd,koi->codi", weight, self.bases[name].value).flatten() for name, weight in self.weights.items()]
        empty = (parts[0] if parts else like).new_zeros(self.shape[0] * self.shape[1])
        return (empty.index_copy(0, self.places, torch.cat(parts)) if parts else empty).view(self.shape)


class EquivariantLinear(nn.Module):
    """x -> W x + b with every W that commutes with the group, and every b that the group leaves alone.

    The variance of the output is `gain` squared times that of the input at the start, and b is zero.

    Args:
        rep_in: how the input transforms, bound to its group.
        rep_out: how the output transforms, bound to its group.
        gain: scale of the weights at the start.
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, gain: float = 1.0) -> None:
        super().__init__()
        self.rep_in, self.rep_out = rep_in, rep_out
        self.weight = Span(rep_in, rep_out, gain)
        self.bias = Span(Trivial().on(common_group(rep_in, rep_out)), rep_out, gain=0.0)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        """W x + b."""
        return nn.functional.linear(x, self.weight(x), self.bias(x).squeeze(-1))


class EquivariantProduct(nn.Module):
    """x -> W_3 (W_1 x * W_2 x): every bilinear product of two summands, channel by channel, between linear layers.

    The products of a vector with itself are the invariants from which the gates learn: the squared norm for O(n), the Minkowski product for
    the Lorentz group, the area of a pair for SL(2). Scalars and summands that the group permutes are not multiplied: they have functions
    applied to every number instead, see `Gated`.

    Args:
        rep: how input and output transform, bound to its group.
        channels: copies of each summand that are multiplied.
        largest: dimension beyond which a summand is not multiplied; all are if not given.
    """

    def __init__(self, rep: Representation, channels: int, largest: int | None = None) -> None:
        super().__init__()
        group = common_group(rep)
        self.channels = channels
        small = [kind for kind in kinds(rep) if largest is None or kind.dim <= largest]
        factors = [kind for kind in small if not is_pointwise(kind, group)]
        tables = {out: _products(factors, out, group) for out in kinds(rep)}
        tables = {out: table for out, table in tables.items() if len(table)}
        self.dims, self.sizes = [factor.dim for factor in factors], [len(table) * out.dim for out, table in tables.items()]
        if tables:
            self.table = Constant(torch.cat([table.flatten(0, 1).flatten(1) for table in tables.values()]))
            factor_rep = reduce(add, (channels * factor for factor in factors)).on(group)
            product_rep = reduce(add, (channels * len(table) * out for out, table in tables.items())).on(group)
            self.left, self.right = EquivariantLinear(rep, factor_rep), EquivariantLinear(rep, factor_rep)
            self.mix = EquivariantLinear(product_rep, rep, gain=PRODUCTS_AT_START)

    def _channels_first(self, x: Float[Tensor, "*batch cf"]) -> Float[Tensor, "*batch c f"]:
        """One copy of every factor for each channel."""
        parts = torch.split(x, [self.channels * dim for dim in self.dims], -1)
        return torch.cat([torch.unflatten(part, -1, (self.channels, dim)) for part, dim in zip(parts, self.dims, strict=True)], -1)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch i"]:
        """All products, mixed."""
        if not self.sizes:
            return torch.zeros_like(x)
        left, right = self._channels_first(self.left(x)), self._channels_first(self.right(x))
        products = nn.functional.linear((left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2), self.table.value)
        mixed: Tensor = self.mix(torch.cat([part.flatten(-2) for part in torch.split(products, self.sizes, -1)], -1))
        return mixed


def _products(factors: Sequence[Representation], out: Representation, group: Group) -> Float[Tensor, "k o f f"]:
    """The bilinear maps from pairs of factors to a representation, on all factors side by side; their outputs have variance one."""
    size, starts = sum(factor.dim for factor in factors), accumulate((factor.dim for factor in factors), initial=0)
    placed = list(zip(starts, factors, strict=False))
    found = [torch.zeros(0, out.dim, size, size, dtype=torch.float64)]
    for i, (row, left) in enumerate(placed):
        for column, right in placed[i:]:
            maps = torch.unflatten(part_basis((left @ right).on(group), out, group), -1, (left.dim, right.dim))
            before, after = (column, size - column - right.dim), (row, size - row - left.dim)
            found.append(nn.functional.pad(maps * out.dim**0.5, (*before, *after)))
    return torch.cat(found)


class Gated(nn.Module):
    """Numbers that the group leaves alone or permutes x -> silu(x); every other summand times sigmoid of a scalar of its own.

    Smooth everywhere, zero included.

    Args:
        rep: how the output transforms, bound to its group; the input has one more scalar for each summand that is gated.
    """

    def __init__(self, rep: Representation) -> None:
        super().__init__()
        group = common_group(rep)
        self.runs = [(mul, part.dim, is_pointwise(part, group)) for mul, part in rep.parts()]
        self.gates = sum(mul for mul, _, pointwise in self.runs if not pointwise)
        self.rep_in = rep + Trivial(self.gates) if self.gates else rep

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        """Apply the gates."""
        features, gates = x[..., : x.shape[-1] - self.gates], x[..., x.shape[-1] - self.gates :].sigmoid()
        parts, used = [], 0
        for part, (mul, dim, pointwise) in zip(torch.split(features, [mul * dim for mul, dim, _ in self.runs], -1), self.runs, strict=True):
            if pointwise:
                parts.append(nn.functional.silu(part))
            else:
                gate = gates[..., used : used + mul].unsqueeze(-1)
                parts.append((torch.unflatten(part, -1, (mul, dim)) * gate).flatten(-2))
                used += mul
        return torch.cat(parts, -1)


class EquivariantBlock(nn.Module):
    """y = W x + b, y += products of y, gates.

    Args:
        rep_in: how the input transforms, bound to its group.
        rep_out: how the output transforms, bound to its group.
        channels: copies of each summand that are multiplied.
        multiplied: largest dimension of a summand that is multiplied; all are if not given.
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, channels: int, multiplied: int | None = None) -> None:
        super().__init__()
        self.gated = Gated(rep_out)
        between = self.gated.rep_in.on(common_group(rep_out))
        self.linear = EquivariantLinear(rep_in, between)
        self.product = EquivariantProduct(between, channels, multiplied)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        """Apply the block."""
        y = self.linear(x)
        output: Tensor = self.gated(y + self.product(y))
        return output


class EquivariantMLP(nn.Module):
    """A multilayer perceptron that commutes with a group: `depth` blocks of linear maps, products and gates, then a linear map.

    Args:
        group: any group; it need not be compact.
        rep_in: how the input transforms; under a product of groups see `for_each_factor`.
        rep_out: how the output transforms.
        hidden: how the hidden features transform; or their channels, which stand for as many scalars and copies of each summand of the
            input and output.
        depth: number of hidden layers.
        multiplied: largest dimension of a summand that is multiplied by others; all are if not given.

    Raises:
        RepresentationError: a summand is too large to solve for, or does not say what each factor of a product does.
    """

    def __init__(
        self,
        group: Group,
        rep_in: Representation,
        rep_out: Representation,
        hidden: Representation | int = 16,
        depth: int = 2,
        multiplied: int | None = None,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise RepresentationError(f"depth is {depth}: give 1 or more hidden layers")
        self.symmetry = Symmetry(group, {"x": for_each_factor(rep_in, group)}, output=for_each_factor(rep_out, group))
        rep_in, rep_out = rep_in.on(group), rep_out.on(group)
        self.width = rep_in.dim
        inner = _hidden(hidden, rep_in, rep_out, group)
        channels = max(mul for mul, _ in inner.parts())
        reps = (rep_in, *(inner,) * depth)
        self.blocks = nn.ModuleList(EquivariantBlock(a, inner, channels, multiplied) for a in reps[:-1])
        self.head = EquivariantLinear(inner, rep_out)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        """Map features `[..., rep_in.dim]` to `[..., rep_out.dim]`.

        Raises:
            ShapeError: the last axis of x is not that of rep_in.
        """
        if x.shape[-1] != self.width:
            raise ShapeError(f"x is {list(x.shape)} but rep_in has dimension {self.width}: give [..., {self.width}]")
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.head(x)
        return output


def _hidden(hidden: Representation | int, rep_in: Representation, rep_out: Representation, group: Group) -> Representation:
    """The hidden representation, bound; for a number of channels as many scalars and copies of each other summand."""
    if isinstance(hidden, Representation):
        return hidden.on(group)
    if hidden < 1:
        raise RepresentationError(f"hidden is {hidden}: give 1 channel or more")
    others = [hidden * kind for kind in kinds(rep_in, rep_out) if not is_scalar(kind, group)]
    return reduce(add, others, Trivial(hidden)).on(group)
