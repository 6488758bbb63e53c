from pathlib import Path

import numpy as np
import pytest
import torch

from torsor.data.molecules import Molecules
from torsor.data.rmd17 import RMD17, SHIPPED, read_md17, read_rmd17, read_safetensors, read_shipped
from torsor.errors import DataError, UnknownNameError


def equal(a: Molecules, b: Molecules, forces_to: float = 0.0) -> None:
    assert torch.equal(a.numbers, b.numbers)
    assert torch.equal(a.positions, b.positions)
    assert torch.equal(a["energy"], b["energy"])
    torch.testing.assert_close(a["forces"], b["forces"], rtol=forces_to, atol=0)


def original_layout(folder: Path, frames: int = 40) -> dict[str, np.ndarray]:
    """A small archive laid out like the published one."""
    rng = np.random.default_rng(7)
    arrays = {
        "nuclear_charges": np.array([6, 8, 1], dtype=np.uint8),
        "coords": rng.normal(size=(frames, 3, 3)),
        "energies": rng.normal(size=frames) - 1e5,
        "forces": rng.normal(size=(frames, 3, 3)),
    }
    (folder / "rmd17" / "npz_data").mkdir(parents=True)
    (folder / "rmd17" / "splits").mkdir()
    np.savez(folder / "rmd17" / "npz_data" / "rmd17_uracil.npz", **arrays)
    order = rng.permutation(frames)
    for part, indices in (("train", order[:10]), ("test", order[10:30])):
        (folder / "rmd17" / "splits" / f"index_{part}_03.csv").write_text("".join(f"{i}\n" for i in indices))
    return arrays | {"train": order[:10], "test": order[10:30]}


def test_shipped_ethanol_is_the_official_split(shared_data: Path) -> None:
    for shipped, published in zip(read_shipped(), read_rmd17("ethanol", 1, shared_data), strict=True):
        equal(shipped, published)
        assert len(shipped) == 1000


def test_shipped_ethanol_holds_a_consistent_molecule() -> None:
    for molecules in read_rmd17("ethanol", 1):
        assert molecules.numbers[0].tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1]
        assert molecules.units == {"energy": "kcal/mol", "forces": "kcal/mol/angstrom"}
        # forces of a free molecule: no net force and no net torque
        assert molecules["forces"].sum(1).abs().max() < 1e-2
        assert torch.linalg.cross(molecules.positions, molecules["forces"]).sum(1).abs().max() < 0.1
        bond = torch.linalg.vector_norm(molecules.positions[:, 0] - molecules.positions[:, 1], dim=-1)
        assert 1.3 < float(bond.min()) < float(bond.max()) < 1.8


def test_shipped_training_and_test_frames_are_different_frames() -> None:
    train, test = read_shipped()
    distance = torch.cdist(train.positions.flatten(1), test.positions.flatten(1))
    assert distance.min() > 1e-6


def test_original_archive_layout_is_read_by_the_official_indices(tmp_path: Path) -> None:
    arrays = original_layout(tmp_path)
    for part, molecules in zip(("train", "test"), read_rmd17("uracil", 3, tmp_path), strict=True):
        np.testing.assert_array_equal(molecules.positions.numpy(), arrays["coords"][arrays[part]])
        np.testing.assert_array_equal(molecules["energy"].numpy(), arrays["energies"][arrays[part]])
        np.testing.assert_array_equal(molecules["forces"].numpy(), arrays["forces"][arrays[part]])


def test_repacked_split_holds_all_ten_molecules(shared_data: Path) -> None:
    for name in RMD17:
        train, test = read_rmd17(name, 1, shared_data)
        assert (len(train), len(test)) == (1000, 1000)
        assert train["forces"].sum(1).abs().max() < 1


def test_md17_window_is_known_to_be_one(shared_data: Path, tmp_path: Path) -> None:
    molecules, whole = read_md17("ethanol", shared_data)
    assert (len(molecules), whole) == (2000, False)
    (tmp_path / "md17").mkdir()
    few = {"R": molecules.positions[:3], "E": molecules["energy"][:3, None], "F": molecules["forces"][:3], "z": molecules.numbers[0]}
    np.savez(tmp_path / "md17" / "md17_ethanol.npz", **{name: value.numpy() for name, value in few.items()})
    again, whole = read_md17("ethanol", tmp_path)
    assert whole
    equal(again, molecules.take(torch.arange(3)))


def test_unknown_molecules_splits_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ethanol'"):
        read_rmd17("ethanal", 1)
    with pytest.raises(DataError, match="split is 6: rMD17 has the official splits 1 to 5"):
        read_rmd17("ethanol", 6)
    with pytest.raises(DataError, match="only split 1 of ethanol comes with torsor"):
        read_rmd17("aspirin", 1)
    with pytest.raises(DataError, match=r"no rMD17 in .* it has neither rmd17/npz_data/rmd17_aspirin.npz nor rmd17/rmd17_split01.npz"):
        read_rmd17("aspirin", 1, tmp_path)
    with pytest.raises(DataError, match="no MD17 ethanol in"):
        read_md17("ethanol", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coords": np.zeros((40, 4, 3))}, "positions .40, 4, 3.* do not belong together"),
        ({"energies": np.full(40, np.nan)}, r"'energies' of .* has 40 values that are not finite, the first at \[0\]"),
        ({"coords": np.array(["x"] * 40)}, "holds str32, not numbers"),
        ({"forces": None}, "has no array 'forces': it has coords, energies, nuclear_charges"),
    ],
)
def test_damaged_arrays_are_named_in_one_line(tmp_path: Path, change: dict, message: str) -> None:
    arrays = original_layout(tmp_path)
    arrays = {name: arrays[name] for name in ("nuclear_charges", "coords", "energies", "forces")} | change
    np.savez(tmp_path / "rmd17" / "npz_data" / "rmd17_uracil.npz", **{name: a for name, a in arrays.items() if a is not None})
    with pytest.raises(DataError, match=message) as caught:
        read_rmd17("uracil", 3, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("1\nx\n", "not a column of frame numbers"), ("1\n40\n", "outside 0 to 39"), ("", "outside")]
)
def test_damaged_split_is_named(tmp_path: Path, text: str, message: str) -> None:
    original_layout(tmp_path)
    (tmp_path / "rmd17" / "splits" / "index_test_03.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_rmd17("uracil", 3, tmp_path)
    (tmp_path / "rmd17" / "splits" / "index_test_03.csv").unlink()
    with pytest.raises(DataError, match="no file"):
        read_rmd17("uracil", 3, tmp_path)


def test_truncated_archive_and_pickled_objects_are_refused(tmp_path: Path) -> None:
    original_layout(tmp_path)
    path = tmp_path / "rmd17" / "npz_data" / "rmd17_uracil.npz"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not an archive", b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be read as \.npz"):
            read_rmd17("uracil", 3, tmp_path)
    np.savez(path, **{name: np.array([{}]) for name in ("nuclear_charges", "coords", "energies", "forces")})
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        read_rmd17("uracil", 3, tmp_path)


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / SHIPPED).write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_safetensors(tmp_path / SHIPPED)
    with pytest.raises(DataError, match="no file"):
        read_safetensors(tmp_path / "none")
