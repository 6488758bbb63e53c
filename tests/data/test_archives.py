from pathlib import Path

import numpy as np
import pytest

from torsor.data.archives import data_folder, read_npz, require_finite, require_folder
from torsor.errors import DataError


def test_named_arrays_are_read_and_others_left(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.zeros(2))
    assert set(read_npz(tmp_path / "a.npz")) == {"x", "y"}
    assert read_npz(tmp_path / "a.npz", ["x"])["x"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="has no array 'z': it has x, y"):
        read_npz(tmp_path / "a.npz", ["z"])


def test_single_arrays_and_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match="is a single array"):
        read_npz(tmp_path / "a.npy")
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"cannot be read as \.npz: Object arrays cannot be loaded"):
        read_npz(tmp_path / "objects.npz")
    with pytest.raises(DataError, match="no file"):
        read_npz(tmp_path / "none.npz")


def test_numbers_that_are_not_finite_are_counted_and_placed() -> None:
    array = np.zeros((3, 2))
    require_finite("x", array, "here")
    array[1, 1], array[2, 0] = np.inf, np.nan
    with pytest.raises(DataError, match=r"'x' of here has 2 values that are not finite, the first at \[1, 1\]"):
        require_finite("x", array, "here")
    with pytest.raises(DataError, match="'x' of here holds str32, not numbers"):
        require_finite("x", np.array(["a"]), "here")


def test_folder_comes_from_the_setting_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORSOR_DATA", raising=False)
    assert data_folder(None) is None
    with pytest.raises(DataError, match="QM7 is read from a local folder: give the setting 'folder', or the variable TORSOR_DATA"):
        require_folder(None, "QM7")
    monkeypatch.setenv("TORSOR_DATA", str(tmp_path))
    assert data_folder(None) == tmp_path
    (tmp_path / "other").mkdir()
    assert data_folder(str(tmp_path / "other")) == tmp_path / "other"
    with pytest.raises(DataError, match="no folder"):
        data_folder(str(tmp_path / "none"))
