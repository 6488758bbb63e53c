"""Digits on 8 x 8 pixels: drawn here, or read from a file of the handwritten ones.

Handwritten: Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998), CC BY 4.0, whose 1,797
test digits scikit-learn brings along as `digits.csv.gz`. They are read, and not shipped. Drawn: ten glyphs of 5 x 7 dots, slanted,
stretched, turned and shaded at random.

Axes: b batch, h and w pixels.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from torsor.errors import DataError

SIZE = 8
LARGEST_INK = 16
"""Pixels of the handwritten digits are counts from 0 to this."""
FILES = ("digits.csv.gz", "digits.csv", "optdigits.tes")
"""What the file of handwritten digits is called, by scikit-learn or by the repository."""
NOISE = 0.05
"""Standard deviation of what is added to every pixel of a drawn digit."""
DISTORTION = 0.08
"""Standard deviation of turns in radians, of slants and stretches, of shifts in half pictures, and of the ink."""
SHRINKING = 1.1
"""By how much the glyphs are made smaller on average, so that few are cut off."""
GLYPHS = (
    "01110 10001 10001 10001 10001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "01110 10001 00001 00110 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)


def draw_digits(count: int, generator: torch.Generator) -> tuple[Float[Tensor, "b 8 8"], Int64[Tensor, " b"]]:
    """Drawn digits in float64, ink about 1 and paper about 0, and which they are.

    Each is turned by a few degrees, slanted, stretched and shifted by part of a pixel, all normal.
    """
    labels = torch.randint(len(GLYPHS), (count,), generator=generator)
    turn, slant, wide, high, right, down, ink = torch.randn(7, count, generator=generator, dtype=torch.float64) * DISTORTION
    # rows of the maps from places of the picture, -1 to 1 on either axis, to places of the glyph, which stands half a pixel off the middle
    first = torch.stack((SHRINKING + wide, turn + slant, right - 1 / SIZE), -1)
    second = torch.stack((-turn, SHRINKING + high, down - 1 / SIZE), -1)
    grid = affine_grid(torch.stack((first, second), 1), [count, 1, SIZE, SIZE], align_corners=False)
    drawn = grid_sample(_glyphs()[labels].unsqueeze(1), grid, align_corners=False).squeeze(1)
    noise = NOISE * torch.randn(drawn.shape, generator=generator, dtype=torch.float64)
    return (1 + ink)[:, None, None] * drawn + noise, labels


def _glyphs() -> Float[Tensor, "10 8 8"]:
    """The glyphs, half a pixel up and to the left of the middle of the picture."""
    dots = torch.tensor([[[float(dot) for dot in row] for row in glyph.split()] for glyph in GLYPHS], dtype=torch.float64)
    return torch.nn.functional.pad(dots, (1, 2, 0, 1))


def read_digits(folder: Path) -> tuple[Float[Tensor, "b 8 8"], Int64[Tensor, " b"]]:
    """The handwritten digits of a file, in float64 with ink up to 1, and which they are.

    Args:
        folder: where one of `FILES` lies: rows of 64 pixels from 0 to 16 and the digit, with commas between.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"no file of digits in {folder}: put one of {', '.join(FILES)} there, from scikit-learn or the UCI repository")
    try:
        with gzip.open(path, "rt", encoding="ascii") if path.suffix == ".gz" else path.open(encoding="ascii") as lines:
            rows = np.loadtxt(lines, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError) as fault:
        raise DataError(f"{path} cannot be read as digits: {(str(fault).splitlines() or ['damaged'])[0]}") from fault
    if rows.shape[1] != SIZE**2 + 1 or not len(rows):
        raise DataError(f"{path} has rows of {rows.shape[1]} numbers: give {SIZE**2} pixels and the digit")
    pixels, labels = rows[:, :-1], rows[:, -1]
    if not ((pixels >= 0) & (pixels <= LARGEST_INK)).all() or not np.isin(labels, range(len(GLYPHS))).all():
        raise DataError(f"{path} has a pixel outside 0 to {LARGEST_INK} or a digit outside 0 to 9")
    return torch.from_numpy(pixels / LARGEST_INK).view(-1, SIZE, SIZE), torch.from_numpy(labels).long()
