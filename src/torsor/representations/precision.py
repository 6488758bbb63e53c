"""Precision of the geometry under autocast."""

import torch
from torch import Tensor


def precise(x: Tensor) -> torch.autocast:
    """Context in which products of x keep its precision: rotations in bfloat16 would break the symmetry in the third digit."""
    return torch.autocast(x.device.type, enabled=False)
