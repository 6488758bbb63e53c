"""Direct products of groups, whose elements are tuples with one element for each factor.

The Lie algebra of a product is the direct sum of the factors' algebras, their coordinates one after another; that of a finite factor is 0.
"""

from __future__ import annotations

from functools import reduce
from math import prod

import torch
from torch import Tensor

from torsor.errors import GroupError, ShapeError
from torsor.groups.base import Element, FiniteGroup, Group, LieGroup
from torsor.groups.numerics import block_diagonal, safe_norm

LARGEST_LISTED = 1_000_000


class Product(LieGroup):
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
        return block_diagonal([factor.matrix(x) for factor, x in zip(self.factors, self._split(a), strict=True)])

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
        rows = [block_diagonal([basis if j == i else zero for j, zero in enumerate(zeros)]) for i, basis in enumerate(bases) if len(basis)]
        size = sum(len(zero) for zero in zeros)
        return torch.cat(rows) if rows else torch.zeros(0, size, size, dtype=dtype)

    @property
    def dim(self) -> int:
        """Dimension of the Lie algebra: the sum of those of the factors."""
        return sum(self._dims())

    def _dims(self) -> list[int]:
        return [factor.dim if isinstance(factor, LieGroup) else 0 for factor in self.factors]

    def exp(self, v: Tensor) -> tuple[Element, ...]:
        """Each factor's exponential of its own coordinates, `[..., dim]`; finite factors rest at their identity.

        Raises:
            GroupError: a factor is neither a Lie group nor finite, or is an S() that knows no size.
        """
        self._check_coordinates(v)
        parts = zip(self.factors, torch.split(v, self._dims(), dim=-1), strict=True)
        return tuple(
            factor.exp(part) if isinstance(factor, LieGroup) else self._identity_of(factor, v.device).expand(*v.shape[:-1], -1)
            for factor, part in parts
        )

    def log(self, a: Element) -> Tensor:
        """The factors' logarithms one after another, `[..., dim]`; NaN where the element of a finite factor is not its identity.

        Raises:
            GroupError: a factor is neither a Lie group nor finite, or is an S() that knows no size.
        """
        pairs = list(zip(self.factors, self._split(a), strict=True))
        logs = [factor.log(x) for factor, x in pairs if isinstance(factor, LieGroup)]
        batch = torch.broadcast_shapes(*(log.shape[:-1] for log in logs))  # type: ignore[no-untyped-call]
        v = torch.cat([log.expand(*batch, -1) for log in logs], dim=-1) if logs else torch.zeros(0)
        for factor, x in pairs:
            if not isinstance(factor, LieGroup):
                at_rest = (x == self._identity_of(factor, x.device)).all(-1, keepdim=True)
                v = torch.where(at_rest, v, torch.nan)
        return v

    def _identity_of(self, factor: Group, device: torch.device) -> Tensor:
        if not isinstance(factor, FiniteGroup):
            raise GroupError(f"{self} has no exponential: {factor} is neither a Lie group nor finite")
        identity: Tensor = factor.identity(device=device)
        return identity

    @property
    def order(self) -> int:
        """Number of elements: the product of those of the factors.

        Raises:
            GroupError: a factor is not finite, or is an S() that knows no size.
        """
        return prod(factor.order for factor in self._finite_factors())

    def elements(self, device: torch.device | str | None = None) -> tuple[Element, ...]:
        """All elements, `[order, *element]` for each factor, identity first; the last factor changes fastest.

        Raises:
            GroupError: a factor is not finite, or there are more than a million elements.
        """
        if self.order > LARGEST_LISTED:
            raise GroupError(f"{self} has {self.order} elements, too many to list: use `sample`")
        factors = self._finite_factors()
        places = torch.unravel_index(torch.arange(self.order, device=device), tuple(factor.order for factor in factors))
        return tuple(factor.elements(device)[place] for factor, place in zip(factors, places, strict=True))

    def _finite_factors(self) -> tuple[FiniteGroup, ...]:
        finite = tuple(factor for factor in self.factors if isinstance(factor, FiniteGroup))
        if len(finite) < len(self.factors):
            infinite = next(factor for factor in self.factors if not isinstance(factor, FiniteGroup))
            raise GroupError(f"{self} has no list of elements: {infinite} is not finite; use `sample`")
        return finite

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
