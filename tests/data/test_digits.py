"""Drawn digits can be told apart; files of handwritten ones are read or refused in one line."""

import gzip

import pytest
import torch

from torsor.data.digits import SIZE, draw_digits, read_digits
from torsor.errors import DataError


def rows(count: int) -> str:
    """Lines of a file of digits: pixel k of digit i is i + k modulo 17."""
    return "\n".join(",".join(str((i + k) % 17) for k in range(64)) + f",{i % 10}" for i in range(count)) + "\n"


def test_drawn_digits_lie_near_the_mean_of_their_kind(generator) -> None:
    pictures, labels = draw_digits(2000, generator)
    assert pictures.shape == (2000, SIZE, SIZE)
    means = torch.stack([pictures[:1000][labels[:1000] == k].mean(0) for k in range(10)])
    distances = torch.cdist(pictures[1000:].flatten(1), means.flatten(1))
    assert (distances.argmin(1) == labels[1000:]).double().mean() > 0.9
    assert labels.bincount(minlength=10).min() > 150


def test_few_digits_are_cut_off(generator) -> None:
    """The outermost pixels hold a small part of the ink."""
    pictures, _ = draw_digits(1000, generator)
    assert pictures[:, 1:-1, 1:-1].sum() > 0.87 * pictures.sum()


@pytest.mark.parametrize("name", ["digits.csv", "optdigits.tes", "digits.csv.gz"])
def test_files_of_either_source_are_read(name, tmp_path) -> None:
    data = rows(12).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    pictures, labels = read_digits(tmp_path)
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert pictures[3, 1, 2] == ((3 + 10) % 17) / 16
    assert pictures.max() == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3\n", "rows of 3 numbers: give 64 pixels and the digit"),
        (b"1,2,x\n", "cannot be read as digits"),
        (rows(3).replace("16,", "17,").encode(), "a pixel outside 0 to 16"),
        ((",".join(["0"] * 64) + ",10\n").encode(), "a digit outside 0 to 9"),
    ],
)
def test_damaged_files_are_named(content, message, tmp_path) -> None:
    (tmp_path / "digits.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_digits(tmp_path)


def test_archives_that_are_none_and_empty_folders_are_named(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no file of digits in .*: put one of digits\.csv\.gz"):
        read_digits(tmp_path)
    (tmp_path / "digits.csv.gz").write_bytes(b"not compressed")
    with pytest.raises(DataError, match=r"digits\.csv\.gz cannot be read as digits"):
        read_digits(tmp_path)
