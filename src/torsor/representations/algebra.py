"""Representations made of representations: direct sums, tensor products, duals."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.groups.base import Element, Group
from torsor.groups.numerics import block_diagonal
from torsor.representations.base import Representation
from torsor.representations.precision import precise


class DirectSum(Representation):
    """V + W: the summands lie one after another on the last axis; sums of sums are flattened."""

    def __init__(self, *summands: Representation) -> None:
        if not summands:
            raise RepresentationError("a direct sum needs at least one summand")
        flat = [part for summand in summands for part in (summand.summands if isinstance(summand, DirectSum) else (summand,))]
        self.summands: tuple[Representation, ...] = tuple(flat)

    def on(self, group: Group) -> DirectSum:
        """The sum of the summands bound to a group."""
        bound = super().on(group)
        bound.summands = tuple(summand.on(group) for summand in self.summands)
        return bound

    @property
    def dim(self) -> int:
        """Sum of the summands' dimensions."""
        return sum(mul * part.dim for mul, part in self.parts())

    def parts(self) -> tuple[tuple[int, Representation], ...]:
        """Equal neighbours counted together."""
        counted: list[tuple[int, Representation]] = []
        for mul, part in (pair for summand in self.summands for pair in summand.parts()):
            if counted and counted[-1][1] == part:
                counted[-1] = (counted[-1][0] + mul, part)
            else:
                counted.append((mul, part))
        return tuple(counted)

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """Block-diagonal matrices."""
        return block_diagonal([block for mul, part in self.parts() for block in (part.matrix(g),) * mul])

    def __repr__(self) -> str:
        return " + ".join(f"{mul} * {part}" if mul > 1 else str(part) for mul, part in self.parts())


class TensorProduct(Representation):
    """V @ W on the flattened last axis `(v w)`, w fastest."""

    def __init__(self, left: Representation, right: Representation) -> None:
        self.left, self.right = left, right

    def on(self, group: Group) -> TensorProduct:
        """The product of the factors bound to a group."""
        bound = super().on(group)
        bound.left, bound.right = self.left.on(group), self.right.on(group)
        return bound

    @property
    def dim(self) -> int:
        """Product of the factors' dimensions."""
        return self.left.dim * self.right.dim

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """Kronecker products."""
        left, right = self.left.matrix(g), self.right.matrix(g)
        dtype = torch.promote_types(left.dtype, right.dtype)
        with precise(left):
            product = torch.einsum("...ij,...kl->...ikjl", left.to(dtype), right.to(dtype))
        return product.flatten(-4, -3).flatten(-2)

    def __repr__(self) -> str:
        return f"({self.left}) @ ({self.right})"


class Dual(Representation):
    """The dual of V: rho(g^-1)^T."""

    def __init__(self, original: Representation) -> None:
        self.original = original

    def on(self, group: Group) -> Dual:
        """The dual of the original bound to a group."""
        bound = super().on(group)
        bound.original = self.original.on(group)
        return bound

    @property
    def dim(self) -> int:
        """Dimension of the original."""
        return self.original.dim

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """Transposed matrices of the inverse elements."""
        return self.original.matrix(self._bound().inverse(g)).mT

    def dual(self) -> Representation:
        """The original."""
        return self.original

    def __repr__(self) -> str:
        return f"({self.original}).dual()"
