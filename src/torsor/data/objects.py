"""Objects as clouds of points on their surfaces, with their classes: simulated, from meshes, or scanned.

A local folder may hold

- `geometric_shapes/raw.zip`: forty meshes, one a class, as `raw/CLASS/train/*.off` and `raw/CLASS/test/*.off`;
- `ModelNet40/CLASS/train/*.off` and `ModelNet40/CLASS/test/*.off` (Wu et al.: 3D ShapeNets, 2015), as it unpacks;
- `scanobjectnn/train.npz` and `scanobjectnn/test.npz` (or `.safetensors`) with `data [m, p, 3]` and `label [m]`: the scans of ScanObjectNN
  (Uy et al. 2019), which one gets from its authors after signing their terms. They come as HDF5; once and for all, with h5py:

      with h5py.File("training_objectdataset.h5") as file:
          np.savez("train.npz", data=file["data"][:], label=file["label"][:])

Meshes and scans are turned so that up is z (`UP`).

Axes: m objects, n points of each, p points of a scan.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from torsor.data.archives import read_npz, require_finite, require_folder
from torsor.data.meshes import parse_off, sample_surface
from torsor.data.shapes import CLASSES, draw_objects
from torsor.errors import DataError

Source = Literal["synthetic", "geometric-shapes", "modelnet40", "scanobjectnn"]
Split = Literal["train", "test"]
SCANNED = ("bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink", "sofa", "toilet")
"""The classes of ScanObjectNN in the order of their labels."""
UP: dict[str, int] = {"synthetic": 2, "geometric-shapes": 2, "modelnet40": 2, "scanobjectnn": 1}
"""The axis that points up in each source as it is published."""
MAX_MEGABYTES = 64
"""A mesh in an archive that claims to be larger is refused before it is unpacked."""


class Objects(NamedTuple):
    """Clouds of points with classes.

    Args:
        clouds: points on the surfaces, z up, in whatever unit the source has (float64).
        labels: places in `classes`.
        classes: names of the classes.
    """

    clouds: Float[Tensor, "m n 3"]
    labels: Int[Tensor, "m"]
    classes: tuple[str, ...]


def read_objects(
    source: Source, split: Split, count: int | None, points: int, generator: torch.Generator, folder: str | None = None
) -> Objects:
    """The first `count` objects of a source, in an order that depends on the generator alone.

    Args:
        source: where they come from.
        split: the source's own division; "synthetic" has none, and draws.
        count: objects; all that the source has if not given ("synthetic" has any number).
        points: points drawn from each.
        generator: where the order and the points come from.
        folder: folder of data sets; the variable TORSOR_DATA if not given.

    Raises:
        DataError: files are missing or damaged, or there are fewer objects or points.
    """
    if source == "synthetic":
        if count is None:
            raise DataError("the synthetic source has any number of objects: say how many")
        return Objects(*draw_objects(count, points, generator), tuple(CLASSES))
    found = _READERS[source](require_folder(folder, f"the source {source!r}"), split, count, points, generator)
    if count is not None and len(found.labels) < count:
        raise DataError(f"{count} {split} objects of {source} were asked for and there are {len(found.labels)}: ask for less")
    clouds = found.clouds.roll(2 - UP[source], -1)  # a cyclic change of axes is a rotation
    return found._replace(clouds=clouds)


def _geometric_shapes(folder: Path, split: Split, count: int | None, points: int, generator: torch.Generator) -> Objects:
    """One mesh a class; as many objects as are asked for, each with points of its own."""
    path = folder / "geometric_shapes" / "raw.zip"
    meshes = dict(_zipped_meshes(path, split))
    if not meshes:
        raise DataError(f"{path} holds no raw/CLASS/{split}/*.off")
    classes = tuple(sorted(meshes))
    parsed = [parse_off(meshes[name], f"{path}: {name}") for name in classes]
    clouds: list[Tensor] = []
    labels: list[int] = []
    while len(labels) < (len(classes) if count is None else count):
        order = torch.randperm(len(classes), generator=generator).tolist()
        clouds += [sample_surface(parsed[k].vertices.unsqueeze(0), parsed[k].faces, points, generator) for k in order]
        labels += order
    return Objects(torch.cat(clouds)[:count], torch.tensor(labels)[:count], classes)


def _zipped_meshes(path: Path, split: Split) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                parts = PurePosixPath(member.filename).parts
                if len(parts) == 4 and parts[2] == split and parts[3].endswith(".off"):
                    if member.file_size > MAX_MEGABYTES * 2**20:
                        raise DataError(f"{path}: {member.filename} is larger than {MAX_MEGABYTES} MB")
                    yield parts[1], archive.read(member).decode("ascii", errors="replace")
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as fault:
        raise DataError(f"{path} cannot be unpacked: {fault}") from fault


def _modelnet40(folder: Path, split: Split, count: int | None, points: int, generator: torch.Generator) -> Objects:
    """Meshes of a folder with a folder for each class."""
    root = folder / "ModelNet40"
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir())) if root.is_dir() else ()
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((root / name / split).glob("*.off"))]
    if not files:
        raise DataError(f"{root} holds no CLASS/{split}/*.off")
    chosen = [files[place] for place in torch.randperm(len(files), generator=generator).tolist()[:count]]
    clouds = []
    for path, _ in chosen:
        mesh = parse_off(path.read_text(encoding="ascii", errors="replace"), str(path))
        clouds.append(sample_surface(mesh.vertices.unsqueeze(0), mesh.faces, points, generator))
    return Objects(torch.cat(clouds), torch.tensor([label for _, label in chosen]), classes)


def _scanobjectnn(folder: Path, split: Split, count: int | None, points: int, generator: torch.Generator) -> Objects:
    """Scans, each with some of its points."""
    data, label, where = _scans(folder / "scanobjectnn", split)
    if data.ndim != 3 or data.shape[-1] != 3 or label.numel() != len(data):
        raise DataError(f"{where} holds data {list(data.shape)} and label {list(label.shape)}: give [m, p, 3] and [m]")
    if label.min() < 0 or label.max() >= len(SCANNED):
        raise DataError(f"{where} has labels from {int(label.min())} to {int(label.max())}: ScanObjectNN has 0 to {len(SCANNED) - 1}")
    if data.shape[1] < points:
        raise DataError(f"{where} has {data.shape[1]} points of each object: ask for no more than that, not {points}")
    order = torch.randperm(len(data), generator=generator)[:count]
    places = torch.rand(len(data), data.shape[1], generator=generator).argsort(1)[: len(order), :points]
    return Objects(data[order].take_along_dim(places.unsqueeze(-1), 1), label.flatten()[order], SCANNED)


def _scans(folder: Path, split: Split) -> tuple[Tensor, Tensor, Path]:
    safe, npz = folder / f"{split}.safetensors", folder / f"{split}.npz"
    if safe.is_file():
        try:
            tensors = load_file(safe)
        except (SafetensorError, OSError) as fault:
            raise DataError(f"{safe} cannot be read as safetensors: {fault}") from fault
        missing = {"data", "label"} - set(tensors)
        if missing:
            raise DataError(f"{safe} lacks {', '.join(sorted(missing))}: it needs data and label")
        arrays, path = {name: tensors[name].numpy() for name in ("data", "label")}, safe
    else:
        arrays, path = read_npz(npz, ["data", "label"]), npz
    for name, array in arrays.items():
        require_finite(name, array, str(path))
    return torch.from_numpy(arrays["data"]).double(), torch.from_numpy(arrays["label"]).long(), path


_READERS: dict[str, Callable[[Path, Split, int | None, int, torch.Generator], Objects]] = {
    "geometric-shapes": _geometric_shapes,
    "modelnet40": _modelnet40,
    "scanobjectnn": _scanobjectnn,
}
