"""What a module adds to the loss by itself: the entropy of a learned distribution, the distance of weights from where they should be.

A module with a penalty has a method

    penalty() -> Tensor | None

which gives a scalar to be minimised with the task's loss: of its weights as they are, or of its last call in training mode, whose graph it
keeps until it is asked, once. None where there is nothing to add.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def total_penalty(module: nn.Module) -> Float[Tensor, ""] | None:
    """The sum of the penalties of a module and all its parts; None where none of them has any.

    Args:
        module: any module, after the call whose loss the penalties join.
    """
    found = [penalty() for part in module.modules() if callable(penalty := getattr(part, "penalty", None))]
    terms = [term for term in found if term is not None]
    return torch.stack(terms).sum() if terms else None
