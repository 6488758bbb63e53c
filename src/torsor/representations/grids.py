"""Images on grids under rotations and reflections of the plane."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.errors import RepresentationError, ShapeError
from torsor.groups.base import ActsOnSpace, Element, Group
from torsor.groups.planar import Planar
from torsor.representations.base import Action


class GridRotated(Action):
    """Images `[..., h, w]` turned about their centre: (g f)(p) = f(g^-1 p).

    Coordinates are those of a picture: x to the right along the last axis, y upwards, so that rotations turn it anticlockwise. What comes
    from outside is zero. Whole quarter turns and their reflections move pixels onto pixels and are exact; all others interpolate between
    the four nearest pixels.
    """

    @property
    def exact(self) -> bool:
        """False, for only quarter turns are exact; see `exact_for`."""
        return False

    def exact_for(self, group: Group, g: Element) -> Bool[Tensor, "*batch"]:
        """Which of the elements are whole quarter turns or reflections of them."""
        matrix = _plane(group).linear(g)
        return (matrix.round() - matrix).abs().amax((-2, -1)) < 8 * torch.finfo(matrix.dtype).eps

    def apply(self, group: Group, g: Element, x: Float[Tensor, "*shape h w"]) -> Float[Tensor, "*shape h w"]:
        """Turn the images.

        Raises:
            ShapeError: the grid is not square, and the group has quarter turns.
        """
        whole = isinstance(group, Planar) and group.n in (1, 2, 4)
        if isinstance(group, Planar) and group.n == 4 and x.shape[-1] != x.shape[-2]:
            raise ShapeError(f"x is {list(x.shape)} but quarter turns need a square grid: give [..., n, n]")
        matrix = _plane(group).linear(g).to(x.dtype)
        matrix = torch.where(self.exact_for(group, g)[..., None, None], matrix.round(), matrix)
        rows, columns = _sources(matrix, x.shape[-2], x.shape[-1])
        return _pixels(x, rows.round(), columns.round()) if whole else _interpolated(x, rows, columns)


def _plane(group: Group) -> ActsOnSpace:
    if isinstance(group, ActsOnSpace) and group.name.split("(")[0] in ("C", "D", "SO", "O") and group.space_dim == 2:
        return group
    raise RepresentationError(f"GridRotated() cannot act under {group}: give C(n), D(n), SO(2) or O(2)")


def _sources(matrix: Float[Tensor, "*batch 2 2"], h: int, w: int) -> tuple[Float[Tensor, "*batch h w"], Float[Tensor, "*batch h w"]]:
    """Row and column, not whole in general, from which each pixel comes."""
    x = torch.arange(w, dtype=matrix.dtype, device=matrix.device) - (w - 1) / 2
    y = ((h - 1) / 2 - torch.arange(h, dtype=matrix.dtype, device=matrix.device)).unsqueeze(-1)
    inverse = matrix.mT[..., None, None]
    columns = inverse[..., 0, 0, :, :] * x + inverse[..., 0, 1, :, :] * y + (w - 1) / 2
    rows = (h - 1) / 2 - inverse[..., 1, 0, :, :] * x - inverse[..., 1, 1, :, :] * y
    return rows, columns


def _interpolated(
    image: Float[Tensor, "*shape h w"], rows: Float[Tensor, "*batch h w"], columns: Float[Tensor, "*batch h w"]
) -> Float[Tensor, "*shape h w"]:
    """Bilinear interpolation; exact where rows and columns are whole."""
    top, left = rows.detach().floor(), columns.detach().floor()
    down, right = rows - top, columns - left
    total = torch.zeros_like(image)
    for row, vertical in ((top, 1 - down), (top + 1, down)):
        for column, horizontal in ((left, 1 - right), (left + 1, right)):
            weight = _like_image(vertical * horizontal, image)
            total = total + weight * _pixels(image, row, column)
    return total


def _pixels(
    image: Float[Tensor, "*shape h w"], rows: Float[Tensor, "*batch h w"], columns: Float[Tensor, "*batch h w"]
) -> Float[Tensor, "*shape h w"]:
    """The pixels at whole rows and columns, zero outside."""
    h, w = image.shape[-2:]
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    index = torch.where(inside, rows * w + columns, torch.zeros_like(rows)).long()
    found = torch.take_along_dim(image.flatten(-2), _like_image(index, image).flatten(-2), -1).view(image.shape)
    return torch.where(_like_image(inside, image), found, torch.zeros_like(found))


def _like_image(values: Tensor, image: Tensor) -> Tensor:
    """Values `[*batch, h, w]` with axes of length one for the axes of the image between batch and grid."""
    return values.reshape(*values.shape[:-2], *(1,) * (image.ndim - values.ndim), *values.shape[-2:])
