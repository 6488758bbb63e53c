"""`densify(layer)`: the dense layer that computes the same as an equivariant linear one, with nothing shared or forbidden any more.

The exact clone of one linear map is a matrix, so symmetry can be unlearned from where it was learned: train an equivariant network, then
go on with its dense twin. It costs no cloning, and is the baseline that a clone which is allowed to break its symmetry has to beat.

Axes: b batch, n numbers in, m numbers out.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from torsor.dial.clone.laws import Gaussian
from torsor.dial.clone.students import with_one
from torsor.dial.clone.teachers import FixedTeacher
from torsor.errors import RepresentationError, ShapeError
from torsor.models.equivariant_mlp import EquivariantLinear
from torsor.nn.irreps_linear import IrrepsLinear

AFFINE = 1e-9
"""Relative error, in float64, beyond which a layer is seen not to be affine."""


class Dense(nn.Module):
    """x -> W x + b on all numbers of an item, whatever their shape.

    Args:
        weight: the W, `[m, n]`.
        bias: the b, `[m]`.
        shape_in: of an item in.
        shape_out: of an item out.
    """

    def __init__(
        self, weight: Float[Tensor, "m n"], bias: Float[Tensor, " m"], shape_in: tuple[int, ...], shape_out: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.shape_in, self.shape_out = shape_in, shape_out

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The affine map, on `[*batch, *shape_in]`.

        Raises:
            ShapeError: x has another shape.
        """
        axes = len(self.shape_in)
        if tuple(x.shape[x.ndim - axes :]) != self.shape_in:
            raise ShapeError(
                f"x is {list(x.shape)}, but this layer was made dense for {list(self.shape_in)}: give [*batch, *{self.shape_in}]"
            )
        rows = x.reshape(*x.shape[: x.ndim - axes], prod(self.shape_in))
        return torch.unflatten(linear(rows, self.weight, self.bias), -1, self.shape_out)


def densify(layer: nn.Module, shape: tuple[int, ...] | None = None) -> nn.Module:
    """The dense layer that computes the same; or a network with every equivariant linear layer in it made dense.

    Args:
        layer: a linear layer: `EquivariantLinear`, `PermutationLinear`, `IrrepsLinear` of one input, `FixedTeacher`, a convolution, or any
            other affine module of one tensor. Else a network that holds `EquivariantLinear` or `IrrepsLinear` layers.
        shape: of an item that the layer takes, without batch axes, where the layer does not know it: `(n, c)` for a set of n items,
            `(c, h, w)` for a convolution of pictures.

    Raises:
        RepresentationError: the layer is not affine.
        ShapeError: the layer does not know the shape of its input and holds none that does, and none is given.
    """
    known = shape or _shape_in(layer)
    if known is not None:
        return _exact(layer, known)
    found = [name for name, part in layer.named_modules() if _shape_in(part) is not None]
    if found:
        return _within(layer, found)
    raise _unknown_shape(layer)


@torch.no_grad()
def densify_from_samples(layer: nn.Module, shape: tuple[int, ...] | None = None, samples: int | None = None, seed: int = 0) -> Dense:
    """As `densify` of a layer, but learned: least squares on what the layer gives for standard normal inputs, in float64.

    Args:
        layer: an affine layer.
        shape: of an item; see `densify`.
        samples: number of inputs; twice the numbers of an item, and at least one more than these.
        seed: of the inputs.

    Raises:
        ShapeError: the shape is not known, or there are fewer samples than unknowns.
    """
    known = shape or _shape_in(layer)
    if known is None:
        raise _unknown_shape(layer)
    width = prod(known)
    samples = max(2 * width, width + 1) if samples is None else samples
    if samples <= width:
        raise ShapeError(f"{samples} samples do not settle {width + 1} unknowns: give at least as many")
    x = Gaussian(width).draw(samples, torch.Generator().manual_seed(seed), torch.float64)["x"]
    y = deepcopy(layer).double()(torch.unflatten(x, -1, known))
    solution = torch.linalg.lstsq(with_one(x), y.flatten(1)).solution
    return _dense(layer, solution[:-1].T, solution[-1], known, tuple(y.shape[1:]))


@torch.no_grad()
def _exact(layer: nn.Module, shape: tuple[int, ...]) -> Dense:
    """What the layer makes of zero and of each unit vector."""
    exact, width = deepcopy(layer).double(), prod(shape)
    images = exact(torch.unflatten(torch.cat((torch.zeros(1, width), torch.eye(width))).double(), -1, shape))
    bias, rows = images[0].flatten(), images[1:].flatten(1)
    x = Gaussian(width).draw(4, torch.Generator().manual_seed(0), torch.float64)["x"]
    error = exact(torch.unflatten(x, -1, shape)).flatten(1) - x @ (rows - bias) - bias
    if not float(error.norm()) <= AFFINE * (1 + float(images.norm())):
        raise RepresentationError(
            f"{type(layer).__name__} is not affine, so no matrix computes the same: give its linear layers one by one"
        )
    return _dense(layer, (rows - bias).T, bias, shape, tuple(images.shape[1:]))


def _dense(layer: nn.Module, weight: Tensor, bias: Tensor, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Dense:
    """The dense layer in the type of the layer it stands for."""
    like = next((x for x in (*layer.parameters(), *layer.buffers()) if x.is_floating_point()), weight)
    return Dense(weight.to(like), bias.to(like), shape_in, shape_out)


def _within(network: nn.Module, names: list[str]) -> nn.Module:
    """A copy of the network with these layers made dense; its contract, where it has one, promises nothing any more."""
    dense = deepcopy(network)
    for name in names:
        owner, _, attribute = name.rpartition(".")
        setattr(dense.get_submodule(owner), attribute, densify(network.get_submodule(name)))
    contract: Any = vars(dense).get("symmetry")
    if contract is not None:
        vars(dense)["symmetry"] = replace(contract, exactness="none")
    return dense


def _shape_in(layer: nn.Module) -> tuple[int, ...] | None:
    """The shape of an item, where the layer knows it."""
    if isinstance(layer, EquivariantLinear):
        return (layer.weight.shape[1],)
    if isinstance(layer, FixedTeacher):
        return (layer.teacher.inputs,)
    if isinstance(layer, IrrepsLinear) and len(layer.inputs) == 1:
        return (layer.inputs[0].components, layer.inputs[0].width)
    return None


def _unknown_shape(layer: nn.Module) -> ShapeError:
    return ShapeError(
        f"{type(layer).__name__} does not know the shape of its items, and holds no EquivariantLinear or IrrepsLinear: "
        "give shape=, that of one item without its batch axis"
    )
