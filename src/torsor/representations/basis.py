"""The linear maps that commute with a group, found numerically: slow, general, and the oracle of every layer made by hand.

Finzi, Welling, Wilson: A Practical Method for Constructing Equivariant Multilayer Perceptrons for Arbitrary Matrix Groups (2021),
section 4: W is equivariant if and only if it solves drho_out(X) W = W drho_in(X) for a basis X of the Lie algebra, and
rho_out(h) W = W rho_in(h) for generators h of the rest of the group.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.errors import RepresentationError
from torsor.groups.base import Element, Group, LieGroup
from torsor.representations.base import Representation

LARGEST = 4096
"""Most unknowns, dim_out times dim_in, of one pair of summands."""
TOLERANCE = 1e-9
"""Singular values of the constraints below this part of the largest count as zero."""
_PIVOT = 0.617  # away from the ratios that occur in symmetric problems, so that rounding cannot decide a comparison


def infinitesimal(rep: Representation, group: Group) -> Float[Tensor, "k dim dim"]:
    """Derivatives of the representation at the identity along a basis of the Lie algebra; k = 0 for a finite group."""
    factors = getattr(group, "factors", (group,))
    found = [torch.zeros(0, rep.dim, rep.dim, dtype=torch.float64)]
    for i, factor in enumerate(factors):
        if isinstance(factor, LieGroup):

            def matrix(v: Tensor, i: int = i, factor: LieGroup = factor) -> Tensor:
                elements = tuple(factor.exp(v) if j == i else other.identity(dtype=v.dtype) for j, other in enumerate(factors))
                return rep.matrix(elements if len(factors) > 1 else elements[0])

            found.append(torch.func.jacfwd(matrix)(torch.zeros(factor.dim, dtype=torch.float64)).movedim(-1, 0))
    return torch.cat(found)


@lru_cache(maxsize=256)
def _generators(rep: Representation, group: Group) -> Float[Tensor, "k dim dim"]:
    discrete: Element | None = group.discrete_generators()
    if discrete is None:
        return infinitesimal(rep, group)
    return torch.cat([infinitesimal(rep, group), rep.matrix(discrete).to(torch.float64)])


def _null_space(constraints: Float[Tensor, "rows n"]) -> Float[Tensor, "k n"]:
    """Orthonormal vectors that span the null space, the same on every machine.

    A singular value decomposition gives the projector onto the null space, which is unique; the basis is then what Gram-Schmidt makes of
    the projected axes, taken in order (a pivoted Cholesky decomposition of the projector).
    """
    triangle = torch.linalg.qr(torch.cat([constraints, torch.zeros_like(constraints[:1])]), mode="r").R
    _, values, vectors = torch.linalg.svd(triangle, full_matrices=True)
    null = vectors[int((values > TOLERANCE * values[:1]).sum()) :]
    projector, basis = null.T @ null, torch.zeros_like(null)
    left = projector.diagonal().clone()
    for row in range(len(null)):
        vector = projector[(left >= _PIVOT * left.max()).nonzero()[0, 0]]
        for _ in range(2):  # the second pass removes what rounding left of the first
            vector = vector - (basis[:row] @ vector) @ basis[:row]
        basis[row] = vector / torch.linalg.vector_norm(vector)
        left -= basis[row] ** 2
    return basis


@lru_cache(maxsize=256)
def is_permuted(rep: Representation, group: Group) -> bool:
    """Whether the group has no continuous part and does nothing to the numbers but permute them; `rep` is bound to it."""
    matrices = _generators(rep, group)
    zero_or_one = ((matrices == 0) | (matrices == 1)).all() and (matrices.sum(-1) == 1).all()
    return not len(infinitesimal(rep, group)) and bool(zero_or_one)


def _orbit_basis(out: Float[Tensor, "g o o"], into: Float[Tensor, "g i i"]) -> Float[Tensor, "k o i"]:
    """The basis where generators permute both sides: for each orbit of pairs (row, column) a map with equal entries there alone."""
    size_out, size_in = out.shape[-1], into.shape[-1]
    moved = (out.argmax(-2).unsqueeze(-1) * size_in + into.argmax(-2).unsqueeze(-2)).flatten(1)
    pairs = torch.arange(size_out * size_in)
    first, before = pairs, torch.empty(0)
    while not torch.equal(first, before):  # in the end the smallest pair of each orbit
        before, first = first, torch.cat([first.unsqueeze(0), first[moved]]).amin(0)
    maps = (first == pairs[first == pairs].unsqueeze(-1)).double()
    basis: Tensor = maps / torch.linalg.vector_norm(maps, dim=-1, keepdim=True)
    return basis.reshape(-1, size_out, size_in)


@lru_cache(maxsize=1024)
def part_basis(rep_in: Representation, rep_out: Representation, group: Group) -> Float[Tensor, "k o i"]:
    """As `equivariant_basis`, by solving for all entries at once; the representations are bound to the group.

    Where a finite group permutes the numbers of both there is nothing to solve: the maps are those that are constant on orbits.

    The result is remembered: do not write into it.
    """
    size_out, size_in = rep_out.dim, rep_in.dim
    if size_out * size_in > LARGEST:
        raise RepresentationError(
            f"maps from {rep_in} to {rep_out} have {size_out * size_in} entries, more than {LARGEST}: write them as sums of smaller parts"
        )
    out, into = _generators(rep_out, group), _generators(rep_in, group)
    if is_permuted(rep_in, group) and is_permuted(rep_out, group):
        return _orbit_basis(out, into)
    eye_out, eye_in = (torch.eye(size, dtype=torch.float64) for size in (size_out, size_in))
    rows = torch.einsum("kab,cd->kacbd", out, eye_in) - torch.einsum("ab,kdc->kacbd", eye_out, into)
    return _null_space(rows.reshape(-1, size_out * size_in)).reshape(-1, size_out, size_in)


def common_group(*reps: Representation, group: Group | None = None) -> Group:
    """The one group that is given, or to which representations are bound.

    Raises:
        RepresentationError: there is none, or there are several.
    """
    found = {candidate for candidate in (group, *(rep.group for rep in reps)) if candidate is not None}
    if len(found) != 1:
        given = " and ".join(sorted(map(str, found))) or "no group"
        raise RepresentationError(f"{', '.join(map(str, reps))} are bound to {given}: give one group, group=...")
    return found.pop()


def _places(rep: Representation) -> list[tuple[int, Representation]]:
    """Each single summand with the component it starts at."""
    places, start = [], 0
    for mul, part in rep.parts():
        for _ in range(mul):
            places.append((start, part))
            start += part.dim
    return places


def equivariant_basis(rep_in: Representation, rep_out: Representation, group: Group | None = None) -> Float[Tensor, "k o i"]:
    """A basis of the linear maps W with rho_out(g) W = W rho_in(g) for all g, in float64.

    The basis is orthonormal (Frobenius) and the same on every machine. Sums are solved one pair of summands at a time, equal pairs once.

    Args:
        rep_in: how the input transforms.
        rep_out: how the output transforms.
        group: what both are bound to; may be left out where one of them is bound.

    Raises:
        RepresentationError: no group, or two different ones; or a pair of summands has more than 4096 entries.
    """
    group = common_group(rep_in, rep_out, group=group)
    rep_in, rep_out = rep_in.on(group), rep_out.on(group)
    solved: dict[tuple[Representation, Representation], Tensor] = {}
    found = [torch.zeros(0, rep_out.dim, rep_in.dim, dtype=torch.float64)]
    for row, part_out in _places(rep_out):
        for column, part_in in _places(rep_in):
            if (part_in, part_out) not in solved:
                solved[part_in, part_out] = part_basis(part_in, part_out, group)
            block = solved[part_in, part_out]
            whole = block.new_zeros(len(block), rep_out.dim, rep_in.dim)
            whole[:, row : row + part_out.dim, column : column + part_in.dim] = block
            found.append(whole)
    return torch.cat(found)
