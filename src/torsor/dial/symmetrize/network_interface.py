"""Any equivariant network of the registry as the interface of a learned distribution.

Axes: b batch, n places, f features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.symmetrize.interfaces import POSE, Heads, Interface, Pose, in_space, translates, turns
from torsor.errors import GroupError
from torsor.groups import SE, SO, Group, O, S
from torsor.groups.motions import Motions
from torsor.groups.translations import Translating
from torsor.nn.pooling import centroid, pool_points
from torsor.representations import Irreps, Permuted
from torsor.signatures import Graphs, PointClouds
from torsor.signatures.common import for_each
from torsor.symmetry import Symmetry


class NetworkInterface(Interface):
    """Scores and axes by any equivariant network of the registry, to which the noise is further features of each place.

    The network is built for `pose_signature`: it returns numbers for each place, a score, the components of three vectors, or both one
    after the other. The axes of a cloud are the means over its points.

    Args:
        network: the network; its contract has to hold the group of the one that is symmetrised.
        signature: of the network that is symmetrised.
        symmetry: its contract.
        heads: what is asked for.
        channels: scalars or vectors of noise at each place.
        scale: of the noise.

    Raises:
        GroupError: the network does not promise the symmetry.
    """

    def __init__(
        self,
        network: nn.Module,
        signature: PointClouds | Graphs,
        symmetry: Symmetry,
        heads: Heads,
        channels: int = 3,
        scale: float = 1.0,
    ) -> None:
        super().__init__(scale)
        require_equivariant(network, symmetry)
        self.network, self.signature, self.heads = network, signature, heads
        self.channels, self.centres = channels, translates(symmetry)
        self.turns = isinstance(signature, PointClouds) and turns(symmetry)
        self.noise = {POSE: for_each(symmetry.group, in_space(symmetry), Permuted(2))} if scale else {}

    @property
    def gaussian(self) -> bool:
        """Whether the noise is made of vectors."""
        return self.turns

    def shape(self, inputs: Mapping[str, Any]) -> tuple[int, ...]:
        """Some scalars or vectors for each place."""
        places = inputs["positions" if isinstance(self.signature, PointClouds) else "adjacency"].shape[:2]
        return (*places, self.channels, 3) if self.turns else (*places, self.channels)

    def pose(self, inputs: Mapping[str, Any], noise: Tensor | None) -> Pose:
        """Scores of the places, and axes of the cloud."""
        mask = inputs.get("mask")
        names = ("positions", "adjacency", "features", "edge_features", "mask")
        given = {name: inputs[name] for name in names if inputs.get(name) is not None}
        if "positions" in given and self.centres:
            given["positions"] = given["positions"] - centroid(given["positions"], mask)
        if noise is not None:
            given["features"] = self._noisy(given, noise.flatten(2))
        output = self.network(**given)
        scores = output[..., 0] if self.heads.scores else None
        if not self.heads.axes:
            return Pose(scores, None)
        axes = torch.unflatten(pool_points(output[..., 1 if self.heads.scores else 0 :], mask, "mean"), -1, (3, 3))
        return Pose(scores, axes.mT)

    def _noisy(self, given: Mapping[str, Tensor], noise: Tensor) -> Float[Tensor, "b n f"]:
        """The features of the places followed by the noise."""
        features = given.get("features")
        dtype = next(x.dtype for x in given.values() if x.is_floating_point())
        return noise.to(dtype) if features is None else torch.cat((features, noise.to(dtype)), -1)


def pose_signature(signature: PointClouds | Graphs, symmetry: Symmetry, heads: Heads, channels: int = 3) -> PointClouds | Graphs:
    """What a network has to be built for to be a `NetworkInterface`: the noise joins the features, the heads are the output.

    Args:
        signature: of the network that is symmetrised.
        symmetry: its contract.
        heads: what is asked for.
        channels: scalars or vectors of noise at each place; 0 for no noise.

    Raises:
        GroupError: axes are asked for in a space other than R^3, whose irreps no network has.
    """
    if isinstance(signature, Graphs):
        return replace(signature, node_features=signature.node_features + channels, outputs=1, level="node")
    if signature.dimension != 3 and turns(symmetry):
        raise GroupError(f"networks turn with R^3 alone, not with R^{signature.dimension}: use vector neurons, the interface as published")
    noise = f"{channels}x1o" if turns(symmetry) else f"{channels}x0e"
    rep_in = Irreps([*signature.rep_in, *Irreps(noise)]) if channels else signature.rep_in
    rep_out = " + ".join(rep for rep, wanted in (("1x0e", heads.scores), ("3x1o", heads.axes)) if wanted)
    return PointClouds(rep_in, rep_out, signature.edge_features, None, signature.points, signature.dimension)


def require_equivariant(network: nn.Module, symmetry: Symmetry) -> None:
    """Refuse a network whose contract does not hold every factor of a group; translations do not matter, for clouds come centred.

    Raises:
        GroupError: names what is missing.
    """
    contract, name = getattr(network, "symmetry", None), type(network).__name__
    if not isinstance(contract, Symmetry):
        raise GroupError(f"{name} has no contract: an interface has to be equivariant, give a model with an attribute `symmetry`")
    if contract.exactness != "exact":
        raise GroupError(f"{name} promises its symmetry as {contract.exactness!r}: an interface has to have it exactly")
    for factor in symmetry.factors:
        if not any(_holds(other, factor) for other in contract.factors):
            raise GroupError(f"{name} is equivariant to {contract.group}, not to {factor}: an interface has to be")


def _holds(group: Group, factor: Group) -> bool:
    """Whether a group contains a factor, but for translations."""
    if isinstance(factor, S):
        return isinstance(group, S)
    if not isinstance(factor, O | SO | Translating):
        return group == factor
    if not isinstance(factor, O | SO | Motions):
        return True
    if not isinstance(group, O | SO | Motions) or group.n != factor.n:
        return False
    return isinstance(factor, SO | SE) or not isinstance(group, SO | SE)
