"""Representations made of representations: direct sums, tensor products, duals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.groups.base import Element, Group
from torsor.representations.base import Representation


def block_diagonal(blocks: Sequence[Float[Tensor, "..."]], like: Tensor) -> Float[Tensor, "*batch dim dim"]:
    """Square matrices `[*batch, d, d]` along the diagonal of one; none at all give `[*batch, 0, 0]` with the batch axes of `like`."""
    if not blocks:
        return like[..., :0, :0]
    dim = sum(block.shape[-1] for block in blocks)
    rows, start = [], 0
    for block in blocks:
        rows.append(torch.nn.functional.pad(block, (start, dim - start - block.shape[-1])))
        start += block.shape[-1]
    return torch.cat(rows, -2)


class DirectSum(Representation):
    """V + W: the parts lie one after another on the last axis."""

    def __init__(self, *parts: Representation) -> None:
        if not parts:
            raise RepresentationError("a direct sum needs at least one part")
        self.parts = parts

    def on(self, group: Group) -> DirectSum:
        """The sum of the parts bound to a group."""
        bound = super().on(group)
        bound.parts = tuple(part.on(group) for part in self.parts)
        return bound

    @property
    def dim(self) -> int:
        """Sum of the parts' dimensions."""
        return sum(part.dim for part in self.parts)

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """Block-diagonal matrices."""
        blocks = [part.matrix(g) for part in self.parts]
        return block_diagonal(blocks, like=blocks[0])

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


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
        return torch.einsum("...ij,...kl->...ikjl", left, right).flatten(-4, -3).flatten(-2)

    def __str__(self) -> str:
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

    def __str__(self) -> str:
        return f"({self.original})*"
