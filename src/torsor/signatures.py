"""What a family of tasks feeds a model and expects of it: the meeting point of tasks and models.

A task has a signature. A model's configuration builds a module for one, `config.build(signature)`, and declares in `families` which kinds
it serves. Tensors are named and padded: `[b, n, ...]` with `mask [b, n]`, True at valid points.

Axes: b batch, n points, e edge features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor

from torsor.errors import SignatureError
from torsor.groups import SE, SO, Group, Lorentz, O, RestrictedLorentz, S, T
from torsor.registry import Registry
from torsor.representations import Action, Irreps, Pairs, Permuted, Points, Representation, Trivial, Vectors
from torsor.symmetry import Actions, Exactness, Symmetry

Pool = Literal["sum", "mean", "max"]
POOLS: tuple[Pool, ...] = ("sum", "mean", "max")


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
        inputs: dict[str, Actions] = {"positions": _for_each(group, Points(), Permuted(1))}
        if self.rep_in.dim:
            inputs["features"] = _for_each(group, self._action(self.rep_in), Permuted(1))
        if self.edge_features:
            inputs["edge_features"] = _for_each(group, Trivial(self.edge_features), Pairs(1, 2))
        output = _for_each(group, self._action(self.rep_out), Trivial() if self.pool else Permuted(1))
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
        return drawn if lengths is None else _padded(drawn, lengths)


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
        return drawn if lengths is None else _padded(drawn, lengths)


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


def _for_each(group: Group, in_space: Action, on_places: Action) -> Actions:
    """One action for each factor of the group: permutations move places, all others move in space; translations do not turn features."""
    actions = tuple(
        on_places if isinstance(factor, S) else Trivial() if isinstance(factor, T) and isinstance(in_space, Irreps) else in_space
        for factor in getattr(group, "factors", (group,))
    )
    return actions if len(actions) > 1 else actions[0]


def _padded(inputs: dict[str, Tensor], lengths: Sequence[int]) -> dict[str, Tensor]:
    """The inputs with a mask, and zeros behind it."""
    batch, points = next(iter(inputs.values())).shape[:2]
    if len(lengths) != batch or not all(0 <= length <= points for length in lengths):
        raise SignatureError(f"lengths is {tuple(lengths)}: give {batch} numbers from 0 to {points}")
    device = next(iter(inputs.values())).device
    mask = torch.arange(points, device=device) < torch.tensor(lengths, device=device).unsqueeze(1)
    pair = mask.unsqueeze(1) & mask.unsqueeze(2)
    return {k: x * (pair if k == "edge_features" else mask).unsqueeze(-1) for k, x in inputs.items()} | {"mask": mask}


def serving(signature: object, registry: Registry) -> tuple[str, ...]:
    """Names of the registered models whose configuration lists the signature's class in `families`."""
    return tuple(name for name in registry if type(signature) in getattr(registry.load(name), "families", ()))


def cannot_serve(model: str, signature: object, missing: str, registry: Registry) -> SignatureError:
    """Build the error for a model that cannot serve a signature.

    Args:
        model: name of the model that refuses.
        signature: what it was asked to serve.
        missing: what stands in the way, as a clause: "it needs the size of the largest cloud: give points=".
        registry: all models; those of the same family are named as the way out.
    """
    others = [name for name in serving(signature, registry) if name != model]
    hint = f"models of this family: {', '.join(others)}" if others else "no other registered model serves this family"
    return SignatureError(f"{model} cannot serve {signature}: {missing}; {hint}")


def check_family(model: str, config: Any, signature: object, registry: Registry) -> None:
    """Refuse a signature of a family that the model's configuration does not list; one that lists none is asked to build what it can.

    Raises:
        SignatureError: names the family and the models that serve it.
    """
    families = getattr(config, "families", None)
    if families is not None and type(signature) not in families:
        missing = f"it serves {', '.join(family.__name__ for family in families)}, not {type(signature).__name__}"
        raise cannot_serve(model, signature, missing, registry)
