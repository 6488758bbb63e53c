"""The contract: which group acts on which named input and on which output, and what the model guarantees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torsor.groups.base import Element, Group
from torsor.representations.base import Action

Exactness = Literal["exact", "coupled", "in distribution", "in expectation", "relaxed", "approximate", "none"]
Actions = Action | tuple[Action, ...]


@dataclass(frozen=True)
class Symmetry:
    """Which group acts how on the inputs and outputs of a module.

    f(g . inputs) = g . f(inputs). For a product group each entry of `inputs` and `output` is a tuple with one action for each factor.

    Args:
        group: the group.
        inputs: action on each named argument of `forward`; what is left out is not acted on.
        output: action on the output; a mapping where the module returns a dict.
        exactness: the guarantee, one of the seven words of `Exactness`.
        batched: whether axis 0 of every tensor is a batch axis, so that each item may have an element of its own.
        mask: name of the boolean input that marks valid items; permutations leave the others in place.
    """

    group: Group
    inputs: Mapping[str, Actions]
    output: Actions | Mapping[str, Actions]
    exactness: Exactness = "exact"
    batched: bool = True
    mask: str | None = "mask"
