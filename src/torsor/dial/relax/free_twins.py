"""The free weight beside an equivariant layer: one dense matrix from all numbers that the layer reads to all that it writes.

Axes: i numbers in, o numbers out, c channels in, d channels out, m components, s scalars in, r scalars out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from torsor.errors import ConfigError, ShapeError
from torsor.models.equivariant_mlp import EquivariantLinear
from torsor.nn.irreps_linear import IrrepsLinear
from torsor.nn.multivector_linear import MultivectorLinear
from torsor.nn.permutation_linear import PermutationLinear
from torsor.nn.permutation_maps import Axes


class FreeTwin(nn.Module, ABC):
    """A dense matrix, and a bias that starts at zero.

    Args:
        numbers_in: how many numbers the layer reads.
        numbers_out: how many it writes.
    """

    def __init__(self, numbers_in: int, numbers_out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(numbers_in, numbers_out)
        nn.init.zeros_(self.dense.bias)

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Takes the arguments of the layer, returns what it returns."""


class FreeVector(FreeTwin):
    """Beside an `EquivariantLinear`."""

    def __init__(self, layer: EquivariantLinear) -> None:
        numbers_out, numbers_in = layer.weight.shape
        super().__init__(numbers_in, numbers_out)

    def forward(self, x: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        """W x + b."""
        y: Tensor = self.dense(x)
        return y


class FreeIrreps(FreeTwin):
    """Beside an `IrrepsLinear`: every component of every degree feeds every other."""

    used: Tensor

    def __init__(self, layer: IrrepsLinear) -> None:
        read = sum(fiber.components * fiber.width for fiber in layer.inputs)
        super().__init__(read, layer.output.components * layer.output.width)
        degrees = torch.tensor([l for l in range(layer.output.l_max + 1) for _ in range(2 * l + 1)])
        # places that pad a degree stay empty
        self.register_buffer("used", layer.output.mask()[degrees], persistent=False)

    def forward(self, *features: Float[Tensor, "*batch _ _"]) -> Float[Tensor, "*batch m d"]:
        """The map on flattened features."""
        y = self.dense(torch.cat([x.flatten(-2) for x in features], -1))
        return torch.unflatten(y, -1, tuple(self.used.shape)).where(self.used, 0)


class FreeMultivectors(FreeTwin):
    """Beside a `MultivectorLinear`: every component and every scalar feeds every other."""

    def __init__(self, layer: MultivectorLinear) -> None:
        _, channels_in, self.channels = layer.weight.shape
        self.scalars = 0 if layer.to_scalars is None else layer.to_scalars.out_features
        self.numbers_in = 16 * channels_in + layer.scalars_in
        super().__init__(self.numbers_in, 16 * self.channels + self.scalars)

    def forward(
        self, x: Float[Tensor, "16 *tokens c"], s: Float[Tensor, "*tokens s"] | None = None
    ) -> tuple[Float[Tensor, "16 *tokens d"], Float[Tensor, "*tokens r"]]:
        """The map on flattened multivectors and scalars."""
        flat = x.movedim(0, -2).flatten(-2)
        flat = flat if s is None else torch.cat((flat, s), -1)
        y = self.dense(pad(flat, (0, self.numbers_in - flat.shape[-1])))
        multivectors, scalars = torch.split(y, [16 * self.channels, self.scalars], -1)
        return torch.unflatten(multivectors, -1, (16, self.channels)).movedim(-2, 0), scalars


class FreePlaces(FreeTwin):
    """Beside a `PermutationLinear`: every place feeds every other, with a weight of its own.

    Args:
        layer: the equivariant layer.
        places: size of the largest set of each name; smaller ones are padded with zeros.

    Raises:
        ConfigError: the size of a set is not known.
    """

    def __init__(self, layer: PermutationLinear, places: Mapping[str, int]) -> None:
        sides = layer.spec.inputs, layer.spec.outputs
        for name in sorted({name for side in sides for axes in side for name in axes.sets} - set(places)):
            raise ConfigError(f"a free weight beside '{layer.spec}' needs the size of its largest set: give places={{'{name}': ...}}")
        self.inputs, self.outputs = sides
        self.shapes_in, self.shapes_out = (
            [(*_sizes(axes, places), width // axes.copies) for axes, width in zip(side, widths, strict=True)]
            for side, widths in zip(sides, (layer.in_widths, layer.out_widths), strict=True)
        )
        super().__init__(sum(map(prod, self.shapes_in)), sum(map(prod, self.shapes_out)))

    def forward(self, x: Any, mask: Any = None, sizes: Mapping[str, int] | None = None) -> Any:
        """The map on flattened, padded tensors; zero behind the mask.

        Raises:
            ShapeError: a set is larger than the largest.
        """
        tensors = [x[axes.name] for axes in self.inputs] if isinstance(x, Mapping) else [x]
        found = dict(sizes or {})
        for tensor, axes in zip(tensors, self.inputs, strict=True):
            found |= dict(zip(axes.names, tensor.shape[tensor.ndim - 1 - len(axes.names) :], strict=False))
        masks = self._masks(mask)
        rows = [_row(t, axes, shape, masks) for t, axes, shape in zip(tensors, self.inputs, self.shapes_in, strict=True)]
        parts = torch.split(self.dense(torch.cat(rows, -1)), [prod(shape) for shape in self.shapes_out], -1)
        outputs = {
            axes.name: _unrow(part, axes, shape, found, masks)
            for part, axes, shape in zip(parts, self.outputs, self.shapes_out, strict=True)
        }
        return outputs.get("", outputs)

    def _masks(self, mask: Tensor | Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """The masks by the names of their sets; a single one is that of every set."""
        if isinstance(mask, Mapping):
            return dict(mask)
        return {} if mask is None else {name: mask for axes in (*self.inputs, *self.outputs) for name in axes.sets}


def _sizes(axes: Axes, places: Mapping[str, int]) -> tuple[int, ...]:
    """Largest size of each axis."""
    return tuple({**places, **dict(axes.fixed)}[name] for name in axes.names)


def _row(x: Tensor, axes: Axes, shape: tuple[int, ...], masks: Mapping[str, Tensor]) -> Tensor:
    """A tensor cleared, padded to the shape and flattened."""
    x = _cleared(x, axes, masks)
    missing = [most - have for most, have in zip(shape, x.shape[x.ndim - len(shape) :], strict=True)]
    if min(missing) < 0:
        raise ShapeError(
            f"the input is {list(x.shape)}, and its free weight was made for at most {list(shape)}: give places= for the largest"
        )
    padded = pad(x, [width for count in reversed(missing) for width in (0, count)])
    return padded.flatten(x.ndim - len(shape))


def _unrow(row: Tensor, axes: Axes, shape: tuple[int, ...], sizes: Mapping[str, int], masks: Mapping[str, Tensor]) -> Tensor:
    """The way back."""
    x = torch.unflatten(row, -1, shape)
    for axis, name in enumerate(axes.names):
        x = x.narrow(x.ndim - len(shape) + axis, 0, sizes.get(name, shape[axis]))
    return _cleared(x, axes, masks)


def _cleared(x: Tensor, axes: Axes, masks: Mapping[str, Tensor]) -> Tensor:
    """Zeros where the mask of an axis is false."""
    for axis, name in enumerate(axes.names):
        if name in masks:
            mask = masks[name]
            around = (1,) * axis, (1,) * (len(axes.names) - axis)
            x = x.where(mask.reshape(*mask.shape[:-1], *around[0], mask.shape[-1], *around[1]), 0)
    return x


def free_twin(layer: nn.Module, places: Mapping[str, int]) -> FreeTwin | None:
    """The free weight beside an equivariant layer; None where the layer is of no known kind.

    Args:
        layer: any module.
        places: size of the largest set of each name, for layers that permute.

    Raises:
        ConfigError: a layer permutes a set whose size is not given.
    """
    if isinstance(layer, EquivariantLinear):
        return FreeVector(layer)
    if isinstance(layer, IrrepsLinear):
        return FreeIrreps(layer)
    if isinstance(layer, MultivectorLinear):
        return FreeMultivectors(layer)
    return FreePlaces(layer, places) if isinstance(layer, PermutationLinear) else None


def has_equivariant_layers(module: nn.Module) -> bool:
    """Whether a module has layers that a free weight can stand beside."""
    kinds = (EquivariantLinear, IrrepsLinear, MultivectorLinear, PermutationLinear)
    return any(isinstance(layer, kinds) for layer in module.modules())
