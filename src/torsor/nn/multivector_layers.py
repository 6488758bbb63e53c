"""Layers of multivectors and scalars beside the linear ones: norm, gate, dropout, geometric bilinear and the network made of them.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), section 3; released code where it differs (the bilinear layer has
maps of its own for product and join). Multivectors are slots `[16, ..., c]`, scalars `[..., s]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, layer_norm, relu, sigmoid, silu

from torsor.errors import SignatureError
from torsor.nn.multivector_linear import Implementation, MultivectorLinear
from torsor.nn.multivector_slots import join_terms, multiply_slots, product_terms
from torsor.representations import GeometricAlgebra
from torsor.representations.geometric_algebra import inner_table
from torsor.representations.tables import Array, Table

Nonlinearity = Literal["gelu", "relu", "sigmoid", "silu", "divide"]
_GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda g: gelu(g, approximate="tanh"),
    "relu": relu,
    "sigmoid": sigmoid,
    "silu": silu,
    "divide": lambda g: sigmoid(1.5957691 * (g + 0.044715 * g**3)),
}
_SMALLEST = 0.01
"""Mean squared norms below this are not scaled up to one."""


def wide(x: Tensor) -> Tensor:
    """The numbers in float32 at least."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


@Table
def grade_magnitudes(metric: str) -> Array:
    """[grade, slot]: the signs of the inner product, grade by grade."""
    algebra = GeometricAlgebra(metric)
    signs = inner_table(metric)[list(algebra.slots)]
    return np.stack([signs * (np.array(algebra.slot_grades) == grade) for grade in range(5)])


class MultivectorNorm(nn.Module):
    """x / sqrt(max(mean_c sum_k |<x_c>_k^2|, 0.01)), in float32 or wider; scalars get a layer norm without weights.

    Args:
        algebra: whose inner product it is. Where it is definite the absolute values do nothing.
    """

    def __init__(self, algebra: GeometricAlgebra) -> None:
        super().__init__()
        self.metric = algebra.metric
        self.definite = algebra.metric == "0+++"

    def forward(
        self, x: Float[Tensor, "16 *tokens c"], s: Float[Tensor, "*tokens s"]
    ) -> tuple[Float[Tensor, "16 *tokens c"], Float[Tensor, "*tokens s"]]:
        """Multivectors of mean norm one, scalars of mean zero and variance one."""
        x, s = wide(x), wide(s)
        scale = self._squares(x).clamp(min=_SMALLEST).rsqrt()
        return x * scale[..., None], layer_norm(s, s.shape[-1:]) if s.shape[-1] else s

    def _squares(self, x: Tensor) -> Float[Tensor, "*tokens"]:
        """Mean over channels of the squared norms."""
        if self.definite:
            return torch.mean(x[:8].square(), -1).sum(0)
        squares = torch.tensordot(grade_magnitudes.like(x, self.metric), x.square(), 1).abs()
        return torch.mean(squares, -1).sum(0)


class MultivectorGate(nn.Module):
    """y = gate(x_0) x, with x_0 the grade 0 of each channel; scalars pass through the nonlinearity.

    Args:
        nonlinearity: "gelu", "relu", "silu" (of which the gate is the function itself), "sigmoid", or "divide", the sigmoid that makes
            "gelu" when it multiplies its argument.
    """

    def __init__(self, nonlinearity: Nonlinearity = "gelu") -> None:
        super().__init__()
        self.gate = nonlinearity
        self.scalar = "gelu" if nonlinearity == "divide" else nonlinearity

    def forward(
        self, x: Float[Tensor, "16 *tokens c"], s: Float[Tensor, "*tokens s"]
    ) -> tuple[Float[Tensor, "16 *tokens c"], Float[Tensor, "*tokens s"]]:
        """Scale every multivector by its gate."""
        return x * _GATES[self.gate](x[0]), gelu(s) if self.scalar == "gelu" else _GATES[self.scalar](s)


class MultivectorDropout(nn.Module):
    """Drops each grade of each channel as a unit, so that what is left still transforms; scalars one by one.

    Args:
        algebra: whose grades.
        probability: of being dropped, while training.
    """

    def __init__(self, algebra: GeometricAlgebra, probability: float = 0.0) -> None:
        super().__init__()
        self.slot_grades, self.probability = list(algebra.slot_grades), probability

    def forward(
        self, x: Float[Tensor, "16 *tokens c"], s: Float[Tensor, "*tokens s"]
    ) -> tuple[Float[Tensor, "16 *tokens c"], Float[Tensor, "*tokens s"]]:
        """Drop, in train mode only."""
        if not self.training or self.probability == 0:
            return x, s
        kept = dropout(torch.ones_like(x[:5]), self.probability)
        return x * kept[self.slot_grades], dropout(s, self.probability)


class GeometricBilinear(nn.Module):
    """Products of linear maps: (l r, z (l' v r')) for the projective algebra, l r for others, and a linear map of that.

    z is a pseudoscalar of the whole sample, which makes the join, odd under reflections, even.

    Args:
        algebra: whose products.
        channels_in: multivector channels of the input.
        channels_out: of the output and of the products; even where there are joins.
        scalars_in: scalar channels of the input.
        scalars_out: of the output.
        joins: use the join for one half of the channels.
        reflections: see `MultivectorLinear`.
        implementation: see `MultivectorLinear`.
    """

    def __init__(
        self,
        algebra: GeometricAlgebra,
        channels_in: int,
        channels_out: int,
        scalars_in: int,
        scalars_out: int,
        *,
        joins: bool = True,
        reflections: bool = True,
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        if joins and channels_out % 2:
            raise SignatureError(f"{channels_out} channels of products and joins do not halve: give an even number")
        self.product, self.join = product_terms(algebra.metric), join_terms(algebra.metric) if joins else None
        self.parts = 4 if joins else 2
        width = self.parts * channels_out // (2 if joins else 1)
        common = {"reflections": reflections, "implementation": implementation}
        self.factors = MultivectorLinear(algebra, channels_in, width, scalars_in, **common)  # type: ignore[arg-type]
        # the right factor starts near one, so that the product starts as a linear map
        self.factors.initialise("almost_unit_scalar", slice(width // self.parts, 2 * width // self.parts))
        self.merge = MultivectorLinear(algebra, channels_out, channels_out, scalars_in, scalars_out, **common)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "16 *tokens c"], s: Float[Tensor, "*tokens s"], reference: Float[Tensor, "*#tokens 1"] | None = None
    ) -> tuple[Float[Tensor, "16 *tokens d"], Float[Tensor, "*tokens r"]]:
        """Products of the channels of each token; `reference` is z, 1 where it is None."""
        factors = wide(self.factors(x, s)[0])
        left, right, *others = torch.unflatten(factors, -1, (self.parts, -1)).movedim(-2, 0).contiguous().unbind(0)
        products = multiply_slots(left, right, self.product)
        if self.join is not None:
            joins = multiply_slots(others[0], others[1], self.join)
            products = torch.cat((products, joins if reference is None else joins * reference), -1)
        mapped: tuple[Tensor, Tensor] = self.merge(products, s)
        return mapped


class GeometricMLP(nn.Module):
    """Bilinear layer to `factor` times the channels, gate, linear layer back, dropout.

    Args:
        algebra: whose products.
        channels: multivector channels in and out.
        scalars: scalar channels in and out.
        factor: hidden channels over these.
        nonlinearity: see `MultivectorGate`.
        dropout: probability that a grade of a channel is dropped.
        joins: see `GeometricBilinear`.
        reflections: see `MultivectorLinear`.
        implementation: see `MultivectorLinear`.
    """

    def __init__(
        self,
        algebra: GeometricAlgebra,
        channels: int,
        scalars: int,
        *,
        factor: int = 2,
        nonlinearity: Nonlinearity = "gelu",
        dropout: float = 0.0,
        joins: bool = True,
        reflections: bool = True,
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        hidden, inner = factor * channels, factor * scalars
        self.bilinear = GeometricBilinear(
            algebra, channels, hidden, scalars, inner, joins=joins, reflections=reflections, implementation=implementation
        )
        self.gate = MultivectorGate(nonlinearity)
        self.merge = MultivectorLinear(algebra, hidden, channels, inner, scalars, reflections=reflections, implementation=implementation)
        self.dropout = MultivectorDropout(algebra, dropout)

    def forward(
        self, x: Float[Tensor, "16 *tokens c"], s: Float[Tensor, "*tokens s"], reference: Float[Tensor, "*#tokens 1"] | None = None
    ) -> tuple[Float[Tensor, "16 *tokens c"], Float[Tensor, "*tokens s"]]:
        """The update of a residual stream."""
        x, inner = self.bilinear(x, s, reference)
        dropped: tuple[Tensor, Tensor] = self.dropout(*self.merge(*self.gate(x, inner)))
        return dropped
