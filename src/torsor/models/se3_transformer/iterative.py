"""Several passes of an SE(3)-Transformer, each of which moves the points for the next.

Fuchs, Wagstaff, Dauparas, Posner: Iterative SE(3)-Transformers (2021). Gradients flow through the positions of all passes.

Axes: b batch, n points, d flattened irreps, f edge features.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.models.se3_transformer.config import SE3TransformerConfig
from torsor.models.se3_transformer.model import SE3Transformer
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool


class IterativeSE3Transformer(nn.Module):
    """x^{t+1} = x^t + vector output of pass t; the other outputs join the features of the next pass.

    Args:
        rep_in: irreps of the features of a point.
        rep_out: irreps of the output of the last pass.
        passes: number of passes, at least 2; all between the first and the last share their weights.
        carry: irreps that a pass hands on.
        edge_features: number of invariant features of each pair.
        pool: how the last pass pools.
        config: settings of every pass.
        settings: fields of the config, written over it.
    """

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        passes: int = 3,
        carry: Irreps | str = "16x0e + 8x1o",
        edge_features: int = 0,
        pool: Pool | None = None,
        config: SE3TransformerConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        first, handed, later = Irreps(str(rep_in)), _joined(carry, "1x1o"), _joined(rep_in, carry)
        common: dict[str, Any] = {"edge_features": edge_features, "config": config, **settings}
        self.first = SE3Transformer(first, handed, **common)
        self.between = SE3Transformer(later, handed, **common) if passes > 2 else None
        self.last = SE3Transformer(later, rep_out, pool=pool, **common)
        self.passes = passes
        signature = PointClouds(first, self.last.signature.rep_out, edge_features, pool)
        self.symmetry = signature.symmetry(self.first.symmetry.group)

    def forward(
        self,
        positions: Float[Tensor, "b n 3"],
        features: Float[Tensor, "b n d"] | None = None,
        edge_features: Float[Tensor, "b n n f"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *_"]:
        """As `SE3Transformer.forward`."""
        own = positions.new_zeros(*positions.shape[:2], 0) if features is None else features
        handed = self.first(positions, features, edge_features, mask)
        for _ in range(self.passes - 2):
            assert self.between is not None
            positions = positions + handed[..., -3:]
            handed = self.between(positions, torch.cat([own, handed[..., :-3]], -1), edge_features, mask)
        output: Tensor = self.last(positions + handed[..., -3:], torch.cat([own, handed[..., :-3]], -1), edge_features, mask)
        return output


def _joined(*parts: Irreps | str) -> Irreps:
    """Irreps side by side, in order."""
    return Irreps(" + ".join(filter(None, map(str, parts))))
