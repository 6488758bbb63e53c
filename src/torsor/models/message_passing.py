"""A plain graph network over points: messages of features and coordinates alike, which knows permutations and nothing of space.

The baseline "GNN" of charged particles in Satorras, Hoogeboom, Welling: E(n) Equivariant Graph Neural Networks (2021), section 5.1, and a
base network of Kim et al., Learning Probabilistic Symmetrization (2023), whose settings are the defaults. The first layer of the network of
messages is linear in (h_i, h_j), so it is applied to points, not to pairs.

Axes: b batch, n points, d dimension of space, f features, e edge features, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import silu

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.groups import S, T
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.nn.perceptron import output_layer
from torsor.nn.pooling import centroid, pool_points
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool


@dataclass(frozen=True)
class MessagePassingConfig(Settings):
    """Settings of `MessagePassing`.

    Args:
        width: channels of a point and of a message.
        layers: rounds of messages.
        centre: feed positions relative to the centroid of the cloud, which makes the model exactly invariant under translations.
        output_scale: multiplies the initial weights of the last layer, so that training starts near the zero prediction. Not zero, or an
            untrained model would look perfectly symmetric.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    width: int = 60
    layers: int = 4
    centre: bool = True
    output_scale: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers) < 1:
            raise ConfigError(f"width is {self.width} and layers is {self.layers}: give 1 or more of each")

    def build(self, signature: PointClouds) -> MessagePassing:
        """The model for a task's signature."""
        return MessagePassing(
            signature.rep_in,
            signature.rep_out,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class Round(nn.Module):
    """m_ij = silu(W silu(A h_i + B h_j + C e_ij)), h_i <- update([h_i, sum_j m_ij]) over all other points j.

    Args:
        width: channels of a point and of a message.
        edge_features: numbers of each pair, at least one.
    """

    def __init__(self, width: int, edge_features: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.pair = nn.Linear(edge_features, width, bias=False)
        self.message = nn.Linear(width, width)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Float[Tensor, "b n c"], pairs: Float[Tensor, "b n n e"], others: Bool[Tensor, "#b n n"]) -> Float[Tensor, "b n c"]:
        """Update every point; `others` are the pairs that exchange messages."""
        hidden = silu(self.receiver(h)[:, :, None] + self.sender(h)[:, None] + self.pair(pairs))
        received = silu(self.message(hidden)).where(others[..., None], 0).sum(2)
        updated: Tensor = self.update(torch.cat((h, received), -1))
        return updated


class MessagePassing(nn.Module):
    """Rounds of messages among all points, from the features [position - centroid, features] and [squared distance, edge features].

    Exactly equivariant under permutations; invariant under translations where the config says `centre`. Vectors are numbers to it.

    Args:
        rep_in: irreps of the features; their dimension alone matters.
        rep_out: irreps of the output.
        edge_features: number of features of each pair of points.
        pool: how points are pooled; None for one output a point.
        dimension: of the space the points are in.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        UnknownNameError: a setting is not a field of the config.
    """

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        edge_features: int = 0,
        pool: Pool | None = None,
        dimension: int = 3,
        config: MessagePassingConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(MessagePassingConfig, config, settings)
        self.config, self.pool = config, pool
        self.signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, dimension=dimension)
        self.symmetry = self.signature.symmetry(T(dimension) * S() if config.centre else S())
        self.widths = (self.signature.rep_in.dim, edge_features)
        self.embed = nn.Linear(dimension + self.widths[0], config.width)
        self.rounds = nn.ModuleList(Round(config.width, 1 + edge_features) for _ in range(config.layers))
        self.readout = nn.Sequential(nn.Linear(config.width, config.width), nn.SiLU())
        self.output = output_layer(config.width, self.signature.rep_out.dim, config.output_scale)

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths, self.signature.dimension)
        nodes, pairs = node_and_pair_features(cloud, self.config.centre)
        others = ~torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)[None]
        if mask is not None:
            others = others & mask[:, None]
        h = self.embed(nodes)
        for layer in self.rounds:
            h = layer(h, pairs, others)
        output: Tensor = self.output(self.readout(h))
        if self.pool:
            return pool_points(output, mask, self.pool)
        return output if mask is None else output.where(mask[..., None], 0)


def node_and_pair_features(cloud: PointCloud, centre: bool) -> tuple[Float[Tensor, "b n df"], Float[Tensor, "b n n e1"]]:
    """Position and features of each point; squared distance and features of each pair.

    Args:
        cloud: checked inputs.
        centre: whether positions are those relative to the centroid.
    """
    x = cloud.positions - centroid(cloud.positions, cloud.mask) if centre else cloud.positions
    squares = (x[:, :, None] - x[:, None]).square().sum(-1, keepdim=True)
    pairs = squares if cloud.edge_features is None else torch.cat((squares, cloud.edge_features), -1)
    return torch.cat((x, cloud.features), -1), pairs
