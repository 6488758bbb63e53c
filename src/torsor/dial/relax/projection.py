"""Projection: how far a free weight is from the equivariant ones, and the nearest of them.

The linear maps W with rho_out(g) W = W rho_in(g) are a linear space. Pi projects onto it: by an orthonormal basis (Finzi, Welling, Wilson
2021), or, where the group can be listed or sampled, by the average Pi W = mean_g rho_out(g)^-1 W rho_in(g), which is the orthogonal
projection too if the representations are orthogonal. The penalty is ||W - Pi W||^2.

Axes: i numbers in, o numbers out, k maps of a basis or elements of a group, c and d copies of a summand in and out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from torsor.dial.relax.base import Dial, Exchanged, penalty_weight
from torsor.errors import ConfigError, GroupError, RepresentationError, ShapeError
from torsor.groups.base import Element, Group
from torsor.models.equivariant_mlp import Constant, EquivariantLinear
from torsor.representations import Representation, Trivial
from torsor.representations.basis import common_group, part_basis
from torsor.symmetry import Symmetry

Representations = tuple[Representation, Representation]


class Projection(nn.Module, ABC):
    """Pi: from all matrices to the equivariant ones."""

    @abstractmethod
    def forward(self, weight: Float[Tensor, "o i"]) -> Float[Tensor, "o i"]:
        """The nearest equivariant matrix."""

    def distance(self, weight: Float[Tensor, "o i"]) -> Float[Tensor, ""]:
        """||W - Pi W||^2, the squared Frobenius distance from the equivariant matrices."""
        distance: Tensor = (weight - self(weight)).square().sum()
        return distance


class BasisProjection(Projection):
    """Pi W = sum_k <B_k, W> B_k with an orthonormal basis, one pair of summands at a time.

    Args:
        rep_in: how the input transforms.
        rep_out: how the output transforms.
        group: what both are bound to; may be left out where one of them is bound.

    Raises:
        RepresentationError: no group, or two; or a pair of summands is too large to solve for.
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, group: Group | None = None) -> None:
        super().__init__()
        group = common_group(rep_in, rep_out, group=group)
        self.rows, self.columns = ([(mul, part.dim, part) for mul, part in rep.on(group).parts()] for rep in (rep_out, rep_in))
        pairs = [(out, into) for _, _, out in self.rows for _, _, into in self.columns]
        self.bases = nn.ModuleList(Constant(part_basis(into, out, group)) for out, into in pairs)

    def forward(self, weight: Float[Tensor, "o i"]) -> Float[Tensor, "o i"]:
        """The nearest equivariant matrix."""
        bands = torch.split(weight, [mul * dim for mul, dim, _ in self.rows])
        return torch.cat([self._band(band, row) for row, band in enumerate(bands)])

    def _band(self, band: Float[Tensor, "p i"], row: int) -> Float[Tensor, "p i"]:
        """The rows of one kind of summand."""
        mul_out, dim_out, _ = self.rows[row]
        blocks = torch.split(band, [mul * dim for mul, dim, _ in self.columns], 1)
        bases = list(self.bases)[row * len(blocks) : (row + 1) * len(blocks)]
        found = []
        for block, (mul_in, dim_in, _), basis in zip(blocks, self.columns, bases, strict=True):
            maps = torch.einsum("koi,codi->kcd", basis.value, block.reshape(mul_out, dim_out, mul_in, dim_in))
            found.append(torch.einsum("kcd,koi->codi", maps, basis.value).reshape(block.shape))
        return torch.cat(found, 1)


class AverageProjection(Projection):
    """Pi W = mean_g rho_out(g)^-1 W rho_in(g): over all elements of a finite group, or over random ones of a compact one.

    A mean over random elements approaches Pi like 1/sqrt(samples), and is no projection itself.

    Args:
        rep_in: how the input transforms.
        rep_out: how the output transforms.
        group: what both are bound to; may be left out where one of them is bound.
        samples: number of random elements; all elements if not given.
        generator: where random elements come from.

    Raises:
        GroupError: the group cannot be listed, and no samples are given; or it is not compact, so that it has no mean.
    """

    def __init__(
        self,
        rep_in: Representation,
        rep_out: Representation,
        group: Group | None = None,
        samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        group = common_group(rep_in, rep_out, group=group)
        elements = listed(group) if samples is None else _drawn(group, samples, generator)
        self.left = Constant(rep_out.on(group).matrix(group.inverse(elements)).double())
        self.right = Constant(rep_in.on(group).matrix(elements).double())

    def forward(self, weight: Float[Tensor, "o i"]) -> Float[Tensor, "o i"]:
        """The mean."""
        return (self.left.value @ weight @ self.right.value).mean(0)


def listed(group: Group) -> Element:
    """All elements of a finite group.

    Raises:
        GroupError: the group cannot be listed.
    """
    elements = getattr(group, "elements", None)
    if elements is None:
        raise GroupError(f"the elements of {group} cannot be listed: give samples= for a mean over random ones")
    return elements()


def _drawn(group: Group, samples: int, generator: torch.Generator | None) -> Element:
    """Random elements of a compact group."""
    if not group.compact or samples < 1:
        raise GroupError(f"a mean over {samples} elements of {group} needs a compact group and 1 sample or more")
    return group.sample(samples, generator=generator, dtype=torch.float64)


def projection(rep_in: Representation, rep_out: Representation, group: Group | None = None) -> Projection:
    """Pi by a basis, or by the mean over a finite group where the basis is too large to solve for.

    Args:
        rep_in: how the input transforms.
        rep_out: how the output transforms.
        group: what both are bound to; may be left out where one of them is bound.

    Raises:
        RepresentationError: the basis is too large, and the group cannot be listed.
    """
    try:
        return BasisProjection(rep_in, rep_out, group)
    except RepresentationError:
        if not hasattr(common_group(rep_in, rep_out, group=group), "elements"):
            raise
        return AverageProjection(rep_in, rep_out, group)


@torch.no_grad()
def project_(layer: nn.Linear, rep_in: Representation, rep_out: Representation, group: Group | None = None) -> nn.Linear:
    """Replace weight and bias of a linear layer by the nearest equivariant ones, in place.

    Args:
        layer: maps `rep_in` to `rep_out`.
        rep_in: how its input transforms.
        rep_out: how its output transforms.
        group: what both are bound to; may be left out where one of them is bound.

    Raises:
        ShapeError: the layer has another shape than the representations.
    """
    group = common_group(rep_in, rep_out, group=group)
    rep_in, rep_out = rep_in.on(group), rep_out.on(group)
    _require_shape(layer, (rep_in, rep_out))
    pi = projection(rep_in, rep_out, group).to(layer.weight)
    layer.weight.copy_(pi(layer.weight))
    if layer.bias is not None:
        pi = projection(Trivial().on(group), rep_out, group).to(layer.weight)
        layer.bias.copy_(pi(layer.bias.unsqueeze(-1)).squeeze(-1))
    return layer


def _require_shape(layer: nn.Linear, reps: Representations) -> None:
    wanted = (reps[1].dim, reps[0].dim)
    if tuple(layer.weight.shape) != wanted:
        raise ShapeError(f"the layer's weight is {list(layer.weight.shape)} but the representations map {wanted[1]} numbers to {wanted[0]}")


class ProjectedLinear(Dial):
    """A free linear layer that is drawn towards the equivariant ones: weight (||W - Pi W||^2 + ||b - Pi b||^2) joins the loss.

    Args:
        layer: its weight and bias are what is trained from there on.
        rep_in: how the input transforms, bound to its group.
        rep_out: how the output transforms, bound to its group.
        strength: the penalty counts (1 - strength) / strength. At 1 there is none; at 0 the layer computes with Pi W and Pi b.
        penalty: what it counts at strength 1/2.
    """

    def __init__(self, layer: nn.Linear, rep_in: Representation, rep_out: Representation, strength: float, penalty: float = 1.0) -> None:
        super().__init__(strength)
        group = common_group(rep_in, rep_out)
        rep_in, rep_out = rep_in.on(group), rep_out.on(group)
        _require_shape(layer, (rep_in, rep_out))
        self.layer, self.penalty_weight = layer, penalty
        self.on_weight = projection(rep_in, rep_out, group)
        self.on_bias = None if layer.bias is None else projection(Trivial().on(group), rep_out, group)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        """W x + b, and in the strict branch Pi W x + Pi b."""
        if self.freedom:
            free: Tensor = self.layer(x)
            return free
        bias = None if self.on_bias is None else self.on_bias(self.layer.bias.unsqueeze(-1)).squeeze(-1)
        return linear(x, self.on_weight(self.layer.weight), bias)

    def penalty(self) -> Float[Tensor, ""] | None:
        """The weighted squared distance from the equivariant layers."""
        weight = self.penalty_weight * penalty_weight(self.freedom)
        if weight == 0:
            return None
        distance = self.on_weight.distance(self.layer.weight)
        if self.on_bias is not None:
            distance = distance + self.on_bias.distance(self.layer.bias.unsqueeze(-1))
        return weight * distance


def dense(layer: EquivariantLinear) -> nn.Linear:
    """A plain linear layer with the matrix of an equivariant one."""
    like = torch.empty(0, dtype=torch.get_default_dtype())
    with torch.no_grad():
        weight, bias = layer.weight(like), layer.bias(like).squeeze(-1)
        plain = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
        plain.weight.copy_(weight)
        plain.bias.copy_(bias)
    return plain


def with_projections(
    module: nn.Module,
    strength: float,
    *,
    penalty: float = 1.0,
    layers: Mapping[str, Representations] | None = None,
    symmetry: Symmetry | None = None,
) -> Exchanged:
    """A copy of a model whose linear layers are free, and drawn towards the equivariant ones.

    Args:
        module: the model. Its `EquivariantLinear` layers become dense ones with the same matrices.
        strength: 0 is strict, 1 is free.
        penalty: weight of the squared distances at strength 1/2.
        layers: representations of plain `nn.Linear` layers by name, (rep_in, rep_out), bound to their group.
        symmetry: the contract of the strict branch; the module's own if not given.

    Raises:
        ConfigError: no layer has known representations, or a name is not that of a linear layer.
    """
    known = dict(layers or {})
    linears = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    for name in known:
        if name not in linears:
            raise ConfigError(f"{type(module).__name__} has no linear layer {name!r}: it has {', '.join(linears) or 'none'}")

    def exchange(name: str, layer: nn.Module) -> ProjectedLinear | None:
        if isinstance(layer, EquivariantLinear):
            return ProjectedLinear(dense(layer), layer.rep_in, layer.rep_out, strength, penalty)
        if isinstance(layer, nn.Linear) and name in known:
            return ProjectedLinear(layer, *known[name], strength, penalty)
        return None

    return Exchanged(module, exchange, strength, symmetry)
