"""Fixed inputs: learned functions of absolute position that an equivariant network may use to break its symmetry.

Ashman, Diaconu, Weller, Turner: Approximately Equivariant Neural Processes (2024). Every operator is an equivariant one with finitely many
fixed inputs, in the limit; their number bounds how far from equivariance a model can go, and without them it is strictly equivariant.

Axes: b batch, n places, d coordinates, t fixed inputs, k wavelengths.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.dial.relax.base import Dial, draw_keep
from torsor.errors import ConfigError, ShapeError
from torsor.nn.perceptron import hidden_layers

_FINEST = 64
"""Shortest Fourier wavelength, as a part of the width of the box."""


class Box(nn.Module):
    """Where fixed inputs are heard: 1 inside, 0 outside, with a smooth edge if wanted.

    Args:
        low: lower corner; one number for all axes, or one for each.
        high: upper corner.
        dimension: number of axes.
        taper: width of the edge inside the box on which the weight goes from 0 to 1, continuously differentiable; 0 for a sharp one.
        grows: whether the box grows with the positions that are seen in training mode.

    Raises:
        ConfigError: a corner has another number of axes, or the taper is negative.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, low: float | Sequence[float], high: float | Sequence[float], dimension: int, taper: float = 0.0, grows: bool = False
    ) -> None:
        super().__init__()
        corners = [(side,) * dimension if isinstance(side, int | float) else tuple(side) for side in (low, high)]
        if any(len(corner) != dimension for corner in corners) or taper < 0:
            raise ConfigError(f"box is {low} to {high} with taper {taper}: give {dimension} numbers each, and a taper of 0 or more")
        self.taper, self.grows = taper, grows
        for name, corner in zip(("low", "high"), corners, strict=True):
            self.register_buffer(name, torch.tensor(corner, dtype=torch.get_default_dtype()))

    @classmethod
    def around(cls, positions: Float[Tensor, "*n d"], margin: float = 0.0, taper: float = 0.0) -> Box:
        """The box that holds some positions, and a margin around them."""
        rows = positions.detach().flatten(0, -2)
        return cls((rows.amin(0) - margin).tolist(), (rows.amax(0) + margin).tolist(), positions.shape[-1], taper)

    @classmethod
    def everywhere(cls, dimension: int) -> Box:
        """All of space."""
        return cls(-math.inf, math.inf, dimension)

    @classmethod
    def seen(cls, dimension: int, taper: float = 0.0) -> Box:
        """The box of all positions that were seen in training mode: empty at first."""
        return cls(math.inf, -math.inf, dimension, taper, grows=True)

    def forward(self, positions: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 1"]:
        """The weight of each position."""
        low, high = self.low.to(positions.dtype), self.high.to(positions.dtype)
        if self.taper == 0:
            return ((positions >= low) & (positions <= high)).all(-1, keepdim=True).to(positions.dtype)
        u = (torch.minimum(positions - low, high - positions) / self.taper).clamp(0, 1)
        return (u * u * (3 - 2 * u)).prod(-1, keepdim=True)

    @torch.no_grad()
    def see(self, positions: Float[Tensor, "b *n d"], mask: Bool[Tensor, "b *n"] | None) -> None:
        """Grow to hold the positions, if this box grows and is in training mode."""
        if not (self.grows and self.training):
            return
        valid = torch.ones_like(positions[..., :1], dtype=torch.bool) if mask is None else mask.unsqueeze(-1)
        for corner, bound, limit in ((self.low, math.inf, torch.amin), (self.high, -math.inf, torch.amax)):
            found = limit(positions.detach().where(valid, bound).flatten(0, -2), 0).to(corner.dtype)
            corner.copy_(torch.minimum(corner, found) if bound > 0 else torch.maximum(corner, found))


class FixedSource(Dial, ABC):
    """Fixed inputs of each place, with all-or-nothing dropout.

    strength * keep * values: `keep` is one number for each item of the batch, 0 or 1, and is not scaled by 1 / (1 - dropout). A rescaled
    network would be trained on nothing and on too much, and never on what it is tested on.

    Args:
        width: number of fixed inputs.
        dropout: probability that an item of a training batch gets none.
        strength: 0 is strict, 1 is free.

    Raises:
        ConfigError: a number makes no sense.
    """

    def __init__(self, width: int, dropout: float, strength: float) -> None:
        super().__init__(strength)
        if width < 0 or not 0 <= dropout <= 1:
            raise ConfigError(f"{width} fixed inputs with dropout {dropout}: give 0 or more, and a probability")
        self.width, self.dropout = width, dropout

    def draw(self, like: Tensor, generator: torch.Generator) -> Float[Tensor, "b"]:
        """The `keep` of a training batch of which `like` is a tensor."""
        return draw_keep(like, self.dropout, generator)

    def forward(
        self, places: Float[Tensor, "b *_rest"], keep: Float[Tensor, "b"] | None = None, mask: Bool[Tensor, "b *n"] | None = None
    ) -> Float[Tensor, "b *_rest"]:
        """The fixed inputs of each place.

        Args:
            places: what says where the places are.
            keep: 0 for the items that get none; None keeps all.
            mask: true at valid places.
        """
        found = self.values(places, mask)
        if self.freedom == 0:
            return torch.zeros_like(found)
        if self.freedom != 1:
            found = self.freedom * found
        return found if keep is None else found * keep.to(found.dtype).reshape(-1, *(1,) * (found.ndim - 1))

    @abstractmethod
    def values(self, places: Tensor, mask: Tensor | None) -> Tensor:
        """The fixed inputs at full strength."""


class FixedInputs(FixedSource):
    """t: R^d -> R^t, a perceptron on absolute positions, zero outside a box.

    With two hidden layers as wide as the output it has 2,176 parameters for d = 1, t = 32 and 33,280 for d = 1, t = 128.

    Args:
        dimension: d.
        width: t, the number of fixed inputs.
        hidden: width of the hidden layers, t if not given.
        activation: of the hidden layers; "relu" is published, "silu" is smooth.
        box: where they are heard; everywhere if not given.
        fourier: the network sees sines and cosines of so many wavelengths along each axis, from the width of the box downwards, instead of
            the positions; their phases are computed in float64. 0 for positions.
        dropout: probability that an item of a training batch gets none.
        strength: 0 is strict, 1 is free.

    Raises:
        ConfigError: a number makes no sense, or Fourier features have no box to measure.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        *,
        hidden: int | None = None,
        activation: str = "relu",
        box: Box | None = None,
        fourier: int = 0,
        dropout: float = 0.5,
        strength: float = 1.0,
    ) -> None:
        super().__init__(width, dropout, strength)
        self.dimension = dimension
        self.box = Box.everywhere(dimension) if box is None else box
        self.wavelengths = _wavelengths(self.box, fourier)
        inner = width if hidden is None else hidden
        start = 2 * fourier * dimension if fourier else dimension
        self.network = nn.Sequential(hidden_layers((start, inner, inner), activation), nn.Linear(inner, width)) if width else None

    def values(self, places: Float[Tensor, "b *n d"], mask: Bool[Tensor, "b *n"] | None = None) -> Float[Tensor, "b *n t"]:
        """Their values at each position, zero outside the box.

        Raises:
            ShapeError: the positions have another number of coordinates.
        """
        if places.shape[-1] != self.dimension:
            raise ShapeError(f"positions are {list(places.shape)} but the fixed inputs are functions on R^{self.dimension}")
        if self.network is None:
            return places[..., :0]
        self.box.see(places, mask)
        # positions behind the mask may be anything, and so would be their gradients
        positions = places if mask is None else places.where(mask.unsqueeze(-1), 0)
        weight = self.box(positions)
        found: Tensor = self.network(self._features(positions))
        masked: Tensor = found.where(weight > 0, 0) * weight.to(found.dtype)
        return masked

    def _features(self, positions: Float[Tensor, "b *n d"]) -> Float[Tensor, "b *n f"]:
        """What the network sees of a position."""
        if not self.wavelengths:
            return positions
        phases = positions.double().unsqueeze(-2) * positions.new_tensor(self.wavelengths, dtype=torch.float64).reciprocal()
        phases = (2 * math.pi * phases).flatten(-2)
        return torch.cat((phases.sin(), phases.cos()), -1).to(positions.dtype)


def _wavelengths(box: Box, count: int) -> tuple[tuple[float, ...], ...]:
    """Wavelengths along each axis, log-spaced from the width of the box down to 1/64 of it."""
    if count == 0:
        return ()
    widths = (box.high - box.low).double()
    if not (widths.isfinite() & (widths > 0)).all():
        raise ConfigError("Fourier features have wavelengths up to the width of the box: give it, such as box = 2.0 for -2 to 2")
    steps = torch.linspace(0, 1, count, dtype=torch.float64) if count > 1 else torch.zeros(1, dtype=torch.float64)
    return tuple(tuple(row) for row in (widths * float(_FINEST) ** -steps.unsqueeze(-1)).tolist())


class NodeIdentities(FixedSource):
    """A learned row for each node of a graph, by its place in the list: which node it is breaks permutation symmetry.

    Nodes beyond the last row get zeros, so that larger graphs are seen as an equivariant network sees them.

    Args:
        nodes: number of rows.
        width: number of fixed inputs of a node.
        dropout: probability that a graph of a training batch gets none.
        strength: 0 is strict, 1 is free.
    """

    def __init__(self, nodes: int, width: int, *, dropout: float = 0.5, strength: float = 1.0) -> None:
        super().__init__(width, dropout, strength)
        self.table = nn.Parameter(torch.randn(nodes, width))

    def values(
        self,
        places: Float[Tensor, "b n *_rest"],
        mask: Bool[Tensor, "b n"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "b n t"]:
        """The row of each node."""
        batch, nodes = places.shape[:2]
        missing = max(nodes - len(self.table), 0)
        rows = nn.functional.pad(self.table, (0, 0, 0, missing))[:nodes]
        return rows.to(places.dtype).expand(batch, -1, -1)


class ConstantInputs(FixedSource):
    """One learned vector for every input: a direction, say, along which the data are not symmetric.

    Args:
        width: its length.
        dropout: probability that an item of a training batch gets none.
        strength: 0 is strict, 1 is free.
    """

    def __init__(self, width: int, *, dropout: float = 0.5, strength: float = 1.0) -> None:
        super().__init__(width, dropout, strength)
        self.vector = nn.Parameter(torch.randn(width))

    def values(
        self,
        places: Float[Tensor, "b *_rest"],
        mask: Bool[Tensor, "b *n"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "b t"]:
        """The vector, once for each item."""
        return self.vector.to(places.dtype).expand(len(places), -1)


class PixelInputs(FixedSource):
    """Fixed inputs of the pixels of an image, channels first, as functions of where they are.

    Coordinates are in pixels from the centre, the first axis of the grid first.

    Args:
        inputs: functions on R^d, for images `[b, c, *grid]` with d axes.
    """

    def __init__(self, inputs: FixedInputs) -> None:
        super().__init__(inputs.width, inputs.dropout, inputs.strength)
        self.inputs = inputs

    def values(
        self,
        places: Float[Tensor, "b c *grid"],
        mask: Tensor | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "b t *grid"]:
        """Their values at each pixel."""
        pixels = pixel_positions(places.shape[2:], places)
        found = self.inputs.values(pixels.unsqueeze(0)).squeeze(0).movedim(-1, 0)
        return found.expand(len(places), *found.shape)


def pixel_positions(grid: Sequence[int], like: Tensor, stride: Sequence[int] | None = None) -> Float[Tensor, "*grid d"]:
    """Where the pixels of a grid are, in pixels from its centre.

    Args:
        grid: its size along each axis.
        like: gives type and device.
        stride: pixels from one place to the next along each axis, 1 if not given.
    """
    steps = (1,) * len(grid) if stride is None else stride
    axes = [
        (torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2) * step for size, step in zip(grid, steps, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
