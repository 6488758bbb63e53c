import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from torsor.data.objects import SCANNED, read_objects
from torsor.errors import DataError

TRIANGLE = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 0 {height}\n3 0 1 2\n"


def seeded(seed: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def modelnet(tmp_path: Path) -> str:
    for label, name in enumerate(("chair", "airplane")):
        for split, count in (("train", 5), ("test", 2)):
            folder = tmp_path / "ModelNet40" / name / split
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{name}_{i}.off").write_text(TRIANGLE.format(height=1 + label + 10 * i))
    return str(tmp_path)


@pytest.fixture
def scans(tmp_path: Path) -> str:
    folder = tmp_path / "scanobjectnn"
    folder.mkdir()
    data = torch.arange(6 * 20 * 3).reshape(6, 20, 3).float()
    np.savez(folder / "train.npz", data=data.numpy(), label=np.array([0, 1, 2, 3, 4, 14], dtype=np.int32))
    save_file({"data": data[:2].contiguous(), "label": torch.tensor([4, 14])}, folder / "test.safetensors")
    return str(tmp_path)


def test_folders_of_meshes_are_read_with_their_classes_in_alphabetical_order(modelnet: str) -> None:
    found = read_objects("modelnet40", "train", None, 8, seeded(), modelnet)
    assert found.classes == ("airplane", "chair")
    assert found.labels.bincount().tolist() == [5, 5]
    # triangles in the x-z plane, chairs of height 1, 11, ...
    assert (found.clouds[..., 1] == 0).all()
    few = read_objects("modelnet40", "train", 3, 8, seeded(), modelnet)
    assert torch.equal(few.clouds, found.clouds[:3])
    with pytest.raises(DataError, match="5 test objects of modelnet40 were asked for and there are 4"):
        read_objects("modelnet40", "test", 5, 8, seeded(), modelnet)


def test_scans_are_turned_upright_and_give_some_of_their_points(scans: str) -> None:
    found = read_objects("scanobjectnn", "train", 4, 10, seeded(), scans)
    assert found.classes == SCANNED
    assert len(SCANNED) == 15
    # row i of object m is (60 m + 3 i) + (0, 1, 2) as published, with y up
    assert (found.clouds[..., 2] % 3 == 1).all()
    assert (found.clouds[..., 0] % 3 == 2).all()
    rows = found.clouds[..., 1] // 3
    objects = rows // 20
    assert (objects == objects[:, :1]).all()
    assert torch.equal(objects[:, 0].long(), torch.tensor([{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 14: 5}[k] for k in found.labels.tolist()]))
    assert all(len(row.unique()) == 10 for row in rows)
    assert sorted(read_objects("scanobjectnn", "test", None, 10, seeded(), scans).labels.tolist()) == [4, 14]


@pytest.mark.parametrize(
    ("data", "label", "message"),
    [
        (np.zeros((2, 20, 2)), np.zeros(2), r"data \[2, 20, 2\] and label \[2\]: give"),
        (np.zeros((2, 20, 3)), np.zeros(3), r"label \[3\]: give"),
        (np.zeros((2, 5, 3)), np.zeros(2), "has 5 points of each object"),
        (np.zeros((2, 20, 3)), np.array([0, 15]), "has labels from 0 to 15: ScanObjectNN has 0 to 14"),
        (np.full((2, 20, 3), np.nan), np.zeros(2), "values that are not finite"),
    ],
)
def test_scans_that_are_none_are_named(tmp_path: Path, data: np.ndarray, label: np.ndarray, message: str) -> None:
    (tmp_path / "scanobjectnn").mkdir()
    np.savez(tmp_path / "scanobjectnn" / "train.npz", data=data, label=label)
    with pytest.raises(DataError, match=message):
        read_objects("scanobjectnn", "train", None, 10, seeded(), str(tmp_path))


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    for source, message in (("modelnet40", "holds no CLASS/train"), ("scanobjectnn", "no file"), ("geometric-shapes", "no file")):
        with pytest.raises(DataError, match=message):
            read_objects(source, "train", None, 8, seeded(), str(tmp_path))
    (tmp_path / "geometric_shapes").mkdir()
    (tmp_path / "geometric_shapes" / "raw.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_objects("geometric-shapes", "train", None, 8, seeded(), str(tmp_path))
    with zipfile.ZipFile(tmp_path / "geometric_shapes" / "raw.zip", "w") as archive:
        archive.writestr("raw/cube/other/cube.off", TRIANGLE.format(height=1))
    with pytest.raises(DataError, match="holds no raw/CLASS/train"):
        read_objects("geometric-shapes", "train", None, 8, seeded(), str(tmp_path))
    (tmp_path / "scanobjectnn").mkdir()
    (tmp_path / "scanobjectnn" / "train.safetensors").write_bytes(b"none")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_objects("scanobjectnn", "train", None, 8, seeded(), str(tmp_path))
    with pytest.raises(DataError, match="any number of objects: say how many"):
        read_objects("synthetic", "train", None, 8, seeded())


def test_forty_published_meshes_give_as_many_objects_as_are_asked_for(shared_data: Path) -> None:
    many, few = (read_objects("geometric-shapes", "train", count, 32, seeded(), str(shared_data)) for count in (100, 50))
    assert len(many.classes) == 40
    assert many.labels[:80].bincount().tolist() == [2] * 40
    assert torch.equal(few.clouds, many.clouds[:50])
    flat = many.clouds[many.labels == many.classes.index("2d_circle")]
    assert (flat[..., 2] - flat[0, 0, 2]).abs().max() < 1e-9
    assert not torch.equal(flat[0], flat[1])
    solid = many.clouds[many.labels == many.classes.index("3d_cube")]
    assert torch.linalg.eigvalsh(solid[0].T.cov())[0] > 0.1 * torch.linalg.eigvalsh(solid[0].T.cov())[2]
