"""The LieTransformer: attention on the lifted elements of a cloud, equivariant to a group of the user's choice.

Hutchinson, Le Lan, Zaidi, Dupont, Teh, Kim: LieTransformer: Equivariant Self-Attention for Lie Groups (2021).

Beyond the paper: vectors go in and come out through the frames of the elements, edge features join the coordinates of pairs, frames may be
made from the data so that the symmetry of SE(n) is exact, and what is random is an argument.

Axes: b batch, n points, s samples of the stabiliser, m = n s lifted elements (point-major), d dimension of space, c channels, f features,
e edge features, p coordinates of a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.errors import ConfigError, SignatureError
from torsor.groups import REGISTRY as GROUPS
from torsor.groups import Group, parse
from torsor.groups.numerics import uniform
from torsor.models.lie_transformer.attention import LieSelfAttention, Scene
from torsor.models.lie_transformer.config import LieTransformerConfig
from torsor.models.lie_transformer.contract import contract_of_lift
from torsor.models.lie_transformer.features import has_vectors, into_frames, layout, out_of_frames
from torsor.models.lie_transformer.heads import ElementwiseHead, PooledHead
from torsor.models.lie_transformer.layers import ACTIVATIONS, Norm
from torsor.models.lie_transformer.lifts import Elements, lift_of
from torsor.models.lie_transformer.naive import naive_attention
from torsor.models.lie_transformer.neighbourhood import candidates, everyone, nearest
from torsor.models.lie_transformer.pair_networks import location_logits
from torsor.models.lie_transformer.pairs import Pairs
from torsor.models.point_clouds import PointCloud, configured, point_cloud
from torsor.nn.attention import needs_plain_attention
from torsor.representations import Irreps
from torsor.representations.precision import precise
from torsor.signatures import PointClouds, Pool

REDRAWS = 100
"""How often frames are drawn anew before `max_sample_norm` is said to be out of reach."""


class Block(nn.Module):
    """f + attention(norm(f)), then f + mlp(norm(f)); or with the norms after the sums.

    Args:
        config: settings.
        pair_dim: coordinates of a pair.
    """

    def __init__(self, config: LieTransformerConfig, pair_dim: int) -> None:
        super().__init__()
        c = config.hidden
        self.attention = LieSelfAttention(config, pair_dim)
        self.norms = nn.ModuleList(Norm(config.norm, c) for _ in range(2))
        self.mlp = nn.ModuleList(nn.Linear(c, c) for _ in range(2))
        self.activation, self.final = ACTIVATIONS[config.activation], config.final_activation
        self.before, self.naive = config.norm_position == "pre", config.path == "naive"

    def forward(self, x: Float[Tensor, "b n c"], scene: Scene, location: Float[Tensor, "b h m k"] | None = None) -> Float[Tensor, "b m c"]:
        """Update every element; x may hold one row a point where its samples are equal."""
        first, second = self.norms
        points = scene.mask if x.shape[1] == scene.pairs.shape[1] or scene.mask is None else scene.mask[:, :: scene.samples]
        normed = first(x, points) if self.before else x
        update = naive_attention(self.attention, normed, scene) if self.naive else self.attention(normed, scene, location)
        x = (x if len(x[0]) == len(update[0]) else x.repeat_interleave(scene.samples, 1)) + update
        x = x if self.before else first(x, scene.mask)
        x = x + self._feed_forward(second(x, scene.mask) if self.before else x)
        return x if self.before else second(x, scene.mask)

    def _feed_forward(self, x: Tensor) -> Tensor:
        inner, outer = self.mlp
        out: Tensor = outer(self.activation(inner(x)))
        return self.activation(out) if self.final else out


class LieTransformer(nn.Module):
    """Attention on a group, for clouds of points with numbers and vectors, in and out.

    Exactness is that of the lift, and the contract says so. Exact: Trivial, T(n), flows, SO(2), O(2), TC(n), and the others with frames of
    the data (`lift="data"`) away from degenerate clouds, see `local_frames`. Coupled: drawn frames (`lift` "sampled", "rotated", "shared"),
    an input that moves with the cloud; over independent draws such a model is equivariant in distribution, and the more samples a point
    has, the less its output varies, least with "rotated" and "shared" copies of a finite group.

    Args:
        group: the group, or its name; that of a family ("SE") takes the dimension of the points.
        rep_in: irreps of the features, or their number where they are invariant.
        rep_out: irreps of the output, or its number of invariants.
        edge_features: number of invariant features of each pair of points.
        pool: how points are pooled; None for one output a point (the mean of its samples).
        dimension: of the space of the points; that of the group if not given, 3 for a family of groups.
        config: settings; defaults if not given. `group` is written over its field.
        **settings: fields of the config to change.

    Raises:
        GroupError: the group has no lift, or not the coordinates of pairs that were asked for.
        ConfigError: settings do not go together.
        SignatureError: the group acts on another space, or an irrep is neither scalar nor vector.
        UnknownNameError: a setting is not a field of the config.
    """

    def __init__(
        self,
        group: Group | str,
        rep_in: Irreps | str | int,
        rep_out: Irreps | str | int,
        *,
        edge_features: int = 0,
        pool: Pool | None = None,
        dimension: int | None = None,
        config: LieTransformerConfig | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.config = config = replace(configured(LieTransformerConfig, config, settings), group=sized(str(group), dimension))
        self.group = parse(config.group)
        self.lift, self.pairs = lift_of(self.group, config), Pairs(self.group, config)
        self.signature = _signature(self.lift.dimension, rep_in, rep_out, edge_features, pool, dimension)
        self.pool = pool
        turns = self.lift.framed and self.lift.dimension == 3
        mirrors = bool(getattr(self.lift, "mirrors", False))
        self.layout_in, self.layout_out = (
            layout(rep, turns, mirrors, self.signature) for rep in (self.signature.rep_in, self.signature.rep_out)
        )
        self.symmetry = contract_of_lift(self.signature, self.lift, config)
        pair_dim = self.pairs.dim(self.lift.orbits, self.lift.places) + edge_features
        config.validate(pair_dim)
        # a column of ones stands for features where there are none
        self.embed = nn.Linear(max(1, self.signature.rep_in.dim), config.hidden)
        self.blocks = nn.ModuleList(Block(config, pair_dim) for _ in range(config.layers))
        head = PooledHead if config.head == "pooled" else ElementwiseHead
        self.head = head(config, self.signature, has_vectors(self.layout_out))

    # -- noise ------------------------------------------------------------------------------------------------------------------------

    def draw(self, inputs: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The noise of a call: `lifts` where frames are drawn, `thinning` where neighbours are; nothing for exact models.

        Raises:
            ConfigError: no draw keeps the coordinates of pairs below `max_sample_norm`.
        """
        positions, drawn = inputs["positions"], {}
        if self.lift.draws:
            drawn["lifts"] = self._draw_lifts(positions, inputs.get("mask"), generator)
        neighbours, fill = self.config.neighbours, self.config.fill
        if neighbours is not None and fill < 1:
            batch, points = positions.shape[:2]
            count = points * self.lift.samples
            shape = (batch, points, self.lift.samples * candidates(count, neighbours, fill))
            drawn["thinning"] = uniform(shape, generator).to(positions)
        return drawn

    def _draw_lifts(self, positions: Tensor, mask: Tensor | None, generator: torch.Generator) -> Float[Tensor, "b n s d d"]:
        bound = self.config.max_sample_norm
        for _ in range(REDRAWS):
            frames = self.lift.draw(positions, generator)
            if bound is None:
                return frames
            clean = positions if mask is None else positions.where(mask[..., None], 0)
            with torch.no_grad():
                pairs = self.pairs.coordinates(self.lift.lift(clean, mask, frames))
            if bool((pairs.norm(dim=-1) < bound).all()):
                return frames
        raise ConfigError(
            f"{REDRAWS} draws of frames had pairs longer than max_sample_norm = {bound:g}: give a larger bound, or pairs 'matrix'"
        )

    # -- forward ----------------------------------------------------------------------------------------------------------------------

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"] | None = None,
        edge_features: Float[Tensor, "b n n e"] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
        lifts: Float[Tensor, "b n s d d"] | None = None,
        thinning: Float[Tensor, "b n r"] | None = None,
    ) -> Float[Tensor, "b *n out"]:
        """Map a padded batch of clouds to one output a point, or one a cloud where the model pools.

        Args:
            positions: the points.
            features: of the points.
            edge_features: of the pairs of points.
            mask: valid points.
            lifts: frames of the points, their axes in rows, orthonormal; from `draw`, or of your own. Frames of the data if not given.
            thinning: random numbers that choose among the nearest neighbours, from `draw`; the nearest if not given.
        """
        cloud = point_cloud(
            positions, features, edge_features, mask, self.signature.rep_in.dim, self.signature.edge_features, self.lift.dimension
        )
        if lifts is not None and not self.lift.framed:
            raise ConfigError(f"lifts is given, but the elements of {self.group} are determined by the points: leave it out")
        with precise(positions):
            elements = self.lift.lift(cloud.positions, cloud.mask, lifts)
            scene = self._scene(cloud, elements, thinning, needs_plain_attention(positions, features, edge_features, lifts))
        x = self._blocks(self.embed(self._inputs(cloud, elements)), scene)
        x = torch.unflatten(x, 1, (positions.shape[1], self.lift.samples))
        frames = elements.frames
        turn = None if frames is None or not has_vectors(self.layout_out) else partial(out_of_frames, frames=frames, parts=self.layout_out)
        output: Tensor = self.head(x, cloud.mask, turn)
        return output

    def _scene(self, cloud: PointCloud, elements: Elements, thinning: Tensor | None, plain: bool) -> Scene:
        """Pairs and neighbourhoods, once for all layers."""
        config, samples = self.config, self.lift.samples
        pairs = (self.pairs.naive_coordinates if config.path == "naive" else self.pairs.coordinates)(elements)
        if cloud.edge_features is not None:
            edges = cloud.edge_features.repeat_interleave(samples, 1).repeat_interleave(samples, 2)
            pairs = torch.cat((pairs, edges), -1)
        mask = None if cloud.mask is None else cloud.mask.repeat_interleave(samples, 1)
        if config.neighbours is None or (config.neighbours >= pairs.shape[1]):
            neighbourhood = everyone(pairs[:, :, 0], mask)
        else:
            chosen = None if thinning is None else torch.unflatten(thinning, 2, (samples, -1)).flatten(1, 2)
            neighbourhood = nearest(self.pairs.distance(elements), mask, config.neighbours, config.fill, chosen)
        # compilers, function transforms and second derivatives need the operations of torch themselves
        recompute = not (plain or torch.compiler.is_compiling())
        return Scene(neighbourhood.pairs(pairs), neighbourhood, mask, samples, plain, recompute)

    def _inputs(self, cloud: PointCloud, elements: Elements) -> Float[Tensor, "b m f"]:
        """Features, once for each point where they are equal for all its samples."""
        features = cloud.features if self.signature.rep_in.dim else torch.ones_like(cloud.positions[..., :1])
        if has_vectors(self.layout_in):
            assert elements.frames is not None
            return into_frames(features, elements.frames, self.layout_in).flatten(1, 2)
        return features.repeat_interleave(self.lift.samples, 1) if self.config.path == "naive" else features

    def _attentions(self) -> Iterator[LieSelfAttention]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block.attention

    def _blocks(self, x: Float[Tensor, "b n c"], scene: Scene) -> Float[Tensor, "b m c"]:
        terms: tuple[Tensor | None, ...] = (None,) * len(self.blocks)
        located = [layer.location for layer in self._attentions() if layer.location is not None]
        if self.config.path == "fast" and located:
            terms = location_logits(located, scene.pairs, scene.recompute)
        for block, term in zip(self.blocks, terms, strict=True):
            x = block(x, scene, term)
        return x if x.shape[1] == scene.pairs.shape[1] else x.repeat_interleave(scene.samples, 1)


def sized(group: str, dimension: int | None) -> str:
    """The name of a group; that of a family gets the dimension of the space in brackets, "SE" in the plane is "SE(2)"."""
    return f"{group}({3 if dimension is None else dimension})" if f"{group}(n)" in GROUPS else group


def _signature(
    space: int, rep_in: Irreps | str | int, rep_out: Irreps | str | int, edge_features: int, pool: Pool | None, dimension: int | None
) -> PointClouds:
    """What the model is fed, with numbers of scalars written out."""
    if dimension is not None and dimension != space:
        raise SignatureError(
            f"the group of lie-transformer acts on R^{space} but the points are in R^{dimension}: give a group of that space, "
            f"for instance group 'SE({dimension})' or 'T({dimension})'"
        )
    irreps = [f"{rep}x0e" if isinstance(rep, int) and rep else "" if isinstance(rep, int) else str(rep) for rep in (rep_in, rep_out)]
    return PointClouds(irreps[0], irreps[1], edge_features, pool, dimension=space)
