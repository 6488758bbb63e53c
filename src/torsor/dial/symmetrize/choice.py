"""Which sampler a method stands for, factor by factor of the group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from torch import nn

from torsor.dial.canonicalize import KempfNess, PCACanonical, SortedCanonical
from torsor.dial.symmetrize.averages import Enumerated, Haar
from torsor.dial.symmetrize.base import Sampler
from torsor.dial.symmetrize.chain import Chained
from torsor.dial.symmetrize.controls import Identity, Phased
from torsor.dial.symmetrize.frames import PCAFrame, RandomPCAFrame
from torsor.dial.symmetrize.learned import LearnedConfig
from torsor.dial.symmetrize.node_keys import DistanceKeys, LaplacianKeys, NodeKeys, ValueKeys
from torsor.dial.symmetrize.orders import OrderFrame, RandomOrderFrame
from torsor.dial.symmetrize.phases import PhaseFrame, turning_parts
from torsor.dial.symmetrize.spatial import actions_of, spatial_factor
from torsor.dial.symmetrize.symdiff import Symdiff
from torsor.dial.symmetrize.weighted import WeightedFrame, WeightedOrderFrame
from torsor.errors import GroupError, unknown_name
from torsor.groups import SL2, SO, TC, O, S, T
from torsor.groups.motions import Motions
from torsor.groups.planar import Planar
from torsor.representations import Pairs, Permuted, Points, Trivial
from torsor.signatures import Graphs, PointClouds
from torsor.symmetry import Symmetry

Method = Literal[
    "auto",
    "probabilistic",
    "average",
    "enumerate",
    "frame",
    "sampled-frame",
    "weighted-frame",
    "canonical",
    "symdiff",
    "augment",
    "tta",
    "none",
]


@dataclass(frozen=True)
class Choice:
    """What a sampler is made of.

    Args:
        symmetry: the contract that is wanted.
        own: the contract of the network, if it has one.
        signature: what the network is fed, where that is known.
        law: settings of a learned law.
        network: the correcting network of "symdiff".
        antithetic: of Haar draws.
        stratified: of Haar draws.
    """

    symmetry: Symmetry
    own: object | None = None
    signature: object | None = None
    law: LearnedConfig = field(default_factory=LearnedConfig)
    network: nn.Module | None = None
    antithetic: bool = False
    stratified: bool = False

    @property
    def moving(self) -> tuple[bool, ...]:
        """For each factor whether it has to be drawn."""
        return unsettled(self.symmetry, self.own)

    def sampler(self, method: str) -> Sampler:
        """The sampler of a method.

        Raises:
            UnknownNameError: there is no such method.
            GroupError: the group has no sampler of this kind.
        """
        if method not in get_args(Method):
            raise unknown_name("method of symmetrisation", method, get_args(Method))
        if not any(self.moving):
            return Identity(self.symmetry, "exact")
        makers: Mapping[str, Callable[[], Sampler]] = {
            "auto": self._auto,
            "probabilistic": self._probabilistic,
            "average": self._average,
            "enumerate": lambda: Enumerated(self.symmetry, self.moving),
            "frame": lambda: self._chained(PCAFrame, OrderFrame),
            "sampled-frame": lambda: self._chained(RandomPCAFrame, RandomOrderFrame),
            "weighted-frame": lambda: self._chained(_weighted_in_space, self._weighted_order),
            "canonical": self._canonical,
            "symdiff": self._symdiff,
            "augment": lambda: Phased(self._average(), self._none()),
            "tta": lambda: Phased(self._none(), self._average()),
            "none": self._none,
        }
        return makers[method]()

    def _none(self) -> Sampler:
        return Identity(self.symmetry, self.symmetry.exactness if self.symmetry == self.own else "none")

    def _average(self) -> Sampler:
        return Haar(self.symmetry, self.moving, antithetic=self.antithetic, stratified=self.stratified)

    def _auto(self) -> Sampler:
        """A learned law where there is an interface, else the average."""
        return self._probabilistic() if self._has_interface() else self._average()

    def _has_interface(self) -> bool:
        return isinstance(self.signature, PointClouds | Graphs)

    def _probabilistic(self) -> Sampler:
        if self.signature is None:
            raise GroupError(
                "a learned law has to know what the network is fed: give signature=PointClouds(...) or Graphs(...), "
                "or a sampler of your own in place of the method"
            )
        return self.law.build(self.signature, self.symmetry, self.moving)

    def _symdiff(self) -> Sampler:
        if self.network is None:
            raise GroupError(
                "method 'symdiff' needs network=, any module that returns coordinates or scores: see torsor.dial.symmetrize.Symdiff"
            )
        return Symdiff(self.symmetry, self.network, self.moving)

    def _canonical(self) -> Sampler:
        """A learned pose without noise where there is an interface, else principal axes and sorted keys."""
        if self._has_interface():
            return replace(self.law, eta=0.0).build(self.signature, self.symmetry, self.moving)
        return self._chained(PCACanonical, SortedCanonical)

    def _chained(self, in_space: Callable[[Symmetry], Sampler], of_places: Callable[[Symmetry, NodeKeys], Sampler]) -> Sampler:
        """One sampler for each factor: of space first, so that those of places see the input upright."""
        first: list[Sampler] = []
        last: list[Sampler] = []
        for i, factor in enumerate(self.symmetry.factors):
            if not self.moving[i]:
                continue
            if isinstance(factor, S):
                last.append(of_places(self.symmetry, keys_of(self.symmetry, i)))
            elif isinstance(factor, SO | O | Motions):
                first.append(in_space(self.symmetry))
            elif isinstance(factor, T | Planar | TC):
                first.append(Enumerated(self.symmetry, [j == i for j in range(len(self.moving))]))
            elif isinstance(factor, SL2):
                first.append(KempfNess(self.symmetry))
            else:
                raise GroupError(f"{factor} has no frame: give a sampler of your own in place of the method")
        stages = [*first, *last]
        return stages[0] if len(stages) == 1 else Chained(*stages)

    def _weighted_order(self, symmetry: Symmetry, keys: NodeKeys) -> Sampler:
        """Orders of the numbers that items carry; where space turns these, an earlier sampler has put them upright."""
        if isinstance(keys, LaplacianKeys):
            raise GroupError(
                f"a weighted frame orders items by their numbers, and {keys.source!r} has none of one item: use 'sampled-frame'"
            )
        for i, factor in enumerate(symmetry.factors):
            if not self.moving[i] and not isinstance(actions_of(symmetry, keys.source, i), Trivial):
                raise GroupError(
                    f"a weighted frame orders {keys.source!r}, which {factor} moves, and {factor} is left to the network: "
                    "use 'sampled-frame'"
                )
        return WeightedOrderFrame(symmetry, sources=(keys.source,))


def _weighted_in_space(symmetry: Symmetry) -> Sampler:
    """A frame of points or vectors; of phases in the plane where binary forms turn, too."""
    i = spatial_factor(symmetry)
    factor = symmetry.factors[i]
    forms = factor == SO(2) and any(d > 0 for x in symmetry.inputs for _, d in turning_parts(actions_of(symmetry, x, i), factor))
    return PhaseFrame(symmetry) if forms else WeightedFrame(symmetry)


def keys_of(symmetry: Symmetry, factor: int) -> NodeKeys:
    """What tells the places of a set apart: the Laplacian of a graph, distances of points, or the numbers that items carry.

    Args:
        symmetry: the contract.
        factor: number of the factor that permutes.

    Raises:
        GroupError: no input has places.
    """
    others = [i for i in range(len(symmetry.factors)) if i != factor]
    for name in symmetry.inputs:
        if isinstance(actions_of(symmetry, name, factor), Pairs):
            return LaplacianKeys(name)
        if any(isinstance(actions_of(symmetry, name, i), Points) for i in others):
            return DistanceKeys(name)
    for name in symmetry.inputs:
        if isinstance(actions_of(symmetry, name, factor), Permuted):
            return ValueKeys(name)
    raise GroupError(f"no input of the contract has places that {symmetry.factors[factor]} permutes")


def unsettled(symmetry: Symmetry, own: object | None) -> tuple[bool, ...]:
    """For each factor of a group whether a network has still to be made equivariant to it.

    Args:
        symmetry: the contract that is wanted.
        own: the contract of the network, if it has one.
    """
    settled: Sequence[object] = own.factors if isinstance(own, Symmetry) and own.exactness == "exact" else ()
    return tuple(factor not in settled for factor in symmetry.factors)
