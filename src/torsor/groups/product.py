"""Direct products of groups, whose elements are tuples with one element for each factor."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from torsor.errors import GroupError, ShapeError
from torsor.groups.base import Element, Group
from torsor.groups.numerics import safe_norm


class Product(Group):
    """The direct product of groups; products of products are flattened.

    Args:
        factors: two groups or more.
    """

    def __init__(self, *factors: Group) -> None:
        flat = [inner for factor in factors for inner in (factor.factors if isinstance(factor, Product) else (factor,))]
        if len(flat) < 2:
            raise GroupError(f"a product needs at least two groups, not {len(flat)}")
        self.factors: tuple[Group, ...] = tuple(flat)

    @property
    def name(self) -> str:
        """The string that `parse` reads back."""
        return " x ".join(factor.name for factor in self.factors)

    @property
    def compact(self) -> bool:
        """Whether `sample` is Haar."""
        return all(factor.compact for factor in self.factors)

    def __repr__(self) -> str:
        return " * ".join(repr(factor) for factor in self.factors)

    def _split(self, a: Element) -> tuple[Element, ...]:
        if not isinstance(a, tuple) or len(a) != len(self.factors):
            given = f"a tuple of {len(a)}" if isinstance(a, tuple) else f"a {type(a).__name__}"
            raise ShapeError(f"an element of {self} is a tuple of {len(self.factors)} elements, not {given}")
        return a

    def identity(self, *batch: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> tuple[Element, ...]:
        """The identities of the factors."""
        return tuple(factor.identity(*batch, dtype=dtype, device=device) for factor in self.factors)

    def compose(self, a: Element, b: Element) -> tuple[Element, ...]:
        """Factor by factor."""
        pairs = zip(self.factors, self._split(a), self._split(b), strict=True)
        return tuple(factor.compose(x, y) for factor, x, y in pairs)

    def inverse(self, a: Element) -> tuple[Element, ...]:
        """Factor by factor."""
        return tuple(factor.inverse(x) for factor, x in zip(self.factors, self._split(a), strict=True))

    def sample(
        self,
        *batch: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> tuple[Element, ...]:
        """Independent draws from the factors."""
        return tuple(factor.sample(*batch, generator=generator, dtype=dtype, device=device) for factor in self.factors)

    def matrix(self, a: Element) -> Tensor:
        """Block diagonal matrices."""
        return _block_diagonal([factor.matrix(x) for factor, x in zip(self.factors, self._split(a), strict=True)])

    def distance(self, a: Element, b: Element) -> Tensor:
        """The root of the sum of the squared distances."""
        distances = [factor.distance(x, y) for factor, x, y in zip(self.factors, self._split(a), self._split(b), strict=True)]
        dtype = reduce(torch.promote_types, (distance.dtype for distance in distances))
        batch = torch.broadcast_shapes(*(distance.shape for distance in distances))  # type: ignore[no-untyped-call]
        return safe_norm(torch.stack([distance.to(dtype).expand(batch) for distance in distances], dim=-1))

    def algebra(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The bases of the factors, each in its block."""
        bases = [factor.algebra(dtype) for factor in self.factors]
        zeros = [basis.new_zeros(basis.shape[1:]) for basis in bases]
        rows = [_block_diagonal([basis if j == i else zero for j, zero in enumerate(zeros)]) for i, basis in enumerate(bases) if len(basis)]
        size = sum(len(zero) for zero in zeros)
        return torch.cat(rows) if rows else torch.zeros(0, size, size, dtype=dtype)

    def discrete_generators(self, dtype: torch.dtype = torch.float64) -> tuple[Element, ...] | None:
        """Those of each factor, with identities of the others; None where every factor is connected."""
        own = [factor.discrete_generators(dtype) for factor in self.factors]
        counts = [0 if elements is None else len(elements) for elements in own]
        if all(elements is None for elements in own):
            return None
        columns = []
        for j, (factor, elements) in enumerate(zip(self.factors, own, strict=True)):
            others = [factor.identity(count, dtype=dtype) for count in counts]
            columns.append(torch.cat([*others[:j], others[j] if elements is None else elements, *others[j + 1 :]]))
        return tuple(columns)

    def probes(
        self,
        samples: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, tuple[Element, ...]]:
        """Every kind that a factor has; factors that lack it take a generic element."""
        own = [factor.probes(samples, generator, dtype, device) for factor in self.factors]
        kinds = dict.fromkeys(kind for probes in own for kind in probes)
        return {kind: tuple(probes.get(kind, probes["generic"]) for probes in own) for kind in kinds}


def _block_diagonal(blocks: list[Tensor]) -> Tensor:
    """Matrices `[*batch, N, N]` of the blocks `[*batch, n, n]`; batch axes broadcast, dtypes are promoted."""
    batch = torch.broadcast_shapes(*(block.shape[:-2] for block in blocks))  # type: ignore[no-untyped-call]
    dtype = reduce(torch.promote_types, (block.dtype for block in blocks))
    size, start, rows = sum(block.shape[-1] for block in blocks), 0, []
    for block in blocks:
        wide = block.to(dtype).expand(*batch, *block.shape[-2:])
        rows.append(torch.nn.functional.pad(wide, (start, size - start - block.shape[-1])))
        start += block.shape[-1]
    return torch.cat(rows, dim=-2)
