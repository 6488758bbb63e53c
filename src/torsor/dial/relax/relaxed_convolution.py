"""Relaxed convolution: several filters, mixed with weights that depend on the place.

Wang, Walters, Yu: Approximately Equivariant Networks for Imperfectly Symmetric Dynamics (2022), section 4.1, in the form of a correction:
a convolution stands for the mean of the filters, and what depends on the place is added to it,

    y(x) = (psi * z)(x) + 1/L sum_l w_l(x) (psi_l * z)(x),

which with psi = 1/L sum_l psi_l is 1/L sum_l (1 + w_l(x)) (psi_l * z)(x). Without w it is an ordinary convolution, bit by bit.

Axes: b batch, c channels in, o channels out, l filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, pad

from torsor.dial.relax.base import Dial, Exchanged
from torsor.dial.relax.fixed_inputs import Box, FixedInputs, pixel_positions
from torsor.errors import ConfigError
from torsor.symmetry import Symmetry

Convolution = nn.Conv1d | nn.Conv2d


class GridWeights(nn.Module):
    """w as a free tensor on a grid of one size.

    Args:
        filters: number of weights of a place.
        grid: size of the grid that the convolution gives.
    """

    def __init__(self, filters: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.weights = nn.Parameter(torch.randn(filters, *grid) / 10)

    def forward(self, output: Float[Tensor, "b o *grid"], stride: tuple[int, ...]) -> Float[Tensor, "l *grid"]:  # noqa: ARG002
        """The weights of each place.

        Raises:
            ConfigError: the grid has another size.
        """
        if tuple(output.shape[2:]) != self.grid:
            raise ConfigError(f"the grid is {list(output.shape[2:])}, and its weights were made for {list(self.grid)}: give grid=")
        return self.weights


class PositionWeights(nn.Module):
    """w as fixed inputs, functions of the position on the grid in pixels from its centre.

    Args:
        inputs: functions on R^d, one for each filter.
    """

    def __init__(self, inputs: FixedInputs) -> None:
        super().__init__()
        self.inputs = inputs

    def forward(self, output: Float[Tensor, "b o *grid"], stride: tuple[int, ...]) -> Float[Tensor, "l *grid"]:
        """The weights of each place."""
        pixels = pixel_positions(output.shape[2:], output, stride)
        return self.inputs.values(pixels.unsqueeze(0)).squeeze(0).movedim(-1, 0)


class RelaxedConvolution(Dial):
    """A convolution whose filter may change from place to place.

    Args:
        convolution: the ordinary convolution, `nn.Conv1d` or `nn.Conv2d`; it stays a part of this.
        weights: w, one for each filter: functions of position, or a free tensor.
        filters: their number, the L of the formula; each starts as the ordinary filter.
        strength: multiplies w; 0 is the ordinary convolution.

    Raises:
        ConfigError: there is no filter.
    """

    keep: Tensor | None

    def __init__(self, convolution: Convolution, weights: nn.Module, filters: int, strength: float) -> None:
        super().__init__(strength)
        if filters < 1:
            raise ConfigError(f"filters is {filters}: give 1 or more, 3 in the paper")
        self.convolution, self.weights = convolution, weights
        self.filters = nn.Parameter(convolution.weight.detach().clone().repeat(filters, *(1,) * convolution.weight.ndim))
        self.keep = None

    def forward(self, z: Float[Tensor, "b c *_"]) -> Float[Tensor, "b o *_"]:
        """The ordinary convolution, and what depends on the place."""
        strict: Tensor = self.convolution(z)
        if self.freedom == 0:
            return strict
        count, mixing = len(self.filters), self.weights(strict, self.convolution.stride)
        each = torch.unflatten(self._filtered(z), 1, (count, -1))
        extra = (each * mixing.unsqueeze(1)).sum(1) * (self.freedom / count)
        kept: Tensor = extra if self.keep is None else extra * self.keep.reshape(-1, *(1,) * (extra.ndim - 1))
        return strict + kept

    def _filtered(self, z: Tensor) -> Tensor:
        """All filters at once, padded as the convolution pads; the outputs of each filter lie together."""
        like, groups = self.convolution, self.convolution.groups
        convolve = conv1d if isinstance(like, nn.Conv1d) else conv2d
        # to torch, the outputs of a group have to lie together
        weight = torch.unflatten(self.filters, 1, (groups, -1)).transpose(0, 1).flatten(0, 2)
        padding: Any = like.padding
        if like.padding_mode != "zeros":
            z, padding = pad(z, like._reversed_padding_repeated_twice, mode=like.padding_mode), 0
        y = convolve(z, weight, None, like.stride, padding, like.dilation, groups)
        return torch.unflatten(y, 1, (groups, len(self.filters), -1)).transpose(1, 2).flatten(1, 3)


def with_relaxed_convolutions(
    module: nn.Module,
    strength: float = 1.0,
    *,
    filters: int = 3,
    symmetry: Symmetry | None = None,
    box: Callable[[int], Box] = Box.everywhere,
    grid: Sequence[int] | None = None,
    hidden: int = 32,
    activation: str = "relu",
    fourier: int = 0,
    dropout: float = 0.5,
) -> Exchanged:
    """A copy of a network with each of its convolutions relaxed.

    Args:
        module: the network.
        strength: 0 is strict, 1 is free.
        filters: the L of the formula.
        symmetry: the contract of the network; its own if not given.
        box: makes the box, for a number of dimensions, in which the filters may change, in pixels from the centre of the grid.
        grid: size of the grid, if w is to be a free tensor of that size instead of functions of position.
        hidden: width of the hidden layers of these functions.
        activation: of these layers.
        fourier: wavelengths of these functions, see `FixedInputs`.
        dropout: probability that a sample of a training batch sees ordinary convolutions.

    Raises:
        ConfigError: there is no convolution.
    """

    def exchange(_: str, layer: nn.Module) -> RelaxedConvolution | None:
        if not isinstance(layer, nn.Conv1d | nn.Conv2d):
            return None
        if grid is not None:
            return RelaxedConvolution(layer, GridWeights(filters, grid), filters, strength)
        dimension = layer.weight.ndim - 2
        inputs = FixedInputs(dimension, filters, hidden=hidden, activation=activation, box=box(dimension), fourier=fourier, dropout=0.0)
        return RelaxedConvolution(layer, PositionWeights(inputs), filters, strength)

    return Exchanged(module, exchange, strength, symmetry, dropout)
