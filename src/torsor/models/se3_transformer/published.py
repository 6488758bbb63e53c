"""The networks of the paper, with its radial networks, nonlinearities and numbers of parameters.

Fuchs, Worrall, Fischer, Welling: SE(3)-Transformers (2020), sections 4.1 and 4.3; settings of the authors' released code.

Their spherical harmonics lose digits near the poles and their coupling tensors have signs that depend on the machine; these do not.
"""

from __future__ import annotations

from typing import Any

from torsor.models.se3_transformer.config import SE3TransformerConfig
from torsor.models.se3_transformer.model import SE3Transformer

_PUBLISHED = SE3TransformerConfig(
    cut="sharp", trunk="per_pair", radial="published", basis="distance", radial_width=32, norm="none", norm_eps=1e-12, degrees=4
)


def published_nbody(**settings: Any) -> SE3Transformer:
    """Charged particles: velocities in, displacement and change of velocity out, the product of two charges on each edge.

    293,920 parameters: four blocks of 8 channels of degrees 0 to 3 with two heads, and a block with attentive self-interaction.

    Args:
        settings: fields of `SE3TransformerConfig`, written over the published ones.
    """
    published: dict[str, Any] = {
        "channels": 8,
        "depth": 4,
        "heads": 2,
        "div": 4,
        "relative_position": "add",
        "nonlinearity": "norm_bias",
        "last_interaction": "attentive",
        "last_channels": 2,
        "last_heads": 2,
    }
    return SE3Transformer("1x1o", "2x1o", edge_features=1, config=_PUBLISHED, **(published | settings))


def published_qm9(**settings: Any) -> SE3Transformer:
    """Molecules: six numbers of each atom and four kinds of bonds in, one property out; call `forward_edges` with the bonds as edges.

    9,828,193 parameters: seven blocks of 32 channels of degrees 0 to 3 with eight heads, a tensor-field layer to 128 scalars, their maximum
    over the atoms, and a network on it.

    Args:
        settings: fields of `SE3TransformerConfig`, written over the published ones.
    """
    published: dict[str, Any] = {
        "channels": 32,
        "depth": 7,
        "heads": 8,
        "div": 2,
        "nonlinearity": "norm",
        "final": "tfn",
        "readout": 128,
    }
    return SE3Transformer("6x0e", "1x0e", edge_features=4, pool="max", config=_PUBLISHED, **(published | settings))


def published_tfn(layers: int = 4, channels: int = 8, **settings: Any) -> SE3Transformer:
    """The tensor-field baseline of the particle experiment: charges and velocities in, tensor-field layers with NormBias between.

    Args:
        layers: tensor-field layers, the last included.
        channels: channels of degrees 0 to 3.
        settings: fields of `SE3TransformerConfig`, written over the published ones.
    """
    published: dict[str, Any] = {"channels": channels, "depth": layers - 1, "block": "tfn", "final": "tfn", "nonlinearity": "norm_bias"}
    return SE3Transformer("1x0e + 1x1o", "2x1o", edge_features=1, config=_PUBLISHED, **(published | settings))
