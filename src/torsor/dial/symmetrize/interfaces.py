"""What a learned distribution looks at its input with: equivariant networks that score places and find axes of space.

Kim, Nguyen, Suleymanzade, An, Hong: Learning Probabilistic Symmetrization (2023). Noise joins the features of every place, so that places
and directions which the input does not tell apart are told apart by the noise.

Axes: b batch, k samples, n places, d dimension of space, c channels, f features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.symmetrize.base import noise_dtype, repeated
from torsor.errors import GroupError
from torsor.groups import ActsOnSpace, T
from torsor.groups.translations import Translating
from torsor.models.graphs import graph
from torsor.models.point_clouds import point_cloud
from torsor.nn.graph_isomorphism import GraphIsomorphismStack
from torsor.nn.masked_norm import Statistics
from torsor.nn.noise_sources import NoiseSource
from torsor.nn.pooling import centroid
from torsor.nn.random_walk import spread
from torsor.nn.vector_neurons import VectorNeurons
from torsor.representations import Permuted, Trivial, Vectors
from torsor.representations.precision import precise
from torsor.signatures import Graphs, PointClouds
from torsor.signatures.common import for_each
from torsor.symmetry import Actions, Symmetry

POSE = "pose"
"""Name of the noise that joins the features of places."""


class Pose(NamedTuple):
    """What a group element is made of; None where the interface has no such head.

    Args:
        scores: `[b, k, n]`, invariant in space and permuted with the places.
        axes: `[b, k, d, d]`, d vectors of space as columns, invariant under permutations.
    """

    scores: Float[Tensor, "b k n"] | None
    axes: Float[Tensor, "b k d d"] | None


class Heads(NamedTuple):
    """What an interface is asked for.

    Args:
        scores: a score for each place, where permutations are drawn.
        axes: d vectors, where rotations are.
    """

    scores: bool
    axes: bool


class Interface(nn.Module, ABC):
    """A network with noise, equivariant when both are moved.

    A leaf sets `noise` and writes `shape` and `pose`.

    Args:
        scale: of the noise, eta; 0 is none, and the pose is a function of the input alone.
    """

    noise: Mapping[str, Actions]
    """How the group acts on the noise."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        if scale < 0:
            raise GroupError(f"the scale of the noise is {scale}: give a positive number, 0 for none")
        self.scale = scale

    @abstractmethod
    def shape(self, inputs: Mapping[str, Any]) -> tuple[int, ...]:
        """Shape of the noise of one sample of each item, `[b, ...]`."""

    @abstractmethod
    def pose(self, inputs: Mapping[str, Any], noise: Tensor | None) -> Pose:
        """Scores `[b, n]` and axes `[b, d, d]`, for noise of `shape`."""

    @property
    @abstractmethod
    def gaussian(self) -> bool:
        """Whether the noise is normal (vectors) or uniform (scalars)."""

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """The noise `[b, k, ...]`: normal with standard deviation eta, or uniform in [0, eta); nothing where eta is 0."""
        if not self.scale:
            return {}
        b, *rest = self.shape(inputs)
        first = next(x for x in inputs.values() if isinstance(x, Tensor))
        drawn = (source.normal if self.gaussian else source.uniform)(POSE, (b, samples, *rest), first.device)
        return {POSE: (self.scale * drawn).to(noise_dtype(inputs))}

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor]) -> Pose:
        """The poses of all samples: as many as there is noise for, else one.

        Autocast is off: in half precision scores and axes would move with the input to three digits only.
        """
        first, drawn = next(x for x in inputs.values() if isinstance(x, Tensor)), noise.get(POSE)
        b, k = (len(first), 1) if drawn is None else drawn.shape[:2]
        with precise(first):
            found = self.pose(repeated(inputs, k), None if drawn is None else drawn.flatten(0, 1))
        return Pose(*(None if x is None else torch.unflatten(x, 0, (b, k)) for x in found))


class GraphInterface(Interface):
    """Scores of the nodes of a graph by graph isomorphism layers with a virtual node; its interface as published.

    Uniform noise is added to every feature of every node but the virtual one. It may also be spread through the graph by a random walk and
    join the features: orders by scores that are near for near nodes bring a matrix of edges near its diagonal, and a network that sees it
    so learns from it much sooner than from edges all over it.

    Args:
        signature: of the network that is symmetrised; nodes without features carry a one.
        symmetry: its contract.
        hidden: channels of a node.
        layers: number of layers.
        scale: of the noise.
        sees_edges: whether features of edges are seen; not so in the publication.
        statistics: of the norms, "batch" as published.
        dropout: of hidden numbers.
        walk: steps of the random walk; 0 is none, as published.
    """

    gaussian = False

    def __init__(
        self,
        signature: Graphs,
        symmetry: Symmetry,
        hidden: int = 64,
        layers: int = 3,
        scale: float = 1.0,
        sees_edges: bool = True,
        statistics: Statistics = "batch",
        dropout: float = 0.0,
        walk: int = 0,
    ) -> None:
        super().__init__(scale)
        self.signature = signature
        self.width = max(signature.node_features, 1)
        self.walk = walk if scale else 0
        self.noise = {POSE: for_each(symmetry.group, Trivial(), Permuted(2))} if scale else {}
        self.sees_edges = sees_edges and signature.edge_features > 0
        edges = signature.edge_features if self.sees_edges else 0
        width = 2 * self.width if self.walk else self.width
        self.stack = GraphIsomorphismStack(width, hidden, layers, edge_features=edges, statistics=statistics, dropout=dropout)
        self.score = nn.Linear(hidden, 1)
        self.direct = nn.Linear(self.width, 1, bias=False) if self.walk else None
        if self.direct is not None:
            # scores start as what was spread, and learn what to add to it
            nn.init.zeros_(self.score.weight)

    def shape(self, inputs: Mapping[str, Any]) -> tuple[int, ...]:
        """One number for each feature of a node."""
        return (*inputs["adjacency"].shape[:2], self.width)

    def pose(self, inputs: Mapping[str, Any], noise: Tensor | None) -> Pose:
        """Scores of the nodes."""
        given = graph(inputs["adjacency"], inputs.get("features"), inputs.get("edge_features"), inputs.get("mask"), self.signature)
        features = given.features if self.signature.node_features else torch.ones_like(given.adjacency[..., :1])
        spread_noise = None
        if noise is not None:
            noise = noise.to(features.dtype)
            features = features + noise
            if self.direct is not None:
                spread_noise = spread(noise, given.adjacency, self.walk, given.mask)
                features = torch.cat((features, spread_noise), -1)
        edges = given.edge_features if self.sees_edges else None
        scores: Tensor = self.score(self.stack(given.adjacency, features, edges, given.mask))
        if self.direct is not None and spread_noise is not None:
            scores = scores + self.direct(spread_noise)
        return Pose(scores.squeeze(-1), None)


class CloudInterface(Interface):
    """Scores and axes of a cloud by vector neurons, as published with two vectors a point (6,897 parameters).

    Normal noise is added to the position and to every vector of every point. Scalars (0e) and features of pairs are seen as invariants.
    Components of other irreps are not seen.

    Args:
        signature: of the network that is symmetrised.
        symmetry: its contract; clouds are centred where the group translates.
        heads: what is asked for.
        hidden: channels of the layers.
        neighbours: nearest points of each, itself among them; None for all pairs.
        scale: of the noise.
        sees_invariants: whether scalars and features of pairs are seen; not so in the publication.
        statistics: of the norms, "batch" as published.
        dropout: of vectors; 0.08 in the publication.
    """

    gaussian = True

    def __init__(
        self,
        signature: PointClouds,
        symmetry: Symmetry,
        heads: Heads,
        hidden: int = 21,
        neighbours: int | None = None,
        scale: float = 1.0,
        sees_invariants: bool = True,
        statistics: Statistics = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(scale)
        self.signature, self.centres = signature, translates(symmetry)
        self.noise = {POSE: for_each(symmetry.group, in_space(symmetry), Permuted(2))} if scale else {}
        self.vectors = _places(signature, 1, -1)
        self.scalars = _places(signature, 0, 1) if sees_invariants else ()
        edges = signature.edge_features if sees_invariants else 0
        self.network = VectorNeurons(
            1 + len(self.vectors),
            hidden,
            dimension=signature.dimension,
            neighbours=neighbours,
            scalars=len(self.scalars),
            edge_features=edges,
            scores=heads.scores,
            axes=heads.axes,
            statistics=statistics,
            dropout=dropout,
        )

    def shape(self, inputs: Mapping[str, Any]) -> tuple[int, ...]:
        """One vector for the position and for each vector of a point."""
        return (*inputs["positions"].shape[:2], 1 + len(self.vectors), self.signature.dimension)

    def pose(self, inputs: Mapping[str, Any], noise: Tensor | None) -> Pose:
        """Scores of the points and axes of the cloud."""
        dims = (self.signature.rep_in.dim, self.signature.edge_features, self.signature.dimension)
        cloud = point_cloud(inputs["positions"], inputs.get("features"), inputs.get("edge_features"), inputs.get("mask"), *dims)
        positions = cloud.positions - centroid(cloud.positions, cloud.mask) if self.centres else cloud.positions
        vectors = torch.stack([positions, *(cloud.features[..., place] for place in self.vectors)], 2)
        if noise is not None:
            vectors = (vectors + noise).to(positions.dtype)
        if cloud.mask is not None:
            vectors = vectors.where(cloud.mask[..., None, None], 0)
        scalars = torch.cat([cloud.features[..., place] for place in self.scalars], -1) if self.scalars else None
        return Pose(*self.network(vectors.transpose(-1, -2), scalars, cloud.edge_features, cloud.mask))


def turns(symmetry: Symmetry) -> bool:
    """Whether a factor of the group turns space."""
    return any(isinstance(factor, ActsOnSpace) and not isinstance(factor, T) for factor in symmetry.factors)


def translates(symmetry: Symmetry) -> bool:
    """Whether a factor of the group translates space."""
    return any(isinstance(factor, Translating) for factor in symmetry.factors)


def in_space(symmetry: Symmetry) -> Vectors | Trivial:
    """How the factors other than permutations act on noise: as on vectors where they turn space."""
    return Vectors() if turns(symmetry) else Trivial()


def _places(signature: PointClouds, degree: int, parity: int) -> tuple[slice, ...]:
    """Where each component of one irrep lies among the features of a point."""
    size, found = 2 * degree + 1, []
    for (_, irrep), place in zip(signature.rep_in, signature.rep_in.slices(), strict=True):
        if tuple(irrep) == (degree, parity):
            found += [slice(start, start + size) for start in range(place.start, place.stop, size)]
    return tuple(found)
