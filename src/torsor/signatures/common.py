"""What the families share: poolings, actions for each factor of a group, and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from torsor.errors import SignatureError
from torsor.groups import Group, S, T
from torsor.representations import Action, Irreps, Trivial
from torsor.symmetry import Actions

Pool = Literal["sum", "mean", "max"]
POOLS: tuple[Pool, ...] = ("sum", "mean", "max")


def for_each(group: Group, in_space: Action, on_places: Action) -> Actions:
    """One action for each factor of the group: permutations move places, all others move in space; translations do not turn features."""
    actions = tuple(
        on_places if isinstance(factor, S) else Trivial() if isinstance(factor, T) and isinstance(in_space, Irreps) else in_space
        for factor in getattr(group, "factors", (group,))
    )
    return actions if len(actions) > 1 else actions[0]


def padded(inputs: dict[str, Tensor], lengths: Sequence[int], on_pairs: Sequence[str] = ("edge_features",)) -> dict[str, Tensor]:
    """The inputs with a mask, and zeros behind it.

    Args:
        inputs: tensors `[b, n, ...]`.
        lengths: valid places of each item.
        on_pairs: names of the tensors `[b, n, n, ...]`, which have two axes of places.

    Raises:
        SignatureError: the lengths do not fit the inputs.
    """
    first = next(iter(inputs.values()))
    batch, points = first.shape[:2]
    if len(lengths) != batch or not all(0 <= length <= points for length in lengths):
        raise SignatureError(f"lengths is {tuple(lengths)}: give {batch} numbers from 0 to {points}")
    mask = torch.arange(points, device=first.device) < torch.tensor(lengths, device=first.device).unsqueeze(1)
    pair = mask.unsqueeze(1) & mask.unsqueeze(2)
    valid = {name: pair if name in on_pairs else mask for name in inputs}
    return {name: x * valid[name].reshape(*valid[name].shape, *(1,) * (x.ndim - valid[name].ndim)) for name, x in inputs.items()} | {
        "mask": mask
    }
