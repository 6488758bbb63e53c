"""Upright under SL(2, R): the point of the orbit nearest to zero.

Kempf and Ness: The length of vectors in representation spaces (1979). The norm ||A x|| over A in SL(2, R) has, where it has a minimum at
all, one that is unique up to a rotation. With P the positive definite one of these A, P^-1 moves with the input up to a rotation from the
right:

P(h x)^-1 = h P(x)^-1 R for some rotation R

What is left is the symmetry of rotations, for which there are frames (`PhaseFrame`) and many equivariant networks.

Axes: b batch, k elements, m vectors or forms, c components.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import comb
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from torsor.dial.symmetrize.base import Draws, OneFactorSampler, Sampler, noise_dtype, one_factor
from torsor.dial.symmetrize.phases import PhaseFrame, turning_inputs
from torsor.errors import GroupError
from torsor.groups import SL2, SO, Product
from torsor.representations import BinaryForms, Representation, Vectors
from torsor.representations.tables import Array, Table
from torsor.symmetry import Symmetry

STEPS = 40
"""Newton steps at most; six to twenty-five are needed."""
LONGEST = 0.5
"""Length of a Newton step at most: near the identity its model holds, far from it the norm grows exponentially."""


@Table
def symmetric_table(degree: int) -> Array:
    """How diag(1, -1) and [[0, 1], [1, 0]] of the Lie algebra act on forms of a degree, on vectors for degree -1, `[2, c, c]`.

    X takes a form p to the derivative of p(exp(-t X) z) at t = 0, which is -<X z, grad p>, with z = (y, x).
    """
    if degree < 0:
        return np.array([[[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    powers = np.arange(degree + 1.0)
    exchange = np.diag(powers[:-1] - degree, -1) + np.diag(-powers[1:], 1)
    return np.stack((np.diag(2 * powers - degree), exchange))


class KempfNess(OneFactorSampler):
    """Elements of SL(2, R) that take the point of least norm on the orbit of the input to the input.

    For `Vectors()` alone the least norm has a closed form; with `BinaryForms` it is found by Newton's method, and its derivatives by two
    more steps of it. The norm of forms is Bombieri's, which rotations leave alone.

    Exact where the minimum exists and is one point up to rotations: for vectors that span the plane, and for forms without a root of
    multiplicity d / 2 or more, strictly positive ones among them. Elsewhere the elements are finite and the equivariance is lost.

    Args:
        symmetry: the contract, with one factor SL2.
        rotations: makes the sampler of the rotations that are left, without noise, from the contract with SO(2) instead of SL2; None where
            the network is equivariant to them by itself.
        sources: names of the inputs whose norm is minimised, sums of `Vectors()` and `BinaryForms(d)`; all that have such if not given.

    Raises:
        GroupError: the group has no factor SL2, no input has vectors or forms, or the sampler of the rotations has noise.
    """

    exactness = "exact"

    def __init__(
        self,
        symmetry: Symmetry,
        rotations: Callable[[Symmetry], Sampler] | None = PhaseFrame,
        sources: Sequence[str] | None = None,
    ) -> None:
        said = "SL2: the point of least norm is that of an orbit of SL2"
        super().__init__(symmetry, one_factor(symmetry, lambda factor: factor == SL2(), said))
        self.parts = turning_inputs(symmetry, self.factor, sources)
        factors = tuple(SO(2) if i == self.factor else factor for i, factor in enumerate(symmetry.factors))
        turning = replace(symmetry, group=Product(*factors) if len(factors) > 1 else factors[0])
        self.rotations = None if rotations is None else rotations(turning)
        if self.rotations is not None and self.rotations.noise:
            raise GroupError(
                f"{type(self.rotations).__name__} has noise, which SL2 cannot move: give a sampler without, such as PhaseFrame"
            )

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:
        """The element up to rotations, times each rotation that the other sampler gives."""
        upright = self.least_norm(inputs)
        if self.rotations is None:
            return self.of_factor(inputs, torch.linalg.inv(upright).unsqueeze(1))
        there = self.of_factor(inputs, upright.unsqueeze(1))
        moved = self.symmetry.transform(self.element([e.squeeze(1) for e in there.each]), inputs)
        draws: Draws = self.rotations(moved, noise, samples)
        return self.of_factor(inputs, SL2().inverse(upright).unsqueeze(1) @ draws.each[self.factor], draws.weights)

    def least_norm(self, inputs: Mapping[str, Any]) -> Float[Tensor, "b 2 2"]:
        """The positive definite P with the least norm of P x."""
        dtype = noise_dtype(inputs)
        given = {name: inputs[name].to(dtype) for name in self.parts if inputs.get(name) is not None}
        found: dict[int, list[Tensor]] = {}
        for name, x in given.items():
            for place, degree in self.parts[name]:
                found.setdefault(degree, []).append(x[..., place].reshape(len(x), -1, place.stop - place.start))
        parts = [_Part(degree, torch.cat(rows, 1)) for degree, rows in found.items()]
        return _of_vectors(parts[0].x) if list(found) == [-1] else _by_newton(parts)


class _Part(NamedTuple):
    """Forms of one degree, or vectors (degree -1), `[b, m, c]`."""

    degree: int
    x: Tensor

    def representation(self) -> Representation:
        """How SL2 acts on them."""
        return (Vectors() if self.degree < 0 else BinaryForms(self.degree)).on(SL2())

    def moved(self, matrix: Float[Tensor, "b 2 2"]) -> _Part:
        """The forms moved by matrices."""
        return self._replace(x=self.representation().apply(SL2(), matrix, self.x))

    def bombieri(self) -> Float[Tensor, "c"]:
        """The weights of the squares of the components in the norm that rotations leave alone."""
        weights = [1.0, 1.0] if self.degree < 0 else [1 / comb(self.degree, a) for a in range(self.degree + 1)]
        return torch.tensor(weights, dtype=self.x.dtype, device=self.x.device)

    def stretched(self) -> Float[Tensor, "b 2 mc"]:
        """The derivatives along diag(1, -1) and [[0, 1], [1, 0]], the symmetric directions, orthonormal for the norm."""
        moved = torch.einsum("gij, bmj -> bgmi", symmetric_table.like(self.x, self.degree), self.x) * self.bombieri().sqrt()
        return moved.flatten(2)

    def orthonormal(self) -> Float[Tensor, "b mc"]:
        """The components in orthonormal coordinates of the norm."""
        return (self.x * self.bombieri().sqrt()).flatten(1)


def _of_vectors(x: Float[Tensor, "b m 2"]) -> Float[Tensor, "b 2 2"]:
    """P with P M P = sqrt(det M), M = sum_m x_m x_m^T: the inverse of the root of M, scaled to determinant one."""
    moments = x.mT @ x
    eye = torch.eye(2, dtype=x.dtype, device=x.device)
    trace = moments.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    spans = _determinant(moments) > 4 * torch.finfo(x.dtype).eps * trace.square()
    moments = torch.where(spans, moments, moments + 1e-3 * trace * eye)
    moments = torch.where(trace > 0, moments, eye)
    return SL2().inverse(_positive_root(moments / _determinant(moments).sqrt()))


def _determinant(matrix: Float[Tensor, "b 2 2"]) -> Float[Tensor, "b 1 1"]:
    return (matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0])[:, None, None]


def _positive_root(matrix: Float[Tensor, "b 2 2"]) -> Float[Tensor, "b 2 2"]:
    """The root of a positive definite matrix of determinant one, by Cayley and Hamilton: (M + 1) / sqrt(tr M + 2)."""
    eye = torch.eye(2, dtype=matrix.dtype, device=matrix.device)
    return (matrix + eye) / (matrix.diagonal(dim1=-2, dim2=-1).sum(-1) + 2).sqrt()[:, None, None]


def _by_newton(parts: Sequence[_Part]) -> Float[Tensor, "b 2 2"]:
    """The minimum over the symmetric directions, where the squared norm is geodesically convex.

    The iteration runs without derivatives. Two more steps from where it ended change nothing but rounding, and carry the first three
    derivatives: the error of a Newton step is quadratic in that of its start.
    """
    matrix = torch.eye(2, dtype=parts[0].x.dtype, device=parts[0].x.device).repeat(len(parts[0].x), 1, 1)
    with torch.no_grad():
        for _ in range(STEPS):
            before, matrix = matrix, _newton_step(parts, matrix)
            if _arrived(before, matrix):
                break
    for _ in range(2):
        matrix = _newton_step(parts, matrix)
    return _positive_root(matrix.mT @ matrix)


def _arrived(before: Tensor, after: Tensor) -> bool:
    """Whether a step was so short that the next is rounding; never where tensors are traced or batched, for there nobody can look."""
    if torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(after):
        return False
    return bool(((after - before).abs() <= torch.finfo(after.dtype).eps ** 0.75 * after.abs().amax((-2, -1), keepdim=True)).all())


def _newton_step(parts: Sequence[_Part], matrix: Float[Tensor, "b 2 2"]) -> Float[Tensor, "b 2 2"]:
    """exp(-H^-1 g) A, with g_i = 2 <x, X_i x> and H_ij = 4 <X_i x, X_j x> at x moved by A."""
    moved = [part.moved(matrix) for part in parts]
    stretched = torch.cat([part.stretched() for part in moved], -1)
    here = torch.cat([part.orthonormal() for part in moved], -1)
    gradient = 2 * stretched @ here.unsqueeze(-1)
    hessian = 4 * stretched @ stretched.mT
    least = torch.finfo(here.dtype).eps * hessian.detach().diagonal(dim1=-2, dim2=-1).sum(-1)
    least = torch.where(least > 0, least, 1)
    step = -torch.linalg.solve(hessian + torch.diag_embed(least.unsqueeze(-1).expand(-1, 2)), gradient).squeeze(-1)
    length = torch.linalg.vector_norm(step.detach(), dim=-1, keepdim=True)
    h, s = (step * (LONGEST / length.clamp(min=LONGEST))).unbind(-1)
    return SL2().exp(torch.stack((h, s, s), -1)) @ matrix
