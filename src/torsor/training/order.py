"""Randomness that is a function of the seed and the step alone, so that a run can go on from any step as if it had never stopped."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor


def derived_seed(seed: int, *labels: str | int) -> int:
    """A 63-bit seed for one purpose and step; streams with different labels are independent."""
    text = "/".join(str(label) for label in (seed, *labels))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, *labels: str | int) -> torch.Generator:
    """A fresh CPU generator for one purpose and step: `stream(0, "augment", 17)`."""
    return torch.Generator().manual_seed(derived_seed(seed, *labels))


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> Int64[Tensor, "batch"]:
    """Samples of the batch of a step, counted from 0.

    Every epoch is a permutation of its own and batches run through epoch after epoch without a gap: each sample is seen once before any is
    seen twice, also where the batch size does not divide the size of the data.

    Args:
        seed: of the run.
        step: counted from 0.
        batch_size: samples in a batch.
        size: samples in the data.
    """
    places = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // size
    parts = [_permutation(seed, epoch, size)[places[epochs == epoch] % size] for epoch in sorted(set(epochs.tolist()))]
    return torch.cat(parts)


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=stream(seed, "order", epoch))
