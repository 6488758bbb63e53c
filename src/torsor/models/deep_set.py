"""Deep Sets: every linear map that commutes with permutations, with nonlinearities between.

Zaheer, Kottur, Ravanbakhsh, Poczos, Salakhutdinov, Smola: Deep Sets (2017), theorem 2 and equation 4. It knows permutations and nothing
else, and points see each other through means alone: the plainest baseline of SE(3)-Transformers.

Axes: b batch, n points, d dimension of space, f features, e edge features, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.config import Settings
from torsor.errors import ConfigError
from torsor.groups import S
from torsor.models.point_clouds import configured, point_cloud
from torsor.nn.permutation_linear import PermutationLinear
from torsor.nn.pooling import pool_points
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


@dataclass(frozen=True)
class DeepSetConfig(Settings):
    """Settings of `DeepSet`.

    Args:
        width: channels of a point.
        layers: equivariant layers.
        readout: hidden layers of the network on the pooled vector; a model with one output a point has none.
        context: how a layer sums up the other points, "mean" or "sum". Sums grow with the cloud; means do not.
        activation: "relu", "tanh", or "gelu", which is smooth, for energies whose gradient is wanted.

    Raises:
        ConfigError: a number is below what makes sense.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    width: int = 128
    layers: int = 4
    readout: int = 1
    context: Literal["mean", "sum"] = "mean"
    activation: Literal["relu", "tanh", "gelu"] = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("width", 1), ("layers", 1), ("readout", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: give {least} or more")

    def build(self, signature: PointClouds) -> DeepSet:
        """The model for a task's signature."""
        return DeepSet(
            signature.rep_in,
            signature.rep_out,
            edge_features=signature.edge_features,
            pool=signature.pool,
            dimension=signature.dimension,
            config=self,
        )


class DeepSet(nn.Module):
    """rho(pool_i phi(x)_i) of the tokens [position, features]; exactly equivariant under permutations, and under nothing else.

    phi is a stack of layers x_i' = activation(A x_i + B mean_j x_j + b). Features of pairs enter in the first of them, through every linear
    map from pairs to points: row, column, diagonal, and the means of all and of the diagonal. Without a pooling rho is one more layer.

    Args:
        rep_in: irreps of the features; their dimension alone matters.
        rep_out: irreps of the output.
        edge_features: number of features of each pair of points.
        pool: how points are pooled; None for one output a point.
        dimension: of space.
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
        config: DeepSetConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(DeepSetConfig, config, settings)
        self.config, self.pool = config, pool
        self.signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool, None, dimension)
        self.symmetry = self.signature.symmetry(S())
        self.widths = (self.signature.rep_in.dim, edge_features, dimension)
        c, outputs = config.width, self.signature.rep_out.dim
        given = {"points": dimension + self.widths[0]} | ({"pairs": edge_features} if edge_features else {})
        axes = "points: n, pairs: n n" if edge_features else "points: n"
        self.embed = PermutationLinear(f"{axes} -> n", given, c, pool=config.context)
        self.layers = nn.ModuleList(PermutationLinear("n -> n", c, c, pool=config.context) for _ in range(config.layers - 1))
        self.activation = ACTIVATIONS[config.activation]()
        hidden = (nn.Sequential(nn.Linear(c, c), ACTIVATIONS[config.activation]()) for _ in range(config.readout))
        self.readout = (
            nn.Sequential(*hidden, nn.Linear(c, outputs)) if pool else PermutationLinear("n -> n", c, outputs, pool=config.context)
        )

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths)
        given = {"points": torch.cat((cloud.positions, cloud.features), -1)}
        if cloud.edge_features is not None:
            given["pairs"] = cloud.edge_features
        x = self.activation(self.embed(given, mask))
        for layer in self.layers:
            x = self.activation(layer(x, mask))
        if self.pool is None:
            output: Tensor = self.readout(x, mask)
            return output
        pooled: Tensor = self.readout(pool_points(x, mask, self.pool))
        return pooled
