"""Convolutions on periodic grids as teachers: translations of one or two axes, and quarter turns with or without flips.

Cohen, Welling: Group Equivariant Convolutional Networks (2016). All are correlations with indices modulo the grid.

Axes: b batch, c channels, h elements of the point group, s places of the grid, u places of the kernel.
"""

from __future__ import annotations

from abc import abstractmethod
from math import prod

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from torsor.dial.clone.teachers import Teacher
from torsor.errors import RepresentationError, ShapeError
from torsor.groups import C, D, Group, Product
from torsor.groups.base import Element
from torsor.representations import Regular, Representation, Trivial
from torsor.symmetry import Symmetry


def shifted_places(grid: tuple[int, ...], kernel: tuple[int, ...], centred: bool) -> Int64[Tensor, "u s"]:
    """The flat index of place s + u of a periodic grid, for all u of a kernel; from -K//2 on where it is centred."""
    places = torch.zeros(1, 1, dtype=torch.int64)
    for size, length in zip(grid, kernel, strict=True):
        offsets = torch.arange(length) - (length // 2 if centred else 0)
        along = (offsets.unsqueeze(1) + torch.arange(size)).remainder(size)
        both = places[:, None, :, None] * size + along[None, :, None, :]
        places = both.flatten(2).flatten(0, 1)
    return places


class CircularConvolution(Teacher):
    """y[o, s] = sum_{i, u} tau[o, i, u] x[i, s + u], on a line or in the plane; C(n) rolls each axis.

    x is `[c_in, *grid]` and tau `[c_out, c_in, *kernel]`, both flat; the kernel starts at u = 0 and is not centred.

    Args:
        channels_in: the c_in.
        channels_out: the c_out.
        grid: places along each axis.
        kernel: places of the kernel along each axis.
        bias: whether tau ends with a number to add to each channel.

    Raises:
        ShapeError: grid and kernel have different numbers of axes, or the kernel is larger than the grid.
    """

    places: Tensor

    def __init__(self, channels_in: int, channels_out: int, grid: tuple[int, ...], kernel: tuple[int, ...], bias: bool = False) -> None:
        if len(grid) != len(kernel) or not grid or any(not 1 <= k <= n for n, k in zip(grid, kernel, strict=True)):
            raise ShapeError(
                f"a kernel of {list(kernel)} does not fit a grid of {list(grid)}: give one number for each axis, at most its places"
            )
        groups = tuple(C(n) for n in grid)
        group: Group = Product(*groups) if len(groups) > 1 else groups[0]
        contract = Symmetry(group, {"x": _rolled(channels_in, grid)}, _rolled(channels_out, grid), mask=None)
        maps = channels_out * channels_in * prod(kernel)
        settings = {"grid": list(grid), "kernel": list(kernel), "bias": bias}
        super().__init__(contract, channels_in * prod(grid), maps + bias * channels_out, channels_out * prod(grid), **settings)
        self.axes = (channels_out, channels_in, prod(kernel))
        self.register_buffer("places", shifted_places(grid, kernel, centred=False), persistent=False)

    def forward(self, x: Float[Tensor, "*b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "*b m"]:
        """The correlation, and the bias."""
        weights, bias = tau.tensor_split((prod(self.axes),), -1)
        patches = torch.unflatten(x, -1, (self.axes[1], -1))[..., self.places]
        y = torch.einsum("...oiu,...ius->...os", torch.unflatten(weights, -1, self.axes), patches)
        return (y + bias.unsqueeze(-1) if bias.shape[-1] else y).flatten(-2)


def _rolled(channels: int, grid: tuple[int, ...]) -> Representation | tuple[Representation, ...]:
    """How the rolls of each axis act on flat `[channels, *grid]`."""
    actions = tuple(
        (Trivial(channels * prod(grid[:axis])) @ Regular() @ Trivial(prod(grid[axis + 1 :]))).on(C(size)) for axis, size in enumerate(grid)
    )
    return actions if len(actions) > 1 else actions[0]


def turned_places(group: C | D, size: int) -> Int64[Tensor, "h s"]:
    """From which place of a square grid each place of the moved picture comes, for all elements of C(4) or D(4).

    Coordinates are those of a picture: x to the right, y upwards, turns anticlockwise about the centre.
    """
    middle = (size - 1) / 2
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    points = torch.stack((columns - middle, middle - rows), -1).double().flatten(0, 1)
    back = group.embed(group.inverse(group.elements())).round()
    sources = points @ back.mT
    return ((middle - sources[..., 1]) * size + sources[..., 0] + middle).round().long()


class PlaneFunctions(Representation):
    """Functions on a square grid, f(p), or on the grid and the group, f(h, p): (g f)(h, p) = f(g^-1 h, g^-1 p), for C(4) or D(4).

    Args:
        channels: how many functions; first axis of the flat vector.
        size: places along each side.
        lifted: whether they are functions on the group, too; second axis of the flat vector, in the order of its `elements`.
    """

    def __init__(self, channels: int, size: int, lifted: bool) -> None:
        self.channels, self.size, self.lifted = channels, size, lifted

    def on(self, group: Group) -> PlaneFunctions:
        """The functions under C(4) or D(4)."""
        if not isinstance(group, C | D) or group.n != 4:
            raise RepresentationError(f"{group} does not map a square grid onto itself: give C(4) or D(4)")
        return super().on(group)

    @property
    def _planar(self) -> C | D:
        group = self._bound()
        assert isinstance(group, C | D)
        return group

    @property
    def dim(self) -> int:
        """Channels times places."""
        return self.channels * self.size**2 * (self._planar.order if self.lifted else 1)

    def sources(self, g: Int64[Tensor, "*batch 2"]) -> Int64[Tensor, "*batch places"]:
        """Where in one channel each number of the moved function comes from."""
        group, area = self._planar, self.size**2
        places = turned_places(group, self.size).to(g.device)[_index(group, g)]
        if not self.lifted:
            return places
        copies = _index(group, group.compose(group.inverse(g).unsqueeze(-2), group.elements(g.device)))
        return (copies.unsqueeze(-1) * area + places.unsqueeze(-2)).flatten(-2)

    def matrix(self, g: Int64[Tensor, "*batch 2"]) -> Float[Tensor, "*batch dim dim"]:
        """Permutation matrices."""
        sources = self.sources(g)
        start = torch.arange(self.channels, device=g.device).unsqueeze(-1) * sources.shape[-1]
        whole = (start + sources.unsqueeze(-2)).flatten(-2)
        return torch.nn.functional.one_hot(whole, self.dim).double()

    def apply(self, group: Group, g: Element, x: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
        """Move the numbers; no matrix is made."""
        sources = self.on(group).sources(g)
        spread = sources.reshape(*sources.shape[:-1], *(1,) * (x.ndim - sources.ndim), 1, sources.shape[-1])
        return torch.take_along_dim(torch.unflatten(x, -1, (self.channels, -1)), spread, -1).flatten(-2)


class _PlaneConvolution(Teacher):
    """What both layers share: y[o, h] = sum_i (h psi[o, i]) * x[i], functions on the group out.

    Args:
        group: C(4) or D(4).
        channels_in: functions in.
        channels_out: functions out.
        size: places along each side of the grid.
        kernel: places along each side of the kernel; odd, so that it has a centre to turn about.
        lifted: whether the inputs are functions on the group.

    Raises:
        ShapeError: the kernel is even or larger than the grid.
    """

    places: Tensor
    taps: Tensor

    def __init__(self, group: C | D, channels_in: int, channels_out: int, size: int, kernel: int, lifted: bool) -> None:
        if kernel % 2 == 0 or not 1 <= kernel <= size:
            raise ShapeError(f"a kernel of {kernel} cannot turn on a grid of {size}: give an odd number, at most {size}")
        rep_in, rep_out = PlaneFunctions(channels_in, size, lifted).on(group), PlaneFunctions(channels_out, size, True).on(group)
        contract = Symmetry(group, {"x": rep_in}, rep_out, mask=None)
        copies = group.order if lifted else 1
        parameters = channels_out * channels_in * copies * kernel**2
        super().__init__(contract, rep_in.dim, parameters, rep_out.dim, grid=size, kernel=kernel)
        self.axes, self.copies = (channels_out, channels_in, copies * kernel**2), copies
        self.register_buffer("places", shifted_places((size, size), (kernel, kernel), centred=True), persistent=False)
        self.register_buffer("taps", self._taps(group, kernel), persistent=False)

    @abstractmethod
    def _taps(self, group: C | D, kernel: int) -> Int64[Tensor, "h taps"]:
        """Which number of psi stands at each place of h psi."""

    def forward(self, x: Float[Tensor, "*b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, "*b m"]:
        """Correlate with the kernel in all its positions."""
        kernels = torch.unflatten(tau, -1, self.axes)[..., self.taps]
        patches = torch.unflatten(x, -1, (self.axes[1], self.copies, -1))[..., self.places].flatten(-3, -2)
        return torch.einsum("...oihu,...ius->...ohs", kernels, patches).flatten(-3)


class LiftingConvolution(_PlaneConvolution):
    """From pictures to functions on the group: y[o, h] = sum_i (h psi[o, i]) * x[i], tau = psi `[c_out, c_in, K, K]`.

    Args:
        group: C(4) or D(4).
        channels_in: pictures in.
        channels_out: functions out.
        size: places along each side of the grid.
        kernel: the K, odd.
    """

    def __init__(self, group: C | D, channels_in: int, channels_out: int, size: int, kernel: int) -> None:
        super().__init__(group, channels_in, channels_out, size, kernel, lifted=False)

    def _taps(self, group: C | D, kernel: int) -> Int64[Tensor, "h taps"]:
        return turned_places(group, kernel)


class GroupConvolution(_PlaneConvolution):
    """From functions on the group to such: y[o, h] = sum_{i, h'} (h psi[o, i, h^-1 h']) * x[i, h'], tau = psi `[c_out, c_in, |H|, K, K]`.

    Args:
        group: C(4) or D(4).
        channels_in: functions in.
        channels_out: functions out.
        size: places along each side of the grid.
        kernel: the K, odd.
    """

    def __init__(self, group: C | D, channels_in: int, channels_out: int, size: int, kernel: int) -> None:
        super().__init__(group, channels_in, channels_out, size, kernel, lifted=True)

    def _taps(self, group: C | D, kernel: int) -> Int64[Tensor, "h taps"]:
        elements = group.elements()
        copies = _index(group, group.compose(group.inverse(elements).unsqueeze(1), elements))
        return (copies.unsqueeze(-1) * kernel**2 + turned_places(group, kernel).unsqueeze(1)).flatten(1)


def _index(group: C | D, g: Int64[Tensor, "*batch 2"]) -> Int64[Tensor, "*batch"]:
    """Place of an element in the list of all."""
    return g[..., 0] + group.n * g[..., 1]
