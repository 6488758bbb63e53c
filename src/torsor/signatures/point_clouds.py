"""Points in space, and what they carry.

Axes: b batch, n points, d coordinates, e edge features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from torsor.errors import SignatureError
from torsor.groups import SE, Group, S
from torsor.representations import Action, Irreps, Pairs, Permuted, Points, Trivial
from torsor.signatures.common import POOLS, Pool, for_each, padded
from torsor.symmetry import Actions, Exactness, Symmetry


@dataclass(frozen=True, init=False)
class PointClouds:
    """Points in space with features in, features of each point or of the whole cloud out.

    A model of this family takes `positions [b, n, d]`, `features [b, n, rep_in.dim]`, `edge_features [b, n, n, e]` and `mask [b, n]`, and
    returns `[b, n, rep_out.dim]`, or `[b, rep_out.dim]` where it pools.

    Args:
        rep_in: irreps of the features of a point; a string is parsed. "" where points carry nothing but their position.
        rep_out: irreps of the output; a string is parsed.
        edge_features: number of invariant features of each ordered pair of points.
        pool: how point outputs become one output of the cloud ("sum", "mean", "max"; "max" for scalars only), None where they do not.
        points: size of the largest cloud, None where there is no bound; models of fixed width need it.
        dimension: d, the dimension of space. Irreps are those of O(3): features are scalars in any other space.

    Raises:
        SignatureError: an entry makes no sense; the message says what to give.
    """

    rep_in: Irreps
    rep_out: Irreps
    edge_features: int
    pool: Pool | None
    points: int | None
    dimension: int

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        edge_features: int = 0,
        pool: Pool | None = None,
        points: int | None = None,
        dimension: int = 3,
    ) -> None:
        values = (Irreps(rep_in), Irreps(rep_out), edge_features, pool, points, dimension)
        for field, value in zip(fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)
        self._validate()

    def _validate(self) -> None:
        """Refuse entries that make no sense."""
        if self.rep_out.dim == 0:
            raise SignatureError("rep_out is empty: name what a model returns, for instance '1x1o' for one vector")
        if self.edge_features < 0:
            raise SignatureError(f"edge_features is {self.edge_features}: give the number of features of a pair, 0 for none")
        if self.pool is not None and self.pool not in POOLS:
            raise SignatureError(f"pool is {self.pool!r}: give one of {', '.join(map(repr, POOLS))}, or None for an output at each point")
        if self.pool == "max" and any(irrep.l > 0 for _, irrep in self.rep_out):
            raise SignatureError(f"pool 'max' of {self.rep_out} would depend on the frame: pool 'sum' or 'mean', or scalars")
        if self.points is not None and self.points < 1:
            raise SignatureError(f"points is {self.points}: give the size of the largest cloud, or None for no bound")
        if self.dimension < 1:
            raise SignatureError(f"dimension is {self.dimension}: give that of the space the points are in, 3 for molecules")
        if self.dimension != 3 and any((irrep.l, irrep.p) != (0, 1) for _, irrep in (*self.rep_in, *self.rep_out)):
            raise SignatureError(
                f"{self.rep_in or 'positions only'} -> {self.rep_out} in R^{self.dimension}: irreps are those of O(3); "
                "in another space features are scalars, such as '4x0e'"
            )

    def __str__(self) -> str:
        where = "each point" if self.pool is None else f"the cloud ({self.pool})"
        size = "" if self.points is None else f", at most {self.points} points"
        edges = f" and {self.edge_features} features of each pair" if self.edge_features else ""
        space = "" if self.dimension == 3 else f" in R^{self.dimension}"
        return f"point clouds{space}{size}: {self.rep_in or 'positions only'}{edges} -> {self.rep_out} of {where}"

    def symmetry(self, group: Group | None = None, exactness: Exactness = "exact") -> Symmetry:
        """The contract of a model that serves this signature.

        Args:
            group: a group that acts on R^d, `S()`, or a product of such; SE(d) x S() if not given.
            exactness: what the model guarantees.
        """
        group = SE(self.dimension) * S() if group is None else group
        inputs: dict[str, Actions] = {"positions": for_each(group, Points(), Permuted(1))}
        if self.rep_in.dim:
            inputs["features"] = for_each(group, self._action(self.rep_in), Permuted(1))
        if self.edge_features:
            inputs["edge_features"] = for_each(group, Trivial(self.edge_features), Pairs(1, 2))
        output = for_each(group, self._action(self.rep_out), Trivial() if self.pool else Permuted(1))
        return Symmetry(group, inputs, output, exactness=exactness)

    def _action(self, irreps: Irreps) -> Action:
        """How a group on R^d acts on features."""
        return irreps if self.dimension == 3 else Trivial(irreps.dim)

    def example(
        self,
        batch: int = 2,
        points: int = 5,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Standard normal inputs, for tests and for a first look.

        Args:
            batch: number of clouds.
            points: places in each cloud.
            generator: where the numbers come from; seed 0 if not given.
            dtype: of the numbers; torch's default if not given.
            device: of the tensors.
            lengths: valid points of each cloud; adds the `mask`, and what is behind it is zero.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        shapes: dict[str, tuple[int, ...]] = {"positions": (batch, points, self.dimension)}
        if self.rep_in.dim:
            shapes["features"] = (batch, points, self.rep_in.dim)
        if self.edge_features:
            shapes["edge_features"] = (batch, points, points, self.edge_features)
        # drawn on the generator's own device, so that a seed means the same inputs wherever they go
        drawn = {k: torch.randn(s, generator=generator, dtype=dtype, device=generator.device).to(device) for k, s in shapes.items()}
        return drawn if lengths is None else padded(drawn, lengths)
