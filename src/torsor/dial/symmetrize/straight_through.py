"""Permutations that move data as they are, and pass gradients as soft ones would.

Bengio, Leonard, Courville: Estimating or Propagating Gradients Through Stochastic Neurons (2013). A permutation matrix P is replaced by
(P - Q).detach() + Q with a doubly stochastic Q near it, so that the value is that of P and scores behind Q get a gradient. Written so, each
product costs n^2 c and needs P as a matrix. Here the forward pass is the gather that P is; the backward pass gives Q its gradient.

Axes: b batch, n places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from torsor.groups import Group
from torsor.representations.axes import reordered
from torsor.representations.base import Action
from torsor.symmetry import Actions, Symmetry, permuted_axes

Relaxation = Literal["straight-through", "soft"]


def straight_through(
    x: Float[Tensor, "b *shape"], soft: Float[Tensor, "b n n"], g: Int64[Tensor, "b n"], axis: int = 1
) -> Float[Tensor, "b *shape"]:
    """The items of an axis moved by permutations, moved[g[i]] = x[i], with the gradient of ((P - soft).detach() + soft) x.

    P is the matrix of g. Derivatives of all orders are those of that expression.
    """
    moved: Tensor = _StraightThrough.apply(x, soft, g, g.argsort(-1), axis % x.ndim)  # type: ignore[no-untyped-call]
    return moved


class _StraightThrough(torch.autograd.Function):
    """y = P x; the gradient of x is P^T of that of y, by the same function again, and the gradient of soft is (gradient of y) x^T."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, soft: Tensor, g: Tensor, inverse: Tensor, axis: int) -> Tensor:  # noqa: ARG004
        return reordered(x, inverse, axis)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        *tensors, ctx.axis = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, soft, g, inverse = ctx.saved_tensors
        (dy,) = gradients
        needs_x, needs_soft = ctx.needs_input_grad[:2]
        dx = _StraightThrough.apply(dy, soft.mT, inverse, g, ctx.axis) if needs_x else None  # type: ignore[no-untyped-call]
        return dx, _outer(dy.to(soft.dtype), x.to(soft.dtype), ctx.axis) if needs_soft else None, None, None, None


def _outer(left: Tensor, right: Tensor, axis: int) -> Float[Tensor, "b n n"]:
    """The products of the items of one axis, summed over all others but the batch."""
    rows = [y.movedim(axis, 1).reshape(len(y), y.shape[axis], -1) for y in (left, right)]
    product: Tensor = rows[0] @ rows[1].mT
    return product


class Softened(Action):
    """A permutation of places whose gradient flows through soft matrices.

    Args:
        action: `Permuted` or `Pairs`.
        soft: `[b, n, n]`, near the matrices of the elements it will be applied with.
        relaxation: "straight-through" moves the data by the permutation; "soft" by the soft matrix itself, a control: what the network sees
            is then no reordering of its input.
    """

    def __init__(self, action: Action, soft: Float[Tensor, "b n n"], relaxation: Relaxation = "straight-through") -> None:
        self.action, self.soft, self.relaxation = action, soft, relaxation

    def apply(self, group: Group, g: Int64[Tensor, "b n"], x: Tensor) -> Tensor:
        """Move one axis after another; what has no derivative, such as a mask, is moved by the permutation alone."""
        if not x.is_floating_point():
            return self.action.apply(group, g, x)
        for axis in permuted_axes(self.action):
            if self.relaxation == "straight-through":
                x = straight_through(x, self.soft, g, axis)
            else:
                rows = x.movedim(axis, 1)
                x = (self.soft.to(x.dtype) @ rows.reshape(*rows.shape[:2], -1)).reshape(rows.shape).movedim(1, axis)
        return x


def softened(symmetry: Symmetry, soft: Sequence[Tensor | None], relaxation: Relaxation) -> Symmetry:
    """The contract with gradients through soft matrices, one or None for each factor."""

    def each(actions: Actions) -> Actions:
        given = actions if isinstance(actions, tuple) else (actions,)
        found = tuple(
            Softened(action, matrix, relaxation) if matrix is not None and permuted_axes(action) else action
            for action, matrix in zip(given, soft, strict=True)
        )
        return found if len(found) > 1 else found[0]

    inputs = {name: each(actions) for name, actions in symmetry.inputs.items()}
    output = symmetry.output
    return replace(
        symmetry,
        inputs=inputs,
        output=each(output) if isinstance(output, Action | tuple) else {name: each(actions) for name, actions in output.items()},
    )
