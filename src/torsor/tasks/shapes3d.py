"""What is it? Objects as clouds of points on their surfaces.

Fuchs, Worrall, Fischer, Welling: SE(3)-Transformers (2020), section 4.2 and table 2 (ScanObjectNN). Published scans stand upright, and a
model that knows where up is does better on them than one that does not: the "+z" experiment, here the setting `heights`.

The symmetry of the problem: all motions and permutations, unless every object stands upright or heights are fed; then turns about the
vertical axis and permutations.

Axes: b batch, n points, k classes, i invariants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from torsor.config import Settings
from torsor.data.objects import Source, read_objects
from torsor.data.samples import Samples, Splits
from torsor.data.shapes import POSE_FLOOR
from torsor.errors import ConfigError
from torsor.groups import SE, SO, S
from torsor.models.se3_transformer.heights import heights
from torsor.representations import Matrix, Pairs, Permuted, Trivial
from torsor.signatures import PointClouds, Pool
from torsor.symmetry import Symmetry
from torsor.tasks.base import Task, with_targets

Pose = Literal["upright", "about z", "any"]
SPLITS = ("train", "valid", "test")
SIZES = {
    "synthetic": (1500, 300, 600),
    "geometric-shapes": (400, 80, 400),
    "modelnet40": (8843, 1000, 2468),
    "scanobjectnn": (2077, 232, 581),
}
"""Customary numbers of training, validation and test objects."""
QUANTILES = (0.1, 0.5, 0.9)
BLOCK = 64


@dataclass(frozen=True)
class Shapes3DConfig(Settings):
    """Which objects, how they lie, and what is seen of them.

    Args:
        source: "synthetic" (fifteen classes of parametric furniture), or from `folder`: "geometric-shapes", "modelnet40" or "scanobjectnn",
            see `torsor.data.objects`.
        points: points of each object.
        train_pose: how objects lie in training: "upright" as in the source, turned "about z" at random, or turned in "any" way. The turns
            are drawn anew in every step.
        test_pose: how they lie in validation and test.
        heights: whether the height of each point, and of each point above each other, is fed besides: the "+z" experiment. Heights are
            those of the object as it lies.
        visible: share of the surface that is seen from a random viewpoint; the points farther away are cut off.
        noise: standard deviation of noise on every coordinate; objects have radius 1.
        pool: how the outputs of points become logits of the object.
        train_size: training objects; a smaller set is a prefix of a larger one.
        valid_size: validation objects.
        test_size: test objects.
        folder: folder of data sets; the variable TORSOR_DATA if not given.
        seed: of the objects, their points and their poses.
    """

    source: Source = "synthetic"
    points: int = 128
    train_pose: Pose = "any"
    test_pose: Pose = "any"
    heights: bool = False
    visible: float = 1.0
    noise: float = 0.0
    pool: Pool = "max"
    train_size: int | None = None
    valid_size: int | None = None
    test_size: int | None = None
    folder: str | None = None
    seed: int = 0

    def build(self) -> Shapes3DTask:
        """Make the task.

        Raises:
            ConfigError: a value makes no sense.
            DataError: files are missing or damaged.
        """
        return Shapes3DTask(self)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Training, validation and test objects."""
        own = (self.train_size, self.valid_size, self.test_size)
        train, valid, test = (size if given is None else given for given, size in zip(own, SIZES[self.source], strict=True))
        return train, valid, test


class Shapes3DTask(Task):
    """Name the class of an object from points on its surface.

    Fed: positions, centred and of radius 1; with `heights` the height of each point ("1x0e") and of each point above each other (a feature
    of the pair). Returned: one pooled logit for each class. Loss: cross entropy. Metric: the share of errors, in per cent.

    Args:
        config: which objects.
    """

    name = "shapes3d"
    headline = "error"

    def __init__(self, config: Shapes3DConfig) -> None:
        _check(config)
        self.config = config
        self.classes = _clouds(_key(config), "test")[1]
        high = config.heights
        self.signature = PointClouds("1x0e" if high else "", f"{len(self.classes)}x0e", int(high), config.pool, config.points)
        upright = "any" not in (config.train_pose, config.test_pose)
        symmetry = _upright_symmetry() if high or upright else self.signature.symmetry(SE(3) * S())
        self.symmetry = with_targets(symmetry, {"label": (Trivial(), Trivial())})
        self.units = {"error": "%"}
        self.notes = tuple(_notes(config))

    @cached_property
    def splits(self) -> Splits:
        """Objects in float32. Those of validation and test lie as `test_pose` says; training turns its own, see `prepare`."""
        parts = []
        for split in SPLITS:
            samples, _ = _clouds(_key(self.config), split)
            generator = torch.Generator().manual_seed(3 * self.config.seed + SPLITS.index(split))
            pose = self.config.train_pose if split == "train" else self.config.test_pose
            positions = posed(samples["positions"], pose, generator)
            parts.append(Samples({**self._seen_as(positions), "label": samples["label"]}).to(torch.float32))
        return Splits(*parts)

    def prepare(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Turn the objects of a training batch anew."""
        return {**batch, **self._seen_as(posed(batch["positions"], self.config.train_pose, generator))}

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arguments of `forward`; the heights of points above each other are told here, because those of all objects fill a memory."""
        inputs = super().inputs(batch)
        if self.config.heights:
            inputs["edge_features"] = heights(batch["positions"])[1]
        return inputs

    def _seen_as(self, positions: Float[Tensor, "b n 3"]) -> dict[str, Tensor]:
        """Positions, and heights where they are fed."""
        return {"positions": positions} | ({"features": heights(positions)[0]} if self.config.heights else {})

    def loss(self, output: Float[Tensor, "b k"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Cross entropy."""
        return cross_entropy(output, batch["label"])

    def metrics(self, output: Float[Tensor, "b k"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """100 for an object that is taken for another, 0 for one that is not: the mean is the error in per cent."""
        return {"error": 100.0 * (output.argmax(-1) != batch["label"]).to(output.dtype)}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The most frequent class; the class whose mean invariants are nearest, see `invariants`.

        For synthetic objects without heights of which some are turned in any way there is one more, "pose floor": what nobody can avoid who
        does not know where up is.
        """
        train, test = (samples.to(torch.float64).take(slice(None)) for samples in (self.splits.train, self.splits.test))
        members = one_hot(train["label"], len(self.classes)).double()
        majority = members.sum(0).expand(len(test["label"]), -1)
        rows = [invariants(batch["positions"], self.config.heights) for batch in (train, test)]
        mean, deviation = rows[0].mean(0), rows[0].std(0).clamp(min=1e-9)
        scaled_train, scaled_test = ((row - mean) / deviation for row in rows)
        centroids = (members.T @ scaled_train) / members.sum(0).clamp(min=1).unsqueeze(1)
        distance = torch.cdist(scaled_test, centroids).where(members.sum(0) > 0, torch.inf)
        found = {"most frequent class": majority, "nearest mean of invariants": -distance}
        figures = {name: {"error": float(self.metrics(logits, test)["error"].mean())} for name, logits in found.items()}
        return figures | ({"pose floor": {"error": 100 * POSE_FLOOR}} if self._blind else {})

    @property
    def _blind(self) -> bool:
        """Whether nothing tells where up is, and classes depend on it."""
        config: Shapes3DConfig = self.config
        return config.source == "synthetic" and config.test_pose == "any"


def invariants(positions: Float[Tensor, "b n 3"], vertical: bool = False) -> Float[Tensor, "b i"]:
    """Numbers that do not change when a cloud is moved: eigenvalues of its covariance, and quantiles of the distances from its centre.

    Args:
        positions: the points.
        vertical: with the quantiles of the heights above the centre, which change unless a cloud is turned about z.
    """
    centred = positions - positions.mean(1, keepdim=True)
    spread = torch.linalg.eigvalsh(centred.mT @ centred / positions.shape[1])
    shares = torch.tensor(QUANTILES, dtype=positions.dtype, device=positions.device)
    parts = [spread, centred.norm(dim=-1).quantile(shares, dim=1).T]
    return torch.cat([*parts, centred[..., 2].quantile(shares, dim=1).T] if vertical else parts, -1)


def posed(positions: Float[Tensor, "b n 3"], pose: Pose, generator: torch.Generator) -> Float[Tensor, "b n 3"]:
    """Each cloud turned by a random rotation of its own, as its pose says."""
    if pose == "upright":
        return positions
    group = SO(3) if pose == "any" else SO(2)
    turn = group.sample(len(positions), generator=generator, dtype=torch.float64)
    matrix = (turn if pose == "any" else about_z(turn)).to(positions)
    turned: Tensor = positions @ matrix.mT
    return turned


def about_z(turn: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch 3 3"]:
    """A rotation of the plane as a rotation of space about the z axis."""
    matrix = torch.nn.functional.pad(turn, (0, 1, 0, 1))
    return matrix + torch.diag(torch.tensor([0.0, 0.0, 1.0])).to(turn)


def _upright_symmetry() -> Symmetry:
    """Turns about z and permutations; heights do not change."""
    inputs = {
        "positions": (Matrix(about_z, 3), Permuted(1)),
        "features": (Trivial(), Permuted(1)),
        "edge_features": (Trivial(), Pairs(1, 2)),
    }
    return Symmetry(SO(2) * S(), inputs, (Trivial(), Trivial()))


def _key(config: Shapes3DConfig) -> Shapes3DConfig:
    """What the clouds depend on, before they are turned."""
    return replace(config, heights=False, train_pose="upright", test_pose="upright", pool="max")


@lru_cache(maxsize=12)
def _clouds(config: Shapes3DConfig, split: str) -> tuple[Samples, tuple[str, ...]]:
    """The objects of a split as they stand, and the names of the classes.

    Splits of "synthetic" and "geometric-shapes" have generators of their own, so that the size of one leaves the others as they are. The
    other sources have no validation objects: the first of their training objects, in random order, serve for validation, the next train.
    """
    train, valid, test = config.sizes
    shared = config.source in ("modelnet40", "scanobjectnn") and split != "test"
    count = train + valid if shared else {"train": train, "valid": valid, "test": test}[split]
    generator = torch.Generator().manual_seed(3 * config.seed + (0 if shared else SPLITS.index(split)))
    role: Literal["train", "test"] = "test" if split == "test" else "train"
    found = read_objects(config.source, role, count, ceil(config.points / config.visible), generator, config.folder)
    part = (slice(valid) if split == "valid" else slice(valid, None)) if shared else slice(None)
    # views and noise start anew, and go object by object: a smaller set is a prefix of a larger one
    near = seen(found.clouds, config.points, config.noise, torch.Generator().manual_seed(generator.initial_seed()))
    return Samples({"positions": near[part], "label": found.labels[part]}), found.classes


def seen(clouds: Float[Tensor, "b p 3"], points: int, noise: float, generator: torch.Generator) -> Float[Tensor, "b n 3"]:
    """The points nearest to a viewpoint in a random direction, centred, scaled to radius 1, with noise.

    Args:
        clouds: all points of each object.
        points: n, how many are seen.
        noise: standard deviation of each coordinate's noise.
        generator: where the numbers come from.
    """
    # in whole blocks: the last few of any number of normal draws depend on that number
    whole = BLOCK * ceil(len(clouds) / BLOCK)
    drawn = torch.randn(whole, points + 1, 3, generator=generator, dtype=clouds.dtype)[: len(clouds)]
    depth = (clouds @ drawn[:, 0, :, None]).squeeze(-1)
    # in their own order, so that a place in the cloud does not tell how far away a point is
    nearest = depth.argsort(1)[:, :points].sort(1).values
    near: Tensor = clouds.take_along_dim(nearest.unsqueeze(-1), 1)
    near = near - near.mean(1, keepdim=True)
    near = near / torch.linalg.vector_norm(near, dim=-1).amax(1)[:, None, None]
    return near + noise * drawn[:, 1:]


def _notes(config: Shapes3DConfig) -> list[str]:
    notes = []
    if config.source == "synthetic":
        notes.append("synthetic objects, a stand-in for scans: not comparable with published figures")
    if config.source == "geometric-shapes":
        notes.append("one mesh a class: training and test objects differ by the points drawn from it alone")
    return notes


def _check(config: Shapes3DConfig) -> None:
    """Refuse what makes no sense."""
    for split, size in zip(SPLITS, config.sizes, strict=True):
        if size < 1:
            raise ConfigError(f"{split}_size is {size}: give 1 or more")
    if config.points < 4:
        raise ConfigError(f"points is {config.points}: give 4 or more")
    if not 0 < config.visible <= 1:
        raise ConfigError(f"visible is {config.visible}: give a share of the surface, up to 1")
    if not config.noise >= 0:
        raise ConfigError(f"noise is {config.noise}: give 0 or more")
