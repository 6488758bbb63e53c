"""Irrep features of many channels as one dense tensor.

A fiber says how many channels each degree has. Its features are stored `[..., m, c]`: m runs over the (l_max + 1)**2 components of degrees
0..l_max, c over the width of the widest degree; a degree with fewer channels is padded with zeros, inside each head.

Axes: m components, c channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from torsor.errors import RepresentationError
from torsor.representations import Irreps


@dataclass(frozen=True)
class Fiber:
    """Number of channels of each degree.

    Args:
        channels: channels of degrees 0..l_max; 0 where a degree is absent.
        heads: attention heads among which the channels of each degree are divided, in order.

    Raises:
        RepresentationError: no degree has channels, or those of a degree do not divide by `heads`.
    """

    channels: tuple[int, ...]
    heads: int = 1

    def __post_init__(self) -> None:
        if not any(self.channels):
            raise RepresentationError("a fiber needs channels of at least one degree")
        for l, count in enumerate(self.channels):
            if count % self.heads:
                raise RepresentationError(f"degree {l} has {count} channels, which do not divide by {self.heads} heads: give a multiple")

    @classmethod
    def of(cls, irreps: Irreps) -> Fiber:
        """The fiber of irreps of SO(3), whatever their parity."""
        channels = [0] * (irreps.lmax + 1)
        for count, irrep in irreps:
            channels[irrep.l] += count
        return cls(tuple(channels))

    @property
    def l_max(self) -> int:
        """Highest degree that is stored."""
        return len(self.channels) - 1

    @property
    def degrees(self) -> tuple[int, ...]:
        """Degrees that have channels."""
        return tuple(l for l, count in enumerate(self.channels) if count)

    @property
    def components(self) -> int:
        """Length of axis m."""
        return len(self.channels) ** 2

    @property
    def width(self) -> int:
        """Length of axis c."""
        return max(self.channels)

    @property
    def dim(self) -> int:
        """Real numbers in a feature, padding left out."""
        return sum(count * (2 * l + 1) for l, count in enumerate(self.channels))

    @property
    def full(self) -> bool:
        """Whether nothing is padded."""
        return min(self.channels) == self.width

    def only(self, degrees: Sequence[int]) -> Fiber:
        """The same channels for some of the degrees."""
        kept = [count if l in degrees else 0 for l, count in enumerate(self.channels)]
        while len(kept) > 1 and kept[-1] == 0:
            kept.pop()
        return Fiber(tuple(kept), self.heads)

    def places(self, l: int) -> list[int]:
        """Places of the channels of degree l on axis c."""
        return [h * (self.width // self.heads) + c for h in range(self.heads) for c in range(self.channels[l] // self.heads)]

    def mask(self) -> Bool[Tensor, "l c"]:
        """True where a degree has a channel."""
        mask = torch.zeros(len(self.channels), self.width, dtype=torch.bool)
        for l in self.degrees:
            mask[l, self.places(l)] = True
        return mask

    def take(self, features: Float[Tensor, "*batch m c"], l: int) -> Float[Tensor, "*batch n k"]:
        """Components and channels of degree l, without padding."""
        return self.strip(features[..., l * l : (l + 1) ** 2, :], l)

    def strip(self, part: Float[Tensor, "*batch c"], l: int) -> Float[Tensor, "*batch k"]:
        """Channels of degree l on the last axis, without padding."""
        if self.channels[l] == self.width:
            return part
        if self.heads == 1:
            return part[..., : self.channels[l]]
        return torch.unflatten(part, -1, (self.heads, -1))[..., : self.channels[l] // self.heads].flatten(-2)

    def pad(self, part: Float[Tensor, "*batch k"], l: int) -> Float[Tensor, "*batch c"]:
        """Channels of degree l on the last axis, padded to the width."""
        missing = self.width - self.channels[l]
        if missing == 0:
            return part
        if self.heads == 1:
            return pad(part, (0, missing))
        return pad(torch.unflatten(part, -1, (self.heads, -1)), (0, missing // self.heads)).flatten(-2)

    def join(self, parts: dict[int, Float[Tensor, "..."]]) -> Float[Tensor, "*batch m c"]:
        """One dense tensor from the parts of some degrees, `[*batch, 2 l + 1, channels[l]]`; zero elsewhere."""
        like = next(iter(parts.values()))
        empty = {l: like.new_zeros(*like.shape[:-2], 2 * l + 1, self.width) for l in range(self.l_max + 1) if l not in parts}
        return torch.cat([empty[l] if l in empty else self.pad(parts[l], l) for l in range(self.l_max + 1)], -2)


class FiberLayout(nn.Module):
    """Between flattened irreps, `[..., dim]` in e3nn's layout, and the dense tensor of their fiber.

    Args:
        irreps: the flattened layout; channels of one degree are numbered in its order.
    """

    flat_from_dense: Tensor
    dense_from_flat: Tensor

    def __init__(self, irreps: Irreps) -> None:
        super().__init__()
        self.fiber = Fiber.of(irreps)
        used, places = [0] * len(self.fiber.channels), []
        for count, irrep in irreps:
            l = irrep.l
            places += [(l * l + m) * self.fiber.width + used[l] + c for c in range(count) for m in range(2 * l + 1)]
            used[l] += count
        flat = torch.tensor(places)
        dense = torch.full((self.fiber.components * self.fiber.width,), len(places))
        dense[flat] = torch.arange(len(places))
        self.register_buffer("flat_from_dense", flat, persistent=False)
        self.register_buffer("dense_from_flat", dense, persistent=False)

    def dense(self, flat: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch m c"]:
        """The dense tensor."""
        return torch.unflatten(pad(flat, (0, 1)).index_select(-1, self.dense_from_flat), -1, (self.fiber.components, self.fiber.width))

    def flat(self, dense: Float[Tensor, "*batch m c"]) -> Float[Tensor, "*batch d"]:
        """The flattened irreps."""
        return dense.flatten(-2).index_select(-1, self.flat_from_dense)
