"""The user's own arrays as a task: points with features in, one column out, at each point or of each sample.

The description of the columns is a TOML file, documented in `torsor.data.arrays`. The group in it is what the user *believes*: the contract
of the task calls it approximate, and whether a model profits from it is what a study measures.

Axes: b batch, n points, d components of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from torsor.config import Settings
from torsor.data.arrays import SPLITS, Arrays, read_arrays, read_description
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError, DataError
from torsor.groups import S, parse
from torsor.representations import Irreps, Permuted, Trivial
from torsor.signatures import PointClouds
from torsor.tasks.base import Task, with_targets

NOTE = "the symmetry of these data is what their description says; nobody has measured it"


@dataclass(frozen=True)
class ArraysConfig(Settings):
    """The user's own data.

    Args:
        file: the TOML file that describes them, see `torsor.data.arrays`.
        train_size: training samples; all that are for training if not given.
    """

    file: str = ""
    train_size: int | None = None

    def build(self) -> ArraysTask:
        """Read the description and the data, and make the task.

        Raises:
            ConfigError: there is no description, or it is wrong; names the key.
            DataError: the data are not what the description says; names the column.
        """
        if not self.file:
            raise ConfigError('no description was given: set file = "my_data.toml", which names the columns of your data')
        return ArraysTask(self, read_arrays(read_description(Path(self.file).expanduser())))


class ArraysTask(Task):
    """Predict one column from the others.

    Returned: the target's irreps, at each point or pooled, each copy of an irrep in multiples of its root mean square over the training
    samples, and scalars ("0e") as differences from their mean: nothing else may be shifted without breaking the symmetry. Loss: mean
    squared error of that.

    Args:
        config: the configuration.
        arrays: the data.
    """

    name = "arrays"
    headline = "mse"
    notes = (NOTE,)

    def __init__(self, config: ArraysConfig, arrays: Arrays) -> None:
        self.config = config
        self.arrays = arrays
        described = arrays.description
        column = described.columns[described.target]
        self.pooled = column.each == "sample"
        self.rep_out = arrays.irreps[described.target]
        rep_in = Irreps(" + ".join(str(arrays.irreps[name]) for name in self._feature_names()))
        pairs = sum(arrays.values[name].shape[-1] for name in arrays.features("pair"))
        self.signature = PointClouds(rep_in, self.rep_out, pairs, described.pool if self.pooled else None, arrays.mask.shape[1])
        symmetry = self.signature.symmetry(parse(described.group) * S(), "approximate")
        self.symmetry = with_targets(symmetry, {"target": (self.rep_out, Trivial() if self.pooled else Permuted(1))})
        unit = column.unit or "1"
        self.units = {"mse": f"({unit})^2", "mae": unit}
        self.indices = _split(config, arrays)

    @cached_property
    def splits(self) -> Splits:
        """Train, validation and test samples in float32."""
        everything = self._tensors()
        return Splits(*(Samples({name: x[indices] for name, x in everything.items()}).to(torch.float32) for indices in self.indices))

    @cached_property
    def shift(self) -> Float[Tensor, "d"]:
        """Mean of the scalars of the training targets, 0 for all else (float64)."""
        mean = self._train_rows().mean(0)
        return torch.cat([mean[part] * float(invariant) for part, _, invariant in self._parts()])

    @cached_property
    def scale(self) -> Float[Tensor, "d"]:
        """Root mean square of the training targets after the shift, one for each copy of an irrep; 1 where there is nothing (float64)."""
        rows = self._train_rows() - self.shift
        powers = [
            rearrange(rows[:, part], "row (mul m) -> mul m row", mul=mul).square().mean((1, 2), keepdim=True)
            for part, mul, _ in self._parts()
        ]
        spread = [
            power.sqrt().expand(-1, (part.stop - part.start) // mul, 1).flatten()
            for power, (part, mul, _) in zip(powers, self._parts(), strict=True)
        ]
        scale = torch.cat(spread)
        return torch.where(scale > 0, scale, 1.0)

    def loss(self, output: Float[Tensor, "*lead d"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean squared error in multiples of `scale`."""
        wanted = (batch["target"] - self.shift.to(output)) / self.scale.to(output)
        return self._rows(batch, (output - wanted).square()).mean()

    def metrics(self, output: Float[Tensor, "*lead d"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Mean squared and mean absolute error over components and real points, in the unit of the target."""
        error = output * self.scale.to(output) + self.shift.to(output) - batch["target"]
        figures = {"mse": error.square().mean(-1), "mae": error.abs().mean(-1)}
        if self.pooled:
            return figures
        real = self._real(batch)
        return {name: (values * real).sum(1) / real.sum(1) for name, values in figures.items()}

    def baselines(self) -> dict[str, dict[str, float]]:
        """The mean over the training samples, and a least-squares linear map (of the means over points where the output is pooled)."""
        train, test = (samples.to(torch.float64).take(slice(None)) for samples in (self.splits.train, self.splits.test))
        wanted = self._rows(train, train["target"])
        coefficients = torch.linalg.lstsq(self._linear(train), wanted, driver="gelsd").solution
        linear = torch.zeros_like(test["target"])
        linear[self._real(test)] = self._linear(test) @ coefficients
        predictions = {"mean": wanted.mean(0).expand_as(linear), "least-squares linear": linear}
        return {name: self._figures(prediction, test) for name, prediction in predictions.items()}

    def _figures(self, prediction: Float[Tensor, "*lead d"], batch: Mapping[str, Tensor]) -> dict[str, float]:
        metrics = self.metrics((prediction - self.shift) / self.scale, batch)
        return {name: float(values.mean()) for name, values in metrics.items()}

    def _feature_names(self) -> list[str]:
        """Columns that a point is fed: its own, then its sample's."""
        return [*self.arrays.features("point"), *self.arrays.features("sample")]

    def _tensors(self) -> dict[str, Tensor]:
        values, mask = self.arrays.values, self.arrays.mask
        samples, points = mask.shape
        columns = [values[name] if values[name].ndim == 3 else values[name][:, None] for name in self._feature_names()]
        spread = [np.broadcast_to(column, (samples, points, column.shape[-1])) for column in columns]
        arrays = {"positions": values[self.arrays.positions], "target": values[self.arrays.description.target]}
        if spread:
            arrays["features"] = np.concatenate(spread, -1)
        if pairs := [values[name] for name in self.arrays.features("pair")]:
            arrays["edge_features"] = np.concatenate(pairs, -1)
        if not mask.all():
            arrays["mask"] = mask
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _parts(self) -> list[tuple[slice, int, bool]]:
        """Where each term of the target's irreps lies, how many copies it has, and whether it is invariant."""
        return [(part, term.mul, str(term.irrep) == "0e") for part, term in zip(self.rep_out.slices(), self.rep_out, strict=True)]

    def _train_rows(self) -> Float[Tensor, "rows d"]:
        train = self.splits.train.to(torch.float64).take(slice(None))
        return self._rows(train, train["target"])

    def _real(self, batch: Mapping[str, Tensor]) -> Bool[Tensor, "*lead"]:
        """The places of the target that count."""
        lead = batch["target"].shape[:-1]
        return batch["mask"] if "mask" in batch and not self.pooled else torch.ones(lead, dtype=torch.bool, device=batch["target"].device)

    def _rows(self, batch: Mapping[str, Tensor], values: Float[Tensor, "*lead d"]) -> Float[Tensor, "rows d"]:
        return values[self._real(batch)]

    def _linear(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "rows k"]:
        """What a linear map is fed: one, and features and position from the centre, or the mean features of a sample."""
        positions = batch["positions"]
        mask = batch.get("mask", torch.ones(positions.shape[:2], dtype=torch.bool)).unsqueeze(-1)
        features = batch.get("features", positions[..., :0])
        if self.pooled:
            rows = (features * mask).sum(1) / mask.sum(1)
        else:
            centre = (positions * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
            rows = self._rows(batch, torch.cat([features, positions - centre], -1))
        return torch.cat([rows, rows.new_ones(len(rows), 1)], -1)


def _split(config: ArraysConfig, arrays: Arrays) -> tuple[Int[Tensor, "train"], Int[Tensor, "valid"], Int[Tensor, "test"]]:
    """Indices of the three splits; test and validation do not depend on the size of the training set."""
    settings, samples = arrays.description.splits, len(arrays.mask)
    if arrays.folds is not None:
        train, valid, test = (torch.from_numpy(np.flatnonzero(arrays.folds == word)) for word in SPLITS)
    else:
        sizes = {"valid": settings.valid, "test": settings.test}
        valid_size, test_size = (samples // 10 if size is None else size for size in sizes.values())
        if valid_size < 1 or test_size < 1 or valid_size + test_size >= samples:
            raise DataError(
                f"{samples} samples cannot be split into {valid_size} for validation, {test_size} for testing and the rest for training"
            )
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(settings.seed))
        test, valid, train = order[:test_size], order[test_size : test_size + valid_size], order[test_size + valid_size :]
    if config.train_size is not None and not 1 <= config.train_size <= len(train):
        raise ConfigError(f"train_size is {config.train_size}: give 1 to {len(train)}")
    return train[: config.train_size], valid, test
