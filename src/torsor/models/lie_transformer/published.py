"""The networks of the paper, with its kernels, activations and numbers of parameters.

Hutchinson, Le Lan, Zaidi, Dupont, Teh, Kim: LieTransformer (2021), section 4; settings of the authors' released code.

What their code does wrong is put right: the angle of the stabiliser of SO(3) is uniform, pairs of quaternions have one sign, and the start
of the heads' networks follows their fan-in.
"""

from __future__ import annotations

from typing import Any

from torsor.models.lie_transformer.config import LieTransformerConfig, published_kernel
from torsor.models.lie_transformer.model import LieTransformer

_PUBLISHED = LieTransformerConfig(lift="sampled", pairs="log", final_activation=True)


def published_dynamics(group: str = "T(2)", **settings: Any) -> LieTransformer:
    """Springs: the potential of six bodies in the plane from their masses and spring constants, constant normalisation.

    841,641 parameters with "T(2)". The finite group "TC(2)" was run with hidden=80 and layers=3: 139,353.

    Args:
        group: the group.
        settings: fields of `LieTransformerConfig`, written over the published ones.
    """
    published: dict[str, Any] = {"hidden": 160, "layers": 5, "head": "pooled", **published_kernel("mlp", "dot_product")}
    return LieTransformer(group, 2, 1, pool="mean", config=_PUBLISHED, **(published | settings))


def published_qm9(layers: int = 11, **settings: Any) -> LieTransformer:
    """Molecules: fifteen numbers of each atom in, one property out; four frames an atom, 25 of the 50 nearest elements as neighbours.

    101,819,921 parameters with 11 layers, 55,549,761 with 6.

    Args:
        layers: number of blocks, 6 or 11.
        settings: fields of `LieTransformerConfig`, written over the published ones.
    """
    published: dict[str, Any] = {
        "hidden": 1504,
        "layers": layers,
        "kernel_dim": 6,
        "content_dim": 8,
        "samples": 4,
        "neighbours": 25,
        "fill": 0.5,
        "pairs": "quaternion",
        "conditioning": "tanh",
        "max_sample_norm": 1e6,
        **published_kernel("2232"),
    }
    return LieTransformer("SE(3)", 15, 1, pool="mean", config=_PUBLISHED, **(published | settings))


def published_constellations(group: str = "SE(2)", features: int = 33, **settings: Any) -> LieTransformer:
    """Counting patterns among points of the plane: logits of four patterns for the counts 0, 1 and 2.

    10,033,724 parameters with the sorted distances to all other points as features.

    Args:
        group: the group.
        features: numbers of each point.
        settings: fields of `LieTransformerConfig`, written over the published ones.
    """
    published: dict[str, Any] = {"hidden": 512, "layers": 6, "head": "pooled", **published_kernel("mlp")}
    return LieTransformer(group, features, 12, pool="mean", config=_PUBLISHED, **(published | settings))
