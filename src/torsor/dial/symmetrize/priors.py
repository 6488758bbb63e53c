"""How far the drawn elements are from leaving an input as it is.

Mondal, Panigrahi, Kaba, Rajeswar, Ravanbakhsh: Equivariant Adaptation of Large Pretrained Models (2023), section 4. A pretrained network
knows the poses that it was trained on; the penalty keeps the inputs it is shown near them.

Axes: b batch, k samples, n places.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.dial.symmetrize.base import Draws
from torsor.groups import ActsOnSpace, Group, S
from torsor.groups.base import Element
from torsor.symmetry import Symmetry


def distance_from_identity(symmetry: Symmetry, draws: Draws, moving: tuple[bool, ...]) -> Float[Tensor, ""]:
    """The mean over samples of the squared distance |g - 1|^2 / 2n, summed over the factors; it lies between 0 and 2 for rotations.

    For a motion only its linear part counts, for a permutation its soft matrix, of which 1 - (mean of the diagonal) is taken; without soft
    matrices a permutation counts as it is, without a gradient.

    Args:
        symmetry: whose group the elements belong to.
        draws: the elements.
        moving: which factors were drawn.
    """
    soft = draws.soft or (None,) * len(draws.each)
    terms = [
        _distance(factor, element, matrix)
        for factor, element, matrix, drawn in zip(symmetry.factors, draws.each, soft, moving, strict=True)
        if drawn
    ]
    total = torch.stack(terms).sum(0)
    return total.mean() if draws.weights is None else (draws.weights * total).sum(1).mean()


def _distance(factor: Group, element: Element, soft: Tensor | None) -> Float[Tensor, "b k"]:
    """|g - 1|^2 / 2n, which is 1 - tr(g) / n for an orthogonal g."""
    if soft is not None:
        return 1 - soft.diagonal(dim1=-2, dim2=-1).mean(-1)
    if isinstance(factor, S):
        stays: Tensor = (element == torch.arange(element.shape[-1], device=element.device)).to(torch.get_default_dtype())
        return 1 - stays.mean(-1)
    matrix = factor.linear(element) if isinstance(factor, ActsOnSpace) else factor.matrix(element)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    distance: Tensor = (matrix - eye).square().sum((-2, -1)) / (2 * len(eye))
    return distance
