"""Particles of a collision: four-momenta.

Axes: b batch, n particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torsor.errors import SignatureError
from torsor.groups import SO, Group, Lorentz, O, RestrictedLorentz, S
from torsor.representations import Action, Permuted, Representation, Trivial, Vectors
from torsor.signatures.common import POOLS, Pool, padded
from torsor.symmetry import Actions, Exactness, Symmetry


@dataclass(frozen=True)
class Particles:
    """Four-momenta with scalars in, scalars and four-vectors of each particle or of the whole jet out.

    A model of this family takes `momenta [b, n, 4]` (E, px, py, pz), `scalars [b, n, scalars_in]` and `mask [b, n]`, and returns
    `[b, n, c]`, or `[b, c]` where it pools, with c = scalars_out + 4 vectors_out: scalars first, then the four-vectors one after another.

    Args:
        scalars_in: number of invariant features of a particle.
        scalars_out: number of invariant outputs.
        vectors_out: number of four-vectors among the outputs.
        pool: how the outputs of particles become one output of the jet ("sum", "mean", "max"; "max" for scalars only), None where they do
            not.

    Raises:
        SignatureError: an entry makes no sense; the message says what to give.
    """

    scalars_in: int = 0
    scalars_out: int = 1
    vectors_out: int = 0
    pool: Pool | None = None

    def __post_init__(self) -> None:
        for name in ("scalars_in", "scalars_out", "vectors_out"):
            if getattr(self, name) < 0:
                raise SignatureError(f"{name} is {getattr(self, name)}: give the number of them, 0 for none")
        if self.dim == 0:
            raise SignatureError("scalars_out and vectors_out are 0: name what a model returns")
        if self.pool is not None and self.pool not in POOLS:
            raise SignatureError(
                f"pool is {self.pool!r}: give one of {', '.join(map(repr, POOLS))}, or None for an output of each particle"
            )
        if self.pool == "max" and self.vectors_out:
            raise SignatureError("pool 'max' of four-vectors would depend on the frame: pool 'sum' or 'mean', or scalars")

    @property
    def dim(self) -> int:
        """Numbers that a model returns for a particle, or for the jet."""
        return self.scalars_out + 4 * self.vectors_out

    def __str__(self) -> str:
        where = "each particle" if self.pool is None else f"the jet ({self.pool})"
        scalars = f" and {self.scalars_in} scalars" if self.scalars_in else ""
        return f"particles: momenta{scalars} -> {self.scalars_out} scalars and {self.vectors_out} four-vectors of {where}"

    def symmetry(self, group: Group | None = None, exactness: Exactness = "exact") -> Symmetry:
        """The contract of a model that serves this signature.

        Args:
            group: `Lorentz()`, `RestrictedLorentz()`, rotations of space (`SO(3)`, `O(3)`) or about the z axis, which is that of the beam
                (`SO(2)`, `O(2)`), `S()`, or a product of such; RestrictedLorentz x S() if not given.
            exactness: what the model guarantees.
        """
        group = RestrictedLorentz() * S() if group is None else group
        factors = getattr(group, "factors", (group,))

        def each(scalars: int, vectors: int, on_places: Action) -> Actions:
            spatial = (_four_vectors(factor, scalars, vectors) for factor in factors)
            actions = tuple(on_places if isinstance(f, S) else action for f, action in zip(factors, spatial, strict=True))
            return actions if len(actions) > 1 else actions[0]

        inputs: dict[str, Actions] = {"momenta": each(0, 1, Permuted(1))}
        if self.scalars_in:
            inputs["scalars"] = each(self.scalars_in, 0, Permuted(1))
        output = each(self.scalars_out, self.vectors_out, Trivial() if self.pool else Permuted(1))
        return Symmetry(group, inputs, output, exactness=exactness)

    def example(
        self,
        batch: int = 2,
        particles: int = 5,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Momenta on the mass shell, for tests and for a first look: normal three-momenta, masses between 0 and 1, normal scalars.

        Args:
            batch: number of jets.
            particles: places in each jet.
            generator: where the numbers come from; seed 0 if not given.
            dtype: of the numbers; torch's default if not given.
            device: of the tensors.
            lengths: particles of each jet; adds the `mask`, and what is behind it is zero.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        like: dict[str, Any] = {"generator": generator, "dtype": dtype, "device": generator.device}
        space, mass = torch.randn(batch, particles, 3, **like), torch.rand(batch, particles, 1, **like)
        drawn = {"momenta": torch.cat(((space.square().sum(-1, keepdim=True) + mass.square()).sqrt(), space), -1).to(device)}
        if self.scalars_in:
            drawn["scalars"] = torch.randn(batch, particles, self.scalars_in, **like).to(device)
        return drawn if lengths is None else padded(drawn, lengths)


def _four_vectors(factor: Group, scalars: int, vectors: int) -> Representation:
    """How a group acts on scalars followed by four-vectors: Lorentz transformations turn them whole, rotations leave energies alone.

    Raises:
        SignatureError: the group does not act on four-vectors.
    """
    if isinstance(factor, SO | O) and factor.n in (2, 3):
        vector: Representation = Trivial(1) + Vectors() + Trivial(3 - factor.n)
    elif isinstance(factor, Lorentz | RestrictedLorentz | S):
        vector = Vectors()
    else:
        raise SignatureError(f"{factor} does not act on four-momenta: give Lorentz(), RestrictedLorentz(), SO(3), O(3), SO(2), O(2) or S()")
    return Trivial(scalars) + vectors * vector if vectors else Trivial(scalars)
