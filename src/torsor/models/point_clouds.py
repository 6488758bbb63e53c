"""What every model over point clouds shares: how its settings are read and its inputs checked.

One forward for all: `forward(positions, features=None, edge_features=None, mask=None)`, padded, with `mask [b, n]` true where a point is.

Axes: b batch, n points, d dimension of space, f features, e edge features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar

from jaxtyping import Bool, Float
from torch import Tensor

from torsor.errors import ShapeError, unknown_name

Config = TypeVar("Config")


def configured(kind: type[Config], config: Config | None, settings: Mapping[str, Any]) -> Config:
    """The config (by default `kind()`) with `settings` written over its fields.

    Raises:
        UnknownNameError: a setting is not a field of `kind`; the message gives the nearest one.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            raise unknown_name(f"setting of {kind.__name__}", name, known)
    return replace(kind() if config is None else config, **settings)  # type: ignore[type-var]


class PointCloud(NamedTuple):
    """Checked inputs, zero wherever `mask` is false, so that what stands in the padding (NaN even) has no influence.

    Args:
        positions: `[b, n, d]`.
        features: `[b, n, f]`, f = 0 where there are none.
        edge_features: `[b, n, n, e]`, None where there are none.
        mask: `[b, n]`, None where every point is valid.
    """

    positions: Float[Tensor, "b n d"]
    features: Float[Tensor, "b n f"]
    edge_features: Float[Tensor, "b n n e"] | None
    mask: Bool[Tensor, "b n"] | None


def point_cloud(
    positions: Float[Tensor, "b n d"],
    features: Float[Tensor, "b n f"] | None,
    edge_features: Float[Tensor, "b n m e"] | None,
    mask: Bool[Tensor, "b p"] | None,
    feature_dim: int,
    edge_dim: int,
    dimension: int = 3,
) -> PointCloud:
    """Check the inputs of a model against the widths it was built for, and clear the padding.

    Raises:
        ShapeError: an input is missing, was not announced or has another shape; names it.
    """
    b, n = positions.shape[:2]
    expect_shape("positions", positions, (b, n, dimension))
    expect_shape("features", features, (b, n, feature_dim) if feature_dim else None)
    expect_shape("edge_features", edge_features, (b, n, n, edge_dim) if edge_dim else None)
    if features is None:
        features = positions.new_zeros(b, n, 0)
    if mask is None:
        return PointCloud(positions, features, edge_features, None)
    expect_shape("mask", mask, (b, n))
    if edge_features is not None:
        edge_features = edge_features.where((mask[:, :, None] & mask[:, None, :])[..., None], 0)
    valid = mask[..., None]
    return PointCloud(positions.where(valid, 0), features.where(valid, 0), edge_features, mask)


def expect_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...] | None) -> None:
    """Compare with the shape the model was built for; None and an empty last axis both stand for nothing."""
    if tensor is not None and tensor.shape == shape:
        return
    if tensor is None or tensor.shape[-1] == 0:
        if shape is not None:
            raise ShapeError(f"{name} is missing: this model was built for {name} {list(shape)}")
    elif shape is None:
        raise ShapeError(f"{name} is {list(tensor.shape)}, but this model was built without {name}: leave it out")
    else:
        raise ShapeError(f"{name} is {list(tensor.shape)}, but this model was built for {list(shape)}")
