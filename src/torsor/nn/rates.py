"""Parts of a network that learn slower or faster than the rest.

A module may have an attribute

    rate_factor: float

by which the learning rate of all parameters in it is multiplied. Factors of nested modules multiply.
"""

from __future__ import annotations

from torch import nn


def rate_factors(module: nn.Module) -> dict[nn.Parameter, float]:
    """The factor of the learning rate of every parameter, 1 where no module says anything.

    Args:
        module: any module.
    """
    factors = dict.fromkeys(module.parameters(), 1.0)
    for part in module.modules():
        factor = getattr(part, "rate_factor", None)
        if isinstance(factor, int | float):
            for parameter in part.parameters():
                factors[parameter] *= factor
    return factors
