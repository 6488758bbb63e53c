"""The user's own arrays: an `.npz` or `.parquet` file, and a TOML file that says what its columns are.

```toml
data = "spins.npz"          # beside this file; a column of a parquet file may hold nested lists
target = "torque"           # the column to predict
group = "E(3)"              # what the problem is believed to be symmetric under: E(3), SE(3), O(3) or SO(3)
pool = "mean"               # how points make one output of a sample, "mean" or "sum"; only for a target with each = "sample"
mask = "present"            # a column of true and false [s, n] that marks real points; leave it out where all are

[columns.site]
acts = "point"              # positions [s, n, 3]: exactly one column

[columns.spin]
acts = "vector"             # [s, n, 3]

[columns.species]
acts = "scalar"             # [s, n] or [s, n, c]

[columns.quadrupole]
acts = "1x2e"               # any irreps, [s, n, dim]

[columns.field]
acts = "vector"
each = "sample"             # one a sample, [s, 3]; it is given to every point

[columns.coupling]
acts = "scalar"
each = "pair"               # [s, n, n] or [s, n, n, c]

[columns.torque]
acts = "1x1e"
unit = "meV"

[splits]
seed = 0                    # a tenth each for validation and testing, drawn by the seed; or numbers of samples,
valid = 100
test = 100                  # or column = "fold", a column of the words train, valid and test
```

Axes: s samples, n points, c channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from torsor.config import from_mapping, read_toml
from torsor.data.archives import read_npz, require_finite
from torsor.errors import ConfigError, DataError, TorsorError, missing_dependency, unknown_name
from torsor.representations import Irreps

Each = Literal["point", "sample", "pair"]
SHAPES: dict[str, str] = {"point": "s, n", "sample": "s", "pair": "s, n, n"}
GROUPS = ("E(3)", "SE(3)", "O(3)", "SO(3)")
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Column:
    """What a column is.

    Args:
        acts: how the group moves it: "point" (positions), "vector", "scalar", or irreps as "2x0e + 1x1o".
        each: what has one: each "point", each "sample", or each ordered "pair" of points (scalars only).
        unit: its unit, for tables.
    """

    acts: str
    each: Each = "point"
    unit: str = ""


@dataclass(frozen=True)
class SplitSettings:
    """Which samples are for training, validation and testing.

    Args:
        column: column of the words train, valid and test; everything else is then left out.
        valid: validation samples; a tenth if not given.
        test: test samples; a tenth if not given.
        seed: of the random split.
    """

    column: str | None = None
    valid: int | None = None
    test: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Description:
    """The TOML file: what is in the data file and what to do with it.

    Args:
        data: the data file; a relative path starts at the TOML file.
        target: column to predict.
        columns: what each column is; columns of the file that are not named are not read.
        group: what the problem is believed to be symmetric under.
        pool: how points make one output of a sample.
        mask: column that marks real points.
        splits: which samples are for what.
    """

    data: str
    target: str
    columns: dict[str, Column]
    group: str = "E(3)"
    pool: Literal["mean", "sum"] = "mean"
    mask: str | None = None
    splits: SplitSettings = field(default_factory=SplitSettings)


@dataclass(frozen=True)
class Arrays:
    """A described data file that holds what its description says.

    Args:
        description: the description, with the path of the data file in full.
        values: every named column as float64: `[s, n, dim]` for points, `[s, dim]` for samples, `[s, n, n, dim]` for pairs.
        irreps: how the group acts on each column but the positions.
        mask: real points `[s, n]`.
        folds: word of each sample, where a column gives it.
    """

    description: Description
    values: Mapping[str, NDArray[Any]]
    irreps: Mapping[str, Irreps]
    mask: NDArray[Any]
    folds: NDArray[Any] | None

    @property
    def positions(self) -> str:
        """Name of the column of positions."""
        return next(name for name, column in self.description.columns.items() if column.acts == "point")

    def features(self, each: Each) -> list[str]:
        """Names of the columns, in order, that are inputs and that each "point", "sample" or "pair" has one of."""
        columns = self.description.columns.items()
        return [name for name, c in columns if c.each == each and c.acts != "point" and name != self.description.target]


def read_description(path: Path) -> Description:
    """Read the TOML file.

    Raises:
        ConfigError: it is missing, is not TOML, has a key that it must not have, or contradicts itself.
    """
    description = from_mapping(Description, read_toml(path), path.name)
    data = Path(description.data).expanduser()
    _check(description, path.name)
    return replace(description, data=str(data if data.is_absolute() else path.parent / data))


def read_arrays(description: Description) -> Arrays:
    """Read the data file and hold it against its description.

    Raises:
        DataError: the file is missing or damaged, lacks a column, or a column has the wrong shape or numbers that are not finite.
    """
    path, columns = Path(description.data), description.columns
    extra = [name for name in (description.mask, description.splits.column) if name is not None]
    raw = _read(path, [*columns, *extra])
    irreps = {name: _irreps(name, column) for name, column in columns.items() if column.acts != "point"}
    place = next(name for name, column in columns.items() if column.acts == "point")
    samples, points = _cloud_shape(place, raw[place])
    values = {}
    for name, column in columns.items():
        require_finite(name, raw[name], path.name)
        dim = 3 if column.acts == "point" else None if column.acts == "scalar" else irreps[name].dim
        values[name] = _shaped(name, column, raw[name].astype(np.float64), (samples, points), dim)
        if column.acts == "scalar":
            irreps[name] = Irreps(f"{values[name].shape[-1]}x0e")
    mask = np.ones((samples, points), dtype=bool) if description.mask is None else _mask(description.mask, raw, (samples, points))
    folds = None if description.splits.column is None else _folds(description.splits.column, raw, samples)
    return Arrays(description, values, irreps, mask, folds)


def _check(description: Description, where: str) -> None:
    columns = description.columns
    points = [name for name, column in columns.items() if column.acts == "point"]
    if len(points) != 1:
        found = "no column" if not points else "the columns " + " and ".join(points)
        raise ConfigError(f"{where}: {found} acts as 'point': exactly one has to, the positions; others may be a 'vector'")
    if columns[points[0]].each != "point":
        raise ConfigError(f"{where}: {points[0]} acts as 'point', so each point has one: leave out each = {columns[points[0]].each!r}")
    if description.target not in columns:
        raise unknown_name("target column", description.target, columns)
    if description.target == points[0]:
        raise ConfigError(f"{where}: the target {points[0]} acts as 'point': predict a displacement, a 'vector'")
    if columns[description.target].each == "pair":
        raise ConfigError(f"{where}: the target {description.target} is one each pair: give one each point or each sample")
    if description.group not in GROUPS:
        raise unknown_name("group of points in space", description.group, GROUPS)
    for name, column in columns.items():
        if column.each == "pair" and column.acts != "scalar":
            raise ConfigError(f"{where}: {name} acts as {column.acts!r} and is one each pair: only a 'scalar' may be")


def _irreps(name: str, column: Column) -> Irreps:
    try:
        return Irreps({"vector": "1x1o", "scalar": "1x0e"}.get(column.acts, column.acts))
    except (TorsorError, ValueError) as fault:
        raise ConfigError(f"{name} acts as {column.acts!r}: give 'point', 'vector', 'scalar' or irreps like '2x0e + 1x1o'") from fault


def _read(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    if path.suffix == ".parquet":
        return _read_parquet(path, names)
    if path.suffix != ".npz":
        raise DataError(f"{path} is neither .npz nor .parquet")
    arrays = read_npz(path)
    for name in names:
        if name not in arrays:
            raise DataError(str(unknown_name(f"column of {path.name}", name, arrays)))
    return {name: arrays[name] for name in names}


def _read_parquet(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as fault:
        raise missing_dependency("pyarrow", "tables", "reading parquet") from fault
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        held = pyarrow.parquet.read_schema(path).names
        for name in names:
            if name not in held:
                raise DataError(str(unknown_name(f"column of {path.name}", name, held)))
        table = pyarrow.parquet.read_table(path, columns=names)
    except (pyarrow.ArrowException, OSError) as fault:
        raise DataError(f"{path} cannot be read as parquet: {(str(fault).splitlines() or ['damaged'])[0]}") from fault
    return {name: _nested(name, table.column(name).to_pylist(), path.name) for name in names}


def _nested(name: str, rows: list[Any], where: str) -> NDArray[Any]:
    try:
        array = np.array(rows)
    except ValueError as fault:
        raise DataError(f"{name!r} of {where} has rows of different lengths: pad them, and name a mask") from fault
    if array.dtype == object:
        raise DataError(f"{name!r} of {where} has empty cells, or cells that are no numbers")
    return array


def _cloud_shape(name: str, positions: NDArray[Any]) -> tuple[int, int]:
    if positions.ndim != 3 or positions.shape[-1] != 3:
        raise DataError(f"{name} is {list(positions.shape)} but acts as 'point': give [s, n, 3]")
    if 0 in positions.shape:
        raise DataError(f"{name} is {list(positions.shape)}: there is no sample or no point")
    return positions.shape[0], positions.shape[1]


def _shaped(name: str, column: Column, array: NDArray[Any], cloud: tuple[int, int], dim: int | None) -> NDArray[Any]:
    """The column with its trailing axis, held against the shape that the positions set."""
    lead = {"point": cloud, "sample": cloud[:1], "pair": (*cloud, cloud[1])}[column.each]
    if dim is None and array.shape == lead:
        return array[..., None]
    if array.ndim != len(lead) + 1 or array.shape[:-1] != lead or (dim is not None and array.shape[-1] != dim) or array.shape[-1] == 0:
        axes, last = ", ".join(map(str, lead)), "c" if dim is None else str(dim)
        meaning = f"[{SHAPES[column.each]}, {last}]"
        raise DataError(
            f"{name} is {list(array.shape)} but acts as {column.acts!r} on each {column.each}: give [{axes}, {last}], that is {meaning}"
        )
    return array


def _mask(name: str, raw: Mapping[str, NDArray[Any]], cloud: tuple[int, int]) -> NDArray[Any]:
    mask = raw[name]
    if mask.shape != cloud or mask.dtype != np.bool_:
        raise DataError(f"the mask {name} is {mask.dtype.name} {list(mask.shape)}: give true and false, {list(cloud)}")
    if not mask.any(1).all():
        raise DataError(f"the mask {name} leaves sample {int((~mask.any(1)).argmax())} without a point")
    return mask


def _folds(name: str, raw: Mapping[str, NDArray[Any]], samples: int) -> NDArray[Any]:
    folds = raw[name]
    if folds.shape != (samples,):
        raise DataError(f"the split column {name} is {list(folds.shape)}: give one word a sample, [{samples}]")
    missing = [word for word in SPLITS if not (folds == word).any()]
    if missing:
        raise DataError(f"the split column {name} has no {missing[0]!r}: give the words {', '.join(SPLITS)}")
    return folds
