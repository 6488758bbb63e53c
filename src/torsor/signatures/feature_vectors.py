"""One vector in, one vector out, and a group that acts on both.

Axes: b batch, i numbers in, o numbers out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torsor.groups import Group
from torsor.representations import Representation
from torsor.representations.commuting import for_each_factor
from torsor.symmetry import Exactness, Symmetry


@dataclass(frozen=True)
class FeatureVectors:
    """Vectors of numbers under representations of a group: the family of equivariant multilayer perceptrons.

    A model of this family takes `x [b, rep_in.dim]` and returns `[b, rep_out.dim]`.

    Args:
        group: the group that acts.
        rep_in: how it acts on the input; bound to the group if it is not yet. Of a product of groups it is `Trivial`, `Commuting` or a sum.
        rep_out: how it acts on the output.

    Raises:
        RepresentationError: the group has no such representation.
    """

    group: Group
    rep_in: Representation
    rep_out: Representation

    def __post_init__(self) -> None:
        object.__setattr__(self, "rep_in", self.rep_in.on(self.group))
        object.__setattr__(self, "rep_out", self.rep_out.on(self.group))

    def __str__(self) -> str:
        return f"feature vectors under {self.group}: {self.rep_in.dim} numbers -> {self.rep_out.dim}"

    def symmetry(self, group: Group | None = None, exactness: Exactness = "exact") -> Symmetry:
        """The contract of a model that serves this signature.

        Args:
            group: another group that acts by the same representations, such as a subgroup; the signature's own if not given.
            exactness: what the model guarantees.
        """
        group = self.group if group is None else group
        return Symmetry(group, {"x": for_each_factor(self.rep_in, group)}, for_each_factor(self.rep_out, group), exactness=exactness)

    def example(
        self,
        batch: int = 2,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Standard normal inputs, for tests and for a first look.

        Args:
            batch: number of vectors.
            generator: where the numbers come from; seed 0 if not given.
            dtype: of the numbers; torch's default if not given.
            device: of the tensors.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        return {"x": torch.randn(batch, self.rep_in.dim, generator=generator, dtype=dtype, device=generator.device).to(device)}
