"""Fields that name a vertical direction: the "+z" variant for scans of things that stand upright.

Fuchs, Worrall, Fischer, Welling: SE(3)-Transformers (2020), section 4.2. A model that gets them is equivariant under turns about the
vertical axis alone, on purpose.

Axes: b batch, n points.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def heights(positions: Float[Tensor, "b n 3"], axis: int = 2) -> tuple[Float[Tensor, "b n 1"], Float[Tensor, "b n n 1"]]:
    """The height of each point, to join its scalar features, and of each point above each other, to join the features of the edge.

    Args:
        positions: points.
        axis: which coordinate is vertical.
    """
    height = positions[..., axis : axis + 1]
    return height, height[:, :, None] - height[:, None]
