"""Forces as the negative gradient of an energy: conservative by construction, and exactly as equivariant as the energy is invariant.

Axes: b batch, n points, f features, e edge features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.errors import ShapeError, SignatureError
from torsor.nn.noise import draw_noise
from torsor.representations import Points, Trivial, Vectors
from torsor.symmetry import Symmetry


class EnergyForces(nn.Module):
    """{"energy": E(positions, ...), "forces": -dE / d positions}.

    Works inside `torch.no_grad()` and `torch.inference_mode()`, and in one compiled graph; a loss on the forces can be differentiated.

    Args:
        model: a model over point clouds with one pooled invariant output, `[b, 1]`, and a contract `model.symmetry`.

    Raises:
        SignatureError: the model has no contract.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        symmetry = getattr(model, "symmetry", None)
        if not isinstance(symmetry, Symmetry):
            raise SignatureError(f"{type(model).__name__} has no contract: give a model with an attribute `symmetry`")
        self.model = model
        actions = symmetry.inputs["positions"]
        each = actions if isinstance(actions, tuple) else (actions,)
        # what moves points turns forces; what permutes points permutes forces
        forces = tuple(Vectors() if isinstance(action, Points) else action for action in each)
        output = {"energy": tuple(Trivial() for _ in each), "forces": forces}
        self.symmetry = replace(symmetry, output={k: v if len(v) > 1 else v[0] for k, v in output.items()})

    def forward(
        self,
        positions: Float[Tensor, "b n 3"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
        **noise: Tensor,
    ) -> dict[str, Float[Tensor, "b *points"]]:
        """Energies `[b]` and forces `[b, n, 3]`, the latter zero at padded points; the noise of the model stays fixed."""

        def total(positions: Tensor) -> tuple[Tensor, Tensor]:
            energy = self.model(positions, features, edge_features, mask, **noise)
            if energy.shape != (*positions.shape[:1], 1):
                raise ShapeError(f"the model returned {list(energy.shape)}: build it with rep_out='1x0e' and a pool, which gives [b, 1]")
            return energy.sum(), energy.squeeze(-1)

        # torch.func takes the gradient whatever the grad mode outside is, and leaves it differentiable where that mode is on
        gradient, energy = torch.func.grad(total, has_aux=True)(positions)
        forces = -gradient if mask is None else -gradient.where(mask[..., None], 0)
        return {"energy": energy, "forces": forces}

    def draw(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The noise of the model."""
        return draw_noise(self.model, inputs, generator)
