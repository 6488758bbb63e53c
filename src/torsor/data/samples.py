"""Samples: named tensors with one row a sample, and the three splits of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from torsor.errors import DataError, unknown_name


class Samples:
    """A frozen set of samples: named tensors that share their leading axis, `[len, ...]`.

    `len(samples)` is the number of samples; iterating gives the names.

    Args:
        tensors: the tensors by name; "positions", "features", "edge_features", "mask" and the targets of a task.

    Raises:
        DataError: there is no tensor, a tensor has no leading axis, or the leading axes differ; names the tensor.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        if not tensors:
            raise DataError("samples need at least one tensor: there is none")
        first = next(iter(tensors))
        for name, tensor in tensors.items():
            if tensor.ndim == 0:
                raise DataError(f"{name!r} is a single number: give one row a sample, [len, ...]")
            if len(tensor) != len(tensors[first]):
                raise DataError(f"{name!r} has {len(tensor)} rows but {first!r} has {len(tensors[first])}: give one row a sample")
        self._tensors = dict(tensors)

    def __len__(self) -> int:
        return len(next(iter(self._tensors.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise unknown_name("tensor of the samples", name, self._tensors)
        return self._tensors[name]

    def __repr__(self) -> str:
        return f"Samples({len(self)}: " + ", ".join(f"{k} {list(v.shape[1:])}" for k, v in self._tensors.items()) + ")"

    def take(self, indices: Tensor | slice) -> dict[str, Tensor]:
        """The batch at `indices` (int64 `[b]`, or a slice)."""
        return {name: tensor[indices] for name, tensor in self._tensors.items()}

    def prefix(self, count: int) -> Samples:
        """The first `count` samples.

        Raises:
            DataError: there are fewer.
        """
        if not 0 < count <= len(self):
            raise DataError(f"{count} samples were asked for and there are {len(self)}: give 1 to {len(self)}")
        return Samples(self.take(slice(count)))

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Samples:
        """The samples on another device, real numbers in another dtype; integers and masks keep theirs."""
        moved = {name: tensor.to(device=device) for name, tensor in self._tensors.items()}
        return Samples({name: tensor.to(dtype=dtype) if tensor.is_floating_point() else tensor for name, tensor in moved.items()})


@dataclass(frozen=True)
class Splits:
    """What a model learns from, what chooses its best checkpoint, and what its figures come from.

    Args:
        train: training samples; a smaller training set is a prefix of a larger one.
        valid: validation samples.
        test: test samples, the same for every training-set size.
    """

    train: Samples
    valid: Samples
    test: Samples

    def items(self) -> Iterator[tuple[str, Samples]]:
        """The three splits with their names."""
        yield from (("train", self.train), ("valid", self.valid), ("test", self.test))
