"""Learned laws of p(g | x): permutations by scores, rotations by axes, both from one equivariant network with noise.

Kim, Nguyen, Suleymanzade, An, Hong: Learning Probabilistic Symmetrization for Architecture Agnostic Equivariance (2023), section 2.2.

g = q(x, noise), with q(h x, h noise) = h q(x, noise): the order of equivariant scores, the Gram-Schmidt matrix of equivariant vectors. The
network that is symmetrised and q are trained together.

Axes: b batch, k samples, n places, d dimension of space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from torsor import models
from torsor.config import Settings, named_from_mapping
from torsor.dial.symmetrize.averages import FactorSampler
from torsor.dial.symmetrize.base import Draws, noise_dtype
from torsor.dial.symmetrize.interfaces import (
    CloudInterface,
    GraphInterface,
    Heads,
    Interface,
    in_space,
)
from torsor.dial.symmetrize.network_interface import NetworkInterface, pose_signature
from torsor.dial.symmetrize.permutations import descending_order, normalised_scores, order_entropy, soft_order
from torsor.dial.symmetrize.rotations import Method, orthogonal_factor
from torsor.errors import ConfigError, GroupError
from torsor.groups import SE, SO, O, S, T
from torsor.groups.motions import Motions
from torsor.nn.noise_sources import NoiseSource
from torsor.representations import Permuted, Trivial
from torsor.signatures import Graphs, PointClouds
from torsor.signatures.common import for_each
from torsor.symmetry import Exactness, Symmetry

TIES, COMPLETION = "ties", "completion"
"""Names of the noise that decides between equal scores, and of the vectors that complete axes which do not span space."""


class Learned(FactorSampler):
    """Group elements from the scores and axes of an interface.

    The order of the scores is the permutation, an orthogonal factor of the axes the rotation; translations take the origin to the mean of
    the points. Scores that are equal are ordered by noise of their own and axes that do not span space are completed by it, so that every
    input gets an element of the group that moves with it. In training mode soft orders carry the gradient of permutations, and their
    entropy is a penalty.

    Without any noise the element is a function of the input, a learned canonical pose. Where a symmetry of the input leaves open which, the
    order of the places or the axes of coordinates decide, and what is symmetrised with it is "relaxed": equivariant up to a symmetry of the
    input, and for inputs that the interface cannot resolve not even that.

    Args:
        symmetry: the contract of the network that is symmetrised.
        interface: has scores if a permutation is drawn, and axes if a rotation is.
        moving: for each factor whether it is drawn, all if not given.
        temperature: of the soft orders.
        rounds: of their normalisation.
        entropy: weight of the penalty.
        rotation: how axes become a rotation.
        break_ties: whether there is noise for ties and completions; if not given, where the interface has noise.

    Raises:
        GroupError: a factor that is to be drawn has no learned law.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        interface: Interface,
        moving: Sequence[bool] | None = None,
        *,
        temperature: float = 0.1,
        rounds: int = 20,
        entropy: float = 0.1,
        rotation: Method = "gram-schmidt",
        break_ties: bool | None = None,
    ) -> None:
        super().__init__(symmetry, moving)
        self.heads = heads_of(symmetry, self.moving)
        self.interface = interface
        self.temperature, self.rounds, self.entropy, self.rotation = temperature, rounds, entropy, rotation
        self.breaks_ties = bool(interface.noise) if break_ties is None else break_ties
        self.noise = {**interface.noise, **(self._ties() if self.breaks_ties else {})}
        self.exactness: Exactness = "coupled" if self.noise else "relaxed"

    def _ties(self) -> dict[str, Any]:
        """How the group acts on the noise for ties and completions."""
        group, found = self.symmetry.group, {}
        if self.heads.scores:
            found[TIES] = for_each(group, Trivial(), Permuted(2))
        if self.heads.axes:
            found[COMPLETION] = for_each(group, in_space(self.symmetry), Trivial())
        return found

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """The noise of the interface; a uniform number for each place, `[b, k, n]`; d normal vectors, `[b, k, d, d]`."""
        drawn = self.interface.draw(inputs, samples, source)
        if self.breaks_ties:
            rest, dtype = self.at_rest(inputs, samples), noise_dtype(inputs)
            for i in self._drawn():
                shape, device = rest[i].shape, rest[i].device
                if isinstance(self.symmetry.factors[i], S):
                    drawn[TIES] = source.uniform(TIES, shape, device).to(dtype)
                else:
                    d = self._dimension(i)
                    drawn[COMPLETION] = source.normal(COMPLETION, (*shape[:2], d, d), device).to(dtype)
        return drawn

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """As many elements as there is noise for; one where there is none."""
        pose = self.interface(inputs, noise)
        k = max([1, *(x.shape[1] for x in noise.values())])
        found: dict[int, Tensor] = {}
        soft: list[Tensor | None] = [None] * len(self.symmetry.factors)
        penalty = None
        for i in self._drawn():
            if isinstance(self.symmetry.factors[i], S):
                found[i], soft[i], penalty = self._permutation(pose.scores, inputs.get(self.symmetry.mask or ""), noise.get(TIES), k)
            else:
                found[i] = self._rotation(i, pose.axes, noise.get(COMPLETION), k)
        return Draws(self.assembled(inputs, found, k), None, tuple(soft) if self.training else (), penalty)

    def _permutation(self, scores: Tensor, mask: Tensor | None, ties: Tensor | None, k: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The order of the scores, and in training mode the soft order and its penalty."""
        scores = scores.expand(-1, k, -1)
        valid = None if mask is None else mask.unsqueeze(1).expand(scores.shape)
        scores = normalised_scores(scores, valid)
        order = descending_order(scores, ties, valid)
        if not self.training:
            return order, None, None
        soft = soft_order(scores, order, self.temperature, self.rounds, valid)
        return order, soft, self.entropy * order_entropy(soft, valid).mean() if self.entropy else None

    def _rotation(self, i: int, axes: Tensor, completion: Tensor | None, k: int) -> Tensor:
        """The orthogonal factor of the axes, as an element of the i-th factor of the group."""
        group = self.symmetry.factors[i]
        matrix = orthogonal_factor(axes.expand(-1, k, -1, -1), self.rotation, isinstance(group, SO | SE), completion)
        return group.assemble(matrix, torch.zeros_like(matrix[..., 0])) if isinstance(group, Motions) else matrix

    def _drawn(self) -> list[int]:
        """The factors that the interface draws: all that move but translations."""
        factors = self.symmetry.factors
        return [i for i, moves in enumerate(self.moving) if moves and not isinstance(factors[i], T)]

    def _dimension(self, i: int) -> int:
        """The d of a factor that turns R^d."""
        group = self.symmetry.factors[i]
        assert isinstance(group, O | SO | Motions)
        return group.n


def heads_of(symmetry: Symmetry, moving: Sequence[bool] | None = None) -> Heads:
    """What an interface has to have for the factors that are drawn.

    Raises:
        GroupError: a factor has no learned law, or two factors would share one head.
    """
    drawn = [factor for factor, moves in zip(symmetry.factors, moving or (True,) * len(symmetry.factors), strict=True) if moves]
    for factor in drawn:
        if not isinstance(factor, S | T | O | SO | Motions):
            raise GroupError(f"{factor} has no learned law: it needs S(), O(d), SO(d), E(d), SE(d) or T(d); average over the group instead")
    permuting, turning = (sum(isinstance(f, kinds) for f in drawn) for kinds in (S, (O, SO, Motions)))
    if permuting > 1 or turning > 1:
        raise GroupError(f"{symmetry.group} has several factors that permute, or several that turn: a learned law draws one of each")
    if not permuting + turning:
        raise GroupError(f"nothing of {symmetry.group} is left to be drawn by a learned law: let a factor that permutes or turns move")
    return Heads(bool(permuting), bool(turning))


@dataclass(frozen=True)
class LearnedConfig(Settings):
    """Settings of a learned law.

    The defaults are those of the publication but for dropout, neighbours and what the interface sees; `published_law` has those.

    Args:
        network: name and settings of a registered model that scores places and finds axes; graph isomorphism layers (graphs) or vector
            neurons (clouds), as published, if not given.
        eta: scale of the noise; 0 with one sample is a learned canonical pose.
        channels: scalars or vectors of noise at each place, for a `network`; the published interfaces add noise to what there is.
        hidden: width of the published interfaces; 64 for graphs and 21 for clouds if not given.
        layers: of the published interface of graphs.
        neighbours: nearest points in the published interface of clouds, 4 in the publication; all pairs if not given, without jumps.
        invariants: whether the published interfaces see features of pairs (charges) and scalars of points; they did not.
        statistics: of their norms: of the "batch", of each "item", or "none".
        dropout: in them; 0.08 for clouds, 0.1 for large graphs in the publication.
        walk: steps of a random walk by which noise is spread through a graph before the published interface sees it, beside the noise as it
            is; 0 in the publication. About as many as the square of the longest way through the graph.
        temperature: of soft orders; 0.01 for graphs and 0.1 for clouds if not given.
        rounds: of their normalisation.
        entropy: weight of their entropy in the loss.
        rotation: "gram-schmidt", or "polar".
        break_ties: whether ties are broken by noise; if not given, where there is noise.
        frozen: whether the interface keeps its random weights, as a control.
    """

    network: dict[str, Any] | None = None
    eta: float = 1.0
    channels: int = 3
    hidden: int | None = None
    layers: int = 3
    neighbours: int | None = None
    invariants: bool = True
    statistics: Literal["batch", "item", "none"] = "batch"
    dropout: float = 0.0
    walk: int = 0
    temperature: float | None = None
    rounds: int = 20
    entropy: float = 0.1
    rotation: Literal["gram-schmidt", "polar"] = "gram-schmidt"
    break_ties: bool | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("rounds", 1), ("layers", 1), ("channels", 1), ("eta", 0), ("walk", 0), ("entropy", 0), ("dropout", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"LearnedConfig {name} is {getattr(self, name)}: give at least {least}")
        if self.temperature is not None and self.temperature <= 0:
            raise ConfigError(f"LearnedConfig temperature is {self.temperature}: give a positive number")

    def build(self, signature: object, symmetry: Symmetry, moving: Sequence[bool] | None = None) -> Learned:
        """The sampler for a network.

        Args:
            signature: what the network is fed, `PointClouds` or `Graphs`.
            symmetry: the contract that it is to have.
            moving: for each factor of the group whether it is drawn; the network is equivariant to the others by itself.

        Raises:
            GroupError: the signature is of another family, or the group has no learned law.
        """
        if not isinstance(signature, PointClouds | Graphs):
            raise GroupError(f"there is no interface for {signature}: learned laws are for point clouds and graphs")
        interface = self._interface(signature, symmetry, heads_of(symmetry, moving))
        if self.frozen:
            interface.requires_grad_(False)
        temperature = (0.01 if isinstance(signature, Graphs) else 0.1) if self.temperature is None else self.temperature
        return Learned(
            symmetry,
            interface,
            moving,
            temperature=temperature,
            rounds=self.rounds,
            entropy=self.entropy,
            rotation=self.rotation,
            break_ties=self.break_ties,
        )

    def _interface(self, signature: PointClouds | Graphs, symmetry: Symmetry, heads: Heads) -> Interface:
        """The network with noise that looks at the input."""
        if self.network is not None:
            config = named_from_mapping(models.REGISTRY, self.network, "network of the learned law")
            channels = self.channels if self.eta else 0
            network = config.build(pose_signature(signature, symmetry, heads, channels))
            return NetworkInterface(network, signature, symmetry, heads, self.channels, self.eta)
        if isinstance(signature, Graphs):
            hidden = 64 if self.hidden is None else self.hidden
            return GraphInterface(
                signature, symmetry, hidden, self.layers, self.eta, self.invariants, self.statistics, self.dropout, self.walk
            )
        hidden = 21 if self.hidden is None else self.hidden
        return CloudInterface(signature, symmetry, heads, hidden, self.neighbours, self.eta, self.invariants, self.statistics, self.dropout)


def published_law(signature: PointClouds | Graphs) -> LearnedConfig:
    """The settings of the publication's small experiments: graph separation, or five charged particles."""
    return LearnedConfig(invariants=False) if isinstance(signature, Graphs) else LearnedConfig(invariants=False, neighbours=4, dropout=0.08)
