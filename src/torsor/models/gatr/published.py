"""The networks of the paper's experiments, with the initialisation of the released code.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023), sections 5.1 and 5.2. One difference: the reference of the join is
the mean over the tokens of the same sample; the released code averages over whole packed batches.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from torsor.models.gatr.network import BlockSettings, GATrNetwork
from torsor.models.gatr.objects import embed_point, embed_scalar, embed_translation

_PUBLISHED: dict[str, Any] = {"initialisation": "official"}


def published_nbody(**settings: Any) -> GATrNetwork:
    """Planets around a star: bodies as `embed_bodies` and a scalar that is zero in, a point out (and a scalar, which is not used).

    Ten blocks of 16 multivectors and 128 scalars, 8 heads. Read the output with `extract_point`, and train with 0.01 `point_penalty`.

    Args:
        settings: fields of `BlockSettings`, written over the published ones.
    """
    return GATrNetwork(1, 1, 1, 1, blocks=10, settings=BlockSettings(**({"channels": 16, "scalars": 128} | _PUBLISHED | settings)))


def published_arteries(**settings: Any) -> GATrNetwork:
    """Walls of arteries: a vertex, and its normal as a plane, and the scalar distance to the inlet in; the stress as a direction out.

    Ten blocks of 8 multivectors and 32 scalars, 4 heads; the first channel, the vertex, is reinserted.

    Args:
        settings: fields of `BlockSettings`, written over the published ones.
    """
    published = {"channels": 8, "scalars": 32, "heads": 4} | _PUBLISHED
    return GATrNetwork(2, 1, 1, 1, blocks=10, settings=BlockSettings(**(published | settings)), reinsert=(0,))


def embed_bodies(
    masses: Float[Tensor, "b n"], positions: Float[Tensor, "b n 3"], velocities: Float[Tensor, "b n 3"]
) -> Float[Tensor, "b n 1 16"]:
    """Mass, point and velocity (as a translation) of each body, summed in one multivector."""
    return (embed_scalar(masses) + embed_point(positions) + embed_translation(velocities))[:, :, None]
