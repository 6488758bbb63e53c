"""The multilayer perceptron: linear maps with a nonlinearity between them.

Axes: i numbers in, o numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

Activation = Literal["gelu", "relu", "silu", "tanh"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def hidden_layers(widths: Sequence[int], activation: str) -> nn.Sequential:
    """A linear map and a nonlinearity for each pair of widths that follow each other; the identity for a single width.

    Args:
        widths: of the input and of every hidden layer.
        activation: a key of `ACTIVATIONS`.
    """
    return nn.Sequential(*(nn.Sequential(nn.Linear(a, b), ACTIVATIONS[activation]()) for a, b in pairwise(widths)))


def output_layer(width: int, outputs: int, scale: float) -> nn.Linear:
    """A last layer that starts near the zero prediction: usual weights times `scale`, and no bias.

    Args:
        width: numbers in.
        outputs: numbers out.
        scale: of the weights. Not zero, or an untrained model would look perfectly symmetric.
    """
    layer = nn.Linear(width, outputs)
    with torch.no_grad():
        layer.weight.mul_(scale)
        layer.bias.zero_()
    return layer
