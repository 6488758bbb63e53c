"""The geometric algebra transformer over point clouds.

Brehmer, de Haan, Behrends, Cohen: Geometric Algebra Transformer (2023). Each point of a cloud is a token with one multivector channel for
its position and one for each feature that is not a scalar; scalars 0e go beside them.

Axes: b batch, n points, f features, e edge features, c multivector channels, h heads.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.groups import SE, E, S
from torsor.models import REGISTRY
from torsor.models.gatr.config import GATrConfig
from torsor.models.gatr.network import GATrNetwork
from torsor.models.gatr.objects import (
    embed_line,
    embed_plane,
    embed_point,
    embed_pseudoscalar,
    embed_vector,
    extract_axis,
    extract_direction,
    extract_pseudoscalar,
)
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.nn.pooling import centroid, pool_points
from torsor.representations import Irreps
from torsor.signatures import PointClouds, Pool, cannot_serve

_SERVED = ("0e", "0o", "1o", "1e")
Layout = tuple[tuple[int, str], ...]
"""Copies and name of each irrep of a feature: plain values, for tracing."""


class GATr(nn.Module):
    """A transformer whose hidden features are multivectors, equivariant under rotations and translations.

    Vectors 1o enter as the plane through the point that has them for its normal, together with the free vector e0i (norms and products see
    the one, positions move along the other); vectors 1e as the axis through the point, 0o as pseudoscalars. Outputs are the components that
    translations leave alone: 1o the normal of a plane, 1e the direction of a line.

    Args:
        rep_in: irreps of the features: 0e, 0o, 1o and 1e.
        rep_out: irreps of the output, of the same kinds.
        edge_features: number of invariant features of each pair of points; they add a bias to the attention of every block.
        pool: how points are pooled; None for one output a point.
        config: settings; defaults if not given.
        **settings: fields of the config to change.

    Raises:
        SignatureError: an irrep is of another kind.
        UnknownNameError: a setting is not a field of the config.
    """

    parity_in: Tensor
    parity_out: Tensor

    def __init__(
        self,
        rep_in: Irreps | str,
        rep_out: Irreps | str,
        *,
        edge_features: int = 0,
        pool: Pool | None = None,
        config: GATrConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = configured(GATrConfig, config, settings)
        self.signature = PointClouds(Irreps(str(rep_in)), Irreps(str(rep_out)), edge_features, pool)
        require_served(self.signature)
        self.config, self.pool = config, pool
        self.symmetry = self.signature.symmetry((E(3) if config.mirror else SE(3)) * S())
        self.widths = (self.signature.rep_in.dim, edge_features)
        self.layout_in, self.layout_out = _layout(self.signature.rep_in), _layout(self.signature.rep_out)
        for name, rep in (("parity_in", self.signature.rep_in), ("parity_out", self.signature.rep_out)):
            signs = [float(irrep.p) for mul, irrep in rep for _ in range(mul * irrep.dim)]
            self.register_buffer(name, torch.tensor(signs), persistent=False)
        scalars_in, objects_in = _count(self.layout_in)
        self.scalars_out, objects_out = _count(self.layout_out)
        self.network = GATrNetwork(
            1 + config.offsets + objects_in,
            objects_out,
            scalars_in,
            self.scalars_out,
            blocks=config.blocks,
            settings=config.block_settings(),
            reinsert=(0,) if config.reinsert else (),
            reference=config.reference,
        )
        self.pairs = _pair_network(edge_features, config) if edge_features else None

    def forward(
        self,
        positions: Float[Tensor, "b n 3"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools."""
        cloud = point_cloud(positions, features, edge_features, mask, *self.widths)
        if self.config.mirror:
            first, second = self._points(self._with_mirror_image(cloud)).chunk(2)
            output = (first + second * self.parity_out.to(second.dtype)) / 2
        else:
            output = self._points(cloud)
        if self.pool:
            return pool_points(output, mask, self.pool)
        return output if mask is None else output.where(mask[..., None], 0)

    def _with_mirror_image(self, cloud: PointCloud) -> PointCloud:
        """The batch, and after it the batch reflected in the origin."""
        twice = [None if x is None else torch.cat((x, x)) for x in (cloud.edge_features, cloud.mask)]
        features = torch.cat((cloud.features, cloud.features * self.parity_in.to(cloud.features.dtype)))
        return PointCloud(torch.cat((cloud.positions, -cloud.positions)), features, twice[0], twice[1])

    def _points(self, cloud: PointCloud) -> Float[Tensor, "b n out"]:
        """The outputs of each point."""
        # twice: the first centroid of a cloud far away is rounded
        offsets = cloud.positions - centroid(cloud.positions, cloud.mask)
        offsets = offsets - centroid(offsets, cloud.mask)
        multivectors, scalars = self._embed(offsets if self.config.centre else cloud.positions, offsets, cloud.features)
        bias = None if self.pairs is None else self.pairs(cloud.edge_features).transpose(2, 3)
        return self._read_out(*self.network(multivectors, scalars, cloud.mask, bias=bias))

    def _embed(
        self, positions: Float[Tensor, "b n 3"], offsets: Float[Tensor, "b n 3"], features: Float[Tensor, "b n f"]
    ) -> tuple[Float[Tensor, "b n c 16"], Float[Tensor, "b n s"]]:
        """One multivector for the position, one for the offset, one for each feature of another kind than 0e, and the scalars."""
        objects, scalars = [embed_point(positions)[:, :, None]], [features[..., :0]]
        if self.config.offsets:
            objects.append(_embed_vectors(offsets[:, :, None], positions))
        widths = [copies * (1 if name[0] == "0" else 3) for copies, name in self.layout_in]
        for (copies, name), part in zip(self.layout_in, torch.split(features, widths, -1) if widths else (), strict=True):
            if name == "0e":
                scalars.append(part)
            elif name == "0o":
                objects.append(embed_pseudoscalar(part))
            else:
                vectors = torch.unflatten(part, -1, (copies, 3))
                objects.append(_embed_vectors(vectors, positions) if name == "1o" else embed_line(vectors, _at(positions, vectors)))
        return torch.cat(objects, 2), torch.cat(scalars, -1)

    def _read_out(self, multivectors: Float[Tensor, "b n c 16"], scalars: Float[Tensor, "b n s"]) -> Float[Tensor, "b n out"]:
        """The output irreps in their order."""
        parts = []
        for copies, name in self.layout_out:
            if name == "0e":
                part, scalars = scalars.tensor_split((copies,), -1)
                parts.append(part)
                continue
            objects, multivectors = multivectors.tensor_split((copies,), 2)
            extract = {"0o": extract_pseudoscalar, "1o": extract_direction, "1e": extract_axis}[name]
            parts.append(extract(objects).flatten(2))
        return torch.cat(parts, -1)


def _at(positions: Float[Tensor, "b n 3"], vectors: Float[Tensor, "b n c 3"]) -> Float[Tensor, "b n c 3"]:
    """The position of each vector."""
    return positions[:, :, None].expand_as(vectors)


def _embed_vectors(vectors: Float[Tensor, "b n c 3"], positions: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n c 16"]:
    """Polar vectors as planes through the points, which have a norm, and as free vectors, which move points."""
    return embed_plane(vectors, _at(positions, vectors)) + embed_vector(vectors)


def require_served(signature: PointClouds) -> None:
    """Refuse what has no place in a multivector.

    Raises:
        SignatureError: an irrep is neither scalar nor vector, or the points are not in R^3.
    """
    others = sorted({str(irrep) for rep in (signature.rep_in, signature.rep_out) for _, irrep in rep} - set(_SERVED))
    if others:
        raise cannot_serve("gatr", signature, f"it has {', '.join(_SERVED)}, not {', '.join(others)}", REGISTRY)
    if signature.dimension != 3:
        raise cannot_serve("gatr", signature, "its algebra is that of space, R^3", REGISTRY)


def _layout(rep: Irreps) -> Layout:
    """The parts of a feature."""
    return tuple((mul, str(irrep)) for mul, irrep in rep.simplify())


def _count(layout: Layout) -> tuple[int, int]:
    """Number of scalars 0e, and of all else."""
    return sum(copies for copies, name in layout if name == "0e"), sum(copies for copies, name in layout if name != "0e")


def _pair_network(edge_features: int, config: GATrConfig) -> nn.Sequential:
    """From features of a pair to one bias a head."""
    return nn.Sequential(nn.Linear(edge_features, config.edge_width), nn.GELU(), nn.Linear(config.edge_width, config.heads))
