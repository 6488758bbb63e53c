"""A multilayer perceptron on the flattened cloud: the baseline without any symmetry.

Axes: b batch, n points given, p points of the largest cloud, f features, e edge features.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from torsor.config import Settings
from torsor.errors import ShapeError
from torsor.models import REGISTRY
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool, cannot_serve


@dataclass(frozen=True)
class MLPConfig(Settings):
    """Settings of `MLP`.

    Args:
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        output_scale: multiplies the initial weights of the last layer, so that training starts near the zero prediction. Not zero, or an
            untrained model would look perfectly symmetric.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    hidden: int = 256
    layers: int = 3
    output_scale: float = 0.01

    def build(self, signature: PointClouds) -> MLP:
        """The model for a task's signature.

        Raises:
            SignatureError: the signature does not bound the number of points.
        """
        return MLP(
            signature.rep_in,
            signature.rep_out,
            points=signature.points,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class MLP(nn.Module):
    """f(mask, positions, features, edge features), all flattened and padded to `points` places.

    Args:
        rep_in: irreps of the features; their dimension alone matters.
        rep_out: irreps of the output.
        points: places in the largest cloud; smaller ones are padded.
        edge_features: number of features of each pair of points.
        pool: None for one output a point; with a pooling the whole cloud has one output, whichever the pooling is.
        dimension: of the space the points are in.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        SignatureError: `points` is not given.
        UnknownNameError: a setting is not a field of the config.
    """

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        points: int | None = None,
        edge_features: int = 0,
        pool: Pool | None = None,
        dimension: int = 3,
        config: MLPConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(MLPConfig, config, settings)
        signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, points, dimension)
        if points is None:
            raise cannot_serve("mlp", signature, "its width is fixed, so it needs the size of the largest cloud: give points=", REGISTRY)
        self.config, self.signature, self.points, self.pool = config, signature, points, pool
        self.widths = (signature.rep_in.dim, edge_features)
        self.symmetry = signature.symmetry(exactness="none")
        self.outputs = 1 if pool else points
        widths = (points * (1 + dimension + signature.rep_in.dim + points * edge_features), *(config.hidden,) * config.layers)
        self.hidden = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in pairwise(widths)))
        self.output = nn.Linear(widths[-1], self.outputs * signature.rep_out.dim)
        with torch.no_grad():
            self.output.weight.mul_(config.output_scale)
            self.output.bias.zero_()

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths, self.signature.dimension)
        output: Tensor = self.output(self.hidden(self._flat(cloud)))
        if self.pool:
            return output
        output = torch.unflatten(output, -1, (self.points, -1))[:, : positions.shape[1]]
        return output if mask is None else output.where(mask[..., None], 0)

    def _flat(self, cloud: PointCloud) -> Float[Tensor, "b width"]:
        """The cloud as one row: mask, positions and features of each place, then the edge features of each pair of places."""
        missing = self.points - cloud.positions.shape[1]
        if missing < 0:
            raise ShapeError(f"positions has {cloud.positions.shape[1]} points, but this model was built for {self.points}: give fewer")
        valid = torch.ones_like(cloud.positions[..., :1]) if cloud.mask is None else cloud.mask[..., None].to(cloud.positions.dtype)
        places = torch.cat((valid, cloud.positions, cloud.features), -1)
        rows = [pad(places, (0, 0, 0, missing)).flatten(1)]
        if cloud.edge_features is not None:
            rows.append(pad(cloud.edge_features, (0, 0, 0, missing, 0, missing)).flatten(1))
        return torch.cat(rows, -1)
