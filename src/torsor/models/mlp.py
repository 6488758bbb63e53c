"""A multilayer perceptron on whatever it is fed, flattened: the baseline without any symmetry.

Axes: b batch, n points given, p points of the largest cloud, f features, e edge features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from torsor.config import Settings
from torsor.errors import ConfigError, ShapeError
from torsor.models import REGISTRY
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.nn.perceptron import ACTIVATIONS, Activation, hidden_layers, output_layer
from torsor.representations import Irreps
from torsor.signatures import FeatureVectors, Graphs, PointClouds, Pool, cannot_serve


@dataclass(frozen=True)
class MLPConfig(Settings):
    """Settings of the perceptrons.

    The networks of Kim et al., Learning Probabilistic Symmetrization (2023), on graphs have `output_scale=1` and, for GRAPH8c,
    `widths=(128, 64)`, `activation=output_activation="tanh"`; for EXP `widths=(2048, 4096, 2048)` likewise, and to classify its graphs
    `widths=(2048, 4096, 2048, 10)` with "relu" and no `output_activation`.

    Args:
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        widths: the width of each hidden layer, instead of `hidden` and `layers`.
        activation: after each hidden layer.
        output_activation: after the last layer; None for none.
        output_scale: multiplies the initial weights of the last layer, so that training starts near the zero prediction. Not zero, or an
            untrained model would look perfectly symmetric.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds, Graphs, FeatureVectors)
    hidden: int = 256
    layers: int = 3
    widths: tuple[int, ...] | None = None
    activation: Activation = "gelu"
    output_activation: Activation | None = None
    output_scale: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(width < 1 for width in self.hidden_widths):
            raise ConfigError(f"MLPConfig has hidden layers of widths {list(self.hidden_widths)}: give each 1 or more")

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """The width of each hidden layer."""
        return (self.hidden,) * self.layers if self.widths is None else self.widths

    def build(self, signature: PointClouds | Graphs | FeatureVectors) -> Perceptron:
        """The model for a task's signature.

        Raises:
            SignatureError: the signature does not bound the number of points or nodes.
        """
        from torsor.models.flat_mlps import GraphMLP, VectorMLP

        if isinstance(signature, Graphs):
            return GraphMLP(signature, self)
        if isinstance(signature, FeatureVectors):
            return VectorMLP(signature, self)
        return MLP(
            signature.rep_in,
            signature.rep_out,
            points=signature.points,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class Perceptron(nn.Module):
    """What the perceptrons of all families share: hidden layers, and a last layer that starts small.

    Args:
        config: widths and nonlinearities.
        width_in: numbers in.
        width_out: numbers out.
    """

    def __init__(self, config: MLPConfig, width_in: int, width_out: int) -> None:
        super().__init__()
        self.config = config
        widths = (width_in, *config.hidden_widths)
        self.hidden = hidden_layers(widths, config.activation)
        self.output = output_layer(widths[-1], width_out, config.output_scale)
        self.finish = ACTIVATIONS[config.output_activation]() if config.output_activation else nn.Identity()

    def dense(self, rows: Float[Tensor, "b i"]) -> Float[Tensor, "b o"]:
        """All layers, on inputs that are flat."""
        output: Tensor = self.finish(self.output(self.hidden(rows)))
        return output


class MLP(Perceptron):
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
        config = configured(MLPConfig, config, settings)
        signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, points, dimension)
        if points is None:
            raise cannot_serve("mlp", signature, "its width is fixed, so it needs the size of the largest cloud: give points=", REGISTRY)
        flat = points * (1 + dimension + signature.rep_in.dim + points * edge_features)
        super().__init__(config, flat, (1 if pool else points) * signature.rep_out.dim)
        self.signature, self.points, self.pool = signature, points, pool
        self.feature_widths = (signature.rep_in.dim, edge_features)
        self.symmetry = signature.symmetry(exactness="none")

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.feature_widths, self.signature.dimension)
        output: Tensor = self.dense(self._flat(cloud))
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
