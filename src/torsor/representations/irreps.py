"""Irreducible representations of O(3): the strings, the layout and the matrices of e3nn.

Features are `[..., dim]`: for each term `mul x l p`, `mul` blocks of 2l + 1 components in the order of `harmonics`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.groups.base import Element, Group
from torsor.groups.numerics import block_diagonal
from torsor.representations.base import Rep, Representation, spread
from torsor.representations.precision import precise
from torsor.representations.wigner import wigner_blocks

_GROUPS = ("SO(3)", "O(3)", "SE(3)", "E(3)")
_TERM = re.compile(r"\s*(?:(\d+)\s*x\s*)?(\d+)\s*([eoy])\s*")
_PARITIES = {"e": 1, "o": -1}


class Irrep(NamedTuple):
    """Degree l and parity p: +1 even, written "e", or -1 odd, written "o". A vector is `1o`, a pseudovector `1e`."""

    l: int
    p: int

    @classmethod
    def parse(cls, text: str) -> Irrep:
        """Read "2e"; "2y" has the parity of the harmonics of degree 2."""
        match = _TERM.fullmatch(text)
        if match is None or match[1] is not None:
            raise RepresentationError(f"{text!r} is no irrep of O(3): write a degree and a parity, such as 0e or 1o")
        return cls(int(match[2]), _PARITIES.get(match[3], (-1) ** int(match[2])))

    @property
    def dim(self) -> int:
        """2l + 1."""
        return 2 * self.l + 1

    @property
    def natural(self) -> bool:
        """Whether the parity is that of the spherical harmonics, (-1)^l."""
        return self.p == (-1 if self.l % 2 else 1)

    def __mul__(self, other: object) -> Iterator[Irrep]:  # type: ignore[override]
        """The irreps in the tensor product, by ascending degree."""
        if not isinstance(other, Irrep):
            return NotImplemented
        return (Irrep(l, self.p * other.p) for l in range(abs(self.l - other.l), self.l + other.l + 1))

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.p == 1 else 'o'}"


class Term(NamedTuple):
    """`mul` copies of one irrep."""

    mul: int
    irrep: Irrep

    @property
    def dim(self) -> int:
        """Number of components."""
        return self.mul * self.irrep.dim

    def __str__(self) -> str:
        return f"{self.mul}x{self.irrep}"


def _read(text: str) -> Iterator[Term]:
    for part in text.split("+") if text.strip() else ():
        match = _TERM.fullmatch(part)
        if match is None:
            raise RepresentationError(
                f"{part.strip()!r} in {text!r} is no irrep of O(3): write multiplicity x degree parity, such as 16x0e + 8x1o"
            )
        yield Term(int(match[1] or 1), Irrep.parse(match[2] + match[3]))


def _term(item: tuple[int, Irrep | str | tuple[int, int]]) -> Term:
    mul, irrep = item
    term = Term(mul, Irrep.parse(irrep) if isinstance(irrep, str) else Irrep(*irrep))
    if mul < 0 or term.irrep.l < 0 or term.irrep.p not in (1, -1):
        raise RepresentationError(f"{item} is no term of irreps: give (multiplicity >= 0, (degree >= 0, parity +1 or -1))")
    return term


class Irreps(Representation):
    """A direct sum of irreps of O(3), `Irreps("16x0e + 8x1o")`, as a value: hashable, iterable over `(mul, irrep)`.

    On SO(3) and SE(3) parity means nothing; translations act as the identity.

    Args:
        terms: a string that `str` gives back, other irreps, or pairs of multiplicity and irrep.

    Raises:
        RepresentationError: the string cannot be read; names the part.
    """

    def __init__(self, terms: str | Irreps | Iterable[tuple[int, Irrep | str | tuple[int, int]]]) -> None:
        self.terms: tuple[Term, ...] = tuple(_read(terms) if isinstance(terms, str) else map(_term, terms))
        self._dim = sum(term.dim for term in self.terms)

    @classmethod
    def harmonics(cls, l_max: int) -> Irreps:
        """How `spherical_harmonics` of degrees 0..l_max transform."""
        return cls([(1, Irrep(l, (-1) ** l)) for l in range(l_max + 1)])

    def on(self: Rep, group: Group) -> Rep:
        """These irreps, bound to a group.

        Raises:
            RepresentationError: the group is not SO(3), O(3), SE(3) or E(3).
        """
        if group.name not in _GROUPS:
            raise RepresentationError(f"{self} are irreps of O(3) and cannot act under {group}: give one of {', '.join(_GROUPS)}")
        return super().on(group)

    @property
    def dim(self) -> int:
        """Number of components."""
        return self._dim

    @property
    def lmax(self) -> int:
        """Largest degree; -1 where there is none."""
        return max([-1, *[term.irrep.l for term in self.terms]])  # compilers trace no default

    @property
    def num_irreps(self) -> int:
        """Sum of the multiplicities."""
        return sum(term.mul for term in self.terms)

    def count(self, irrep: Irrep | str) -> int:
        """Multiplicity of one irrep."""
        wanted = Irrep.parse(irrep) if isinstance(irrep, str) else irrep
        return sum(term.mul for term in self.terms if term.irrep == wanted)

    def slices(self) -> tuple[slice, ...]:
        """Where each term lies on the last axis."""
        starts = [0]
        for term in self.terms:
            starts.append(starts[-1] + term.dim)
        return tuple(slice(a, b) for a, b in pairwise(starts))

    def sort(self) -> Irreps:
        """The terms by ascending degree, odd before even; equal irreps keep their order."""
        ordered: list[Term] = sorted(self.terms, key=lambda term: term.irrep)
        return Irreps(ordered)

    def simplify(self) -> Irreps:
        """Neighbouring terms of one irrep merged, empty terms left out; the layout is the same."""
        merged: list[Term] = []
        for term in self.terms:
            if merged and merged[-1].irrep == term.irrep:
                merged[-1] = Term(merged[-1].mul + term.mul, term.irrep)
            elif term.mul:
                merged.append(term)
        return Irreps(merged)

    def _blocks(self, g: Element) -> Iterator[tuple[Term, Float[Tensor, "*batch m n"]]]:
        """The matrix of each term's irrep."""
        if g.shape[-2:] not in ((3, 3), (4, 4)):
            raise ShapeError(f"element is {list(g.shape)}: {self} act under matrices [..., 3, 3] or homogeneous ones [..., 4, 4]")
        rotation = g[..., :3, :3]
        blocks = wigner_blocks(max(self.lmax, 0), rotation)
        sign = torch.linalg.det(rotation.detach()).sign()[..., None, None]
        for term in self.terms:
            block = blocks[term.irrep.l]
            yield term, block if term.irrep.natural else block * sign

    def matrix(self, g: Element) -> Float[Tensor, "*batch dim dim"]:
        """The matrices of elements given as orthogonal 3 x 3 or homogeneous 4 x 4 matrices."""
        blocks = [block for term, block in self._blocks(g) for _ in range(term.mul)]
        return block_diagonal(blocks) if blocks else g[..., :0, :0]

    def parts(self) -> tuple[tuple[int, Representation], ...]:
        """Single irreps."""
        parts = []
        for mul, irrep in self.simplify().terms:
            single = Irreps([(1, irrep)])
            single.group = self.group
            parts.append((mul, single))
        return tuple(parts)

    def apply(self, group: Group, g: Element, x: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
        """Multiply the last axis of x by the matrix of g, block by block."""
        parts = [x[..., :0]]
        for place, (term, block) in zip(self.slices(), self.on(group)._blocks(g), strict=True):
            features = torch.unflatten(x[..., place], -1, (term.mul, term.irrep.dim))
            with precise(x):
                parts.append((features @ spread(block.to(x.dtype), features.ndim - 2).mT).flatten(-2))
        return torch.cat(parts, -1)

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def __getitem__(self, index: int) -> Term:
        return self.terms[index]

    def __contains__(self, irrep: object) -> bool:
        return any(term.irrep == irrep or str(term.irrep) == irrep for term in self.terms if term.mul)

    def __add__(self, other: Representation) -> Representation:
        return Irreps((*self.terms, *other.terms)) if isinstance(other, Irreps) else super().__add__(other)

    def __rmul__(self, copies: int) -> Irreps:
        return Irreps(self.terms * copies)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Irreps) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def __str__(self) -> str:
        return "+".join(map(str, self.terms))

    def __repr__(self) -> str:
        return f"Irreps({str(self)!r})"
