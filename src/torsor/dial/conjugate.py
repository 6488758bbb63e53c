"""The wrong group: a model as strictly equivariant as before, but under A G A^-1 instead of G.

A control for claims about symmetry. The conjugated group is isomorphic to the right one, its orbits are as large, and the network is the
same; only the symmetry is false for the data. If such a model does as well as the right one, the gain came from something else.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.errors import GroupError, RepresentationError
from torsor.groups.base import Element, Group
from torsor.representations import Irreps, Points, Vectors
from torsor.representations.base import Action
from torsor.symmetry import Actions, Symmetry


def squeeze(strength: float = 1.5) -> Float[Tensor, "3 3"]:
    """The volume-preserving matrix diag(s, 1, 1/s), float64: the default of `Conjugated`.

    Args:
        strength: the s; 1 is the identity and so the right group.

    Raises:
        GroupError: s is not positive.
    """
    if strength <= 0:
        raise GroupError(f"a squeeze of {strength} has no inverse: give a positive number, 1 for none")
    return torch.diag(torch.tensor([strength, 1.0, 1 / strength], dtype=torch.float64))


class Conjugate(Action):
    """An action seen through a change of coordinates: x -> A (g . (A^-1 x)).

    Args:
        action: `Points()`, `Vectors()` or `Irreps` of degree at most 1. A acts on points, vectors and components of degree 1 and leaves
            scalars alone.
        matrix: the A, invertible.

    Raises:
        RepresentationError: the action is of another kind, or has components of degree 2 or more.
    """

    def __init__(self, action: Action, matrix: Float[Tensor, "3 3"]) -> None:
        self.action = action
        self.matrix = matrix
        self._inverse = torch.linalg.inv(matrix)
        self._degrees = _degrees(action)

    def apply(self, group: Group, g: Element, x: Tensor) -> Tensor:
        """Move x by A g A^-1."""
        return self.out_of(self.action.apply(group, g, self.into(x)))

    def into(self, x: Tensor) -> Tensor:
        """A^-1 x: from the data to the coordinates in which g acts."""
        return self._blocks(x, self._inverse)

    def out_of(self, x: Tensor) -> Tensor:
        """A x: back to the data."""
        return self._blocks(x, self.matrix)

    def _blocks(self, x: Tensor, matrix: Tensor) -> Tensor:
        """Multiply every degree-1 block of the last axis."""
        matrix = matrix.to(x)
        parts = torch.split(x, [count * (2 * degree + 1) for count, degree in self._degrees], dim=-1)
        moved = [
            (part.reshape(*part.shape[:-1], count, 3) @ matrix.T).flatten(-2) if degree == 1 else part
            for part, (count, degree) in zip(parts, self._degrees, strict=True)
        ]
        return torch.cat(moved, dim=-1)


class Conjugated(nn.Module):
    """A model that is strictly equivariant to the wrong group A G A^-1.

    h(x) = A f(A^-1 x), hence h(A g A^-1 x) = A g A^-1 h(x) wherever f(g x) = g f(x).

    Its contract names the same group with conjugated actions, and is as exact as the model's.

    Args:
        module: a model whose contract has only points, vectors, irreps of degree at most 1, and what those factors leave alone.
        matrix: the A; `squeeze()` if not given. An orthogonal one would give back the right group and is refused.

    Raises:
        GroupError: the matrix is orthogonal or does not preserve volume.
        RepresentationError: the contract holds an action that A cannot act on.
    """

    symmetry: Symmetry

    def __init__(self, module: nn.Module, matrix: Float[Tensor, "3 3"] | None = None) -> None:
        super().__init__()
        matrix = squeeze() if matrix is None else matrix.double()
        _check(matrix)
        self.module = module
        contract = getattr(module, "symmetry", None)
        if not isinstance(contract, Symmetry):
            raise GroupError(f"{type(module).__name__} has no contract: give a model with an attribute `symmetry`")
        inputs = {name: _conjugated(actions, matrix) for name, actions in contract.inputs.items()}
        if isinstance(contract.output, Mapping):
            output: Any = {name: _conjugated(actions, matrix) for name, actions in contract.output.items()}
        else:
            output = _conjugated(contract.output, matrix)
        self.symmetry = replace(contract, inputs=inputs, output=output)
        self._names = tuple(inspect.signature(module.forward).parameters)

    def forward(self, *args: Tensor | None, **kwargs: Tensor | None) -> Any:
        """A f(A^-1 x); takes the arguments of the module."""
        given = dict(zip(self._names, args, strict=False)) | kwargs
        moved = {
            k: x if x is None or k not in self.symmetry.inputs else _each(self.symmetry.inputs[k], x, "into") for k, x in given.items()
        }
        output = self.module(**moved)
        if isinstance(output, Mapping):
            named = self.symmetry.output if isinstance(self.symmetry.output, Mapping) else {}
            return {name: _each(named[name], y, "out of") if name in named else y for name, y in output.items()}
        assert not isinstance(self.symmetry.output, Mapping)
        return _each(self.symmetry.output, output, "out of")


def _check(matrix: Tensor) -> None:
    """Refuse a matrix that changes volumes or is orthogonal."""
    if abs(abs(torch.linalg.det(matrix).item()) - 1) > 1e-6:
        raise GroupError(
            f"the matrix has determinant {torch.linalg.det(matrix).item():.4g}: give one that preserves volume, determinant 1 or -1"
        )
    if torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=matrix.dtype), atol=1e-6):
        raise GroupError("the matrix is orthogonal, so the conjugated group is the right one: give squeeze(1.5)")


def _conjugated(actions: Actions, matrix: Tensor) -> Actions:
    """The actions of all factors, those on space conjugated."""
    if isinstance(actions, tuple):
        return tuple(_conjugate(action, matrix) for action in actions)
    return _conjugate(actions, matrix)


def _conjugate(action: Action, matrix: Tensor) -> Action:
    """The action in the new coordinates; itself where it only moves places or nothing."""
    return action if type(action).__name__ in ("Trivial", "Permuted", "Pairs") else Conjugate(action, matrix)


def _each(actions: Actions, x: Tensor, direction: Literal["into", "out of"]) -> Tensor:
    """Change the coordinates of x, once however many factors act on space."""
    for action in actions if isinstance(actions, tuple) else (actions,):
        if isinstance(action, Conjugate):
            return action.into(x) if direction == "into" else action.out_of(x)
    return x


def _degrees(action: Action) -> tuple[tuple[int, int], ...]:
    """`(count, degree)` of the blocks of the last axis."""
    if isinstance(action, Points | Vectors):
        return ((1, 1),)
    if isinstance(action, Irreps) and action.lmax <= 1:
        return tuple((count, irrep.l) for count, irrep in action)
    raise RepresentationError(
        f"a wrong-group control cannot act on {action}: it needs points, vectors or irreps of degree 0 and 1, such as '4x0e + 2x1o'"
    )
