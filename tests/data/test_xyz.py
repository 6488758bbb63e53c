from pathlib import Path

import numpy as np
import pytest
import torch

from torsor.data.molecules import SYMBOLS
from torsor.data.xyz import read_ase, read_xyz
from torsor.errors import DataError

WATER = """3
Properties=species:S:1:pos:R:3:charge:R:1:forces:R:3 energy=-14.5 name="a water" pbc="F F F"
O 0.0 0.0 0.1 -0.8 0.1 0.2 0.3
H 0.0 0.8 -0.5 0.4 0.0 -0.1 -0.2
H 0.0 -0.8 -0.5 0.4 -0.1 -0.1 -0.1
"""
HYDROGEN = """2
Properties=species:S:1:pos:R:3:charge:R:1:forces:R:3 energy=-1e0
H 0 0 0 0 1 0 0
H 0 0 0.74 0 -1 0 0
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "molecules.xyz"
    path.write_text(text)
    return path


def test_frames_of_different_sizes_are_padded(tmp_path: Path) -> None:
    molecules = read_xyz(write(tmp_path, WATER + "\n" + HYDROGEN), ("energy",), ("forces",))
    assert molecules.numbers.tolist() == [[8, 1, 1], [1, 1, 0]]
    assert molecules["energy"].tolist() == [-14.5, -1.0]
    assert molecules["forces"][0, 2].tolist() == [-0.1, -0.1, -0.1]
    assert molecules["forces"][1].tolist() == [[1, 0, 0], [-1, 0, 0], [0, 0, 0]]
    assert molecules.mask.tolist() == [[True, True, True], [True, True, False]]


def test_plain_xyz_needs_no_properties(tmp_path: Path) -> None:
    molecules = read_xyz(write(tmp_path, "1\ndipole=1.5\nHe 1 2 3\n"), ("dipole",))
    assert molecules.positions.tolist() == [[[1, 2, 3]]]
    assert molecules["dipole"].tolist() == [1.5]


def test_reader_agrees_with_ase_on_what_ase_writes(tmp_path: Path) -> None:
    ase, io = pytest.importorskip("ase"), pytest.importorskip("ase.io")
    from ase.calculators.singlepoint import SinglePointCalculator

    rng = np.random.default_rng(3)
    molecules = []
    for n in (2, 5, 4):
        atoms = ase.Atoms(numbers=rng.integers(1, 30, size=n), positions=rng.normal(size=(n, 3)))
        atoms.calc = SinglePointCalculator(atoms, energy=float(rng.normal()), forces=rng.normal(size=(n, 3)))
        molecules.append(atoms)
    io.write(tmp_path / "ase.xyz", molecules, format="extxyz")
    ours = read_xyz(tmp_path / "ase.xyz", ("energy",), ("forces",))
    for i, atoms in enumerate(molecules):
        n = len(atoms)
        assert ours.numbers[i, :n].tolist() == atoms.numbers.tolist()
        np.testing.assert_allclose(ours.positions[i, :n], atoms.positions, atol=1e-8)
        np.testing.assert_allclose(ours["forces"][i, :n], atoms.get_forces(), atol=1e-8)
        assert ours["energy"][i] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)


def test_ase_database_gives_the_same_molecules(tmp_path: Path) -> None:
    ase, db = pytest.importorskip("ase"), pytest.importorskip("ase.db")
    from ase.calculators.singlepoint import SinglePointCalculator

    path = tmp_path / "molecules.db"
    atoms = ase.Atoms("OH2", positions=[[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5]])
    atoms.calc = SinglePointCalculator(atoms, energy=-14.5, forces=np.arange(9.0).reshape(3, 3))
    with db.connect(str(path)) as database:
        database.write(atoms, gap=0.3)
    molecules = read_ase(path, ("energy", "gap"), ("forces",))
    assert molecules.numbers.tolist() == [[8, 1, 1]]
    assert (molecules["energy"].item(), molecules["gap"].item()) == (-14.5, 0.3)
    torch.testing.assert_close(molecules["forces"], torch.arange(9.0, dtype=torch.float64).reshape(1, 3, 3))
    with pytest.raises(DataError, match="molecule 1 has no 'mu': it has energy"):
        read_ase(path, ("energy", "mu"))
    path.write_bytes(b"damaged" * 100)
    with pytest.raises(DataError, match="cannot be read as an ASE database"):
        read_ase(path)
    with pytest.raises(DataError, match="no file"):
        read_ase(tmp_path / "none.db")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no molecule"),
        ("x\n", "line 1: 'x' is not a number of atoms"),
        (WATER + "0\n\n", "line 6: '0' is not a number of atoms"),
        (WATER + HYDROGEN.rsplit("\n", 2)[0], "line 6: 2 atoms are announced and the file ends after 1"),
        (WATER.replace('pbc="F F F"', 'pbc="T T F"'), "line 2: the cell is periodic"),
        (WATER.replace('pbc="F F F"', 'Lattice="9 0 0 0 9 0 0 0 9"'), "the cell is periodic"),
        (WATER.replace("O 0.0", "Q 0.0"), "'Q' is not an element"),
        (WATER.replace("0.0 0.0 0.1 -0.8", "0.0 0.0 0.1"), "atom 1 has 7 columns, 8 are needed"),
        (WATER.replace("0.0 0.8", "0.0 zero"), "column pos: could not convert"),
        (WATER.replace("0.0 0.8", "0.0 nan"), "'positions' of .* has 1 values that are not finite"),
        (WATER.replace("energy=-14.5", ""), "molecule 1 has no 'energy': it has forces"),
        (WATER.replace("forces:R:3", "velo:R:3"), "molecule 1 has no 'forces': it has energy, velo"),
        (WATER.replace("forces:R:3", "forces:R"), "is not made of name:type:width"),
        (WATER.replace("pos:R:3", "place:R:3"), "names no pos:R:3"),
    ],
)
def test_broken_files_are_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_xyz(write(tmp_path, text), ("energy",), ("forces",))
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_xyz(tmp_path / "none.xyz")
    (tmp_path / "binary.xyz").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as text"):
        read_xyz(tmp_path / "binary.xyz")


def test_symbols_stand_at_their_atomic_numbers() -> None:
    assert len(SYMBOLS) == 118
    assert [SYMBOLS.index(name) + 1 for name in ("H", "C", "Fe", "Xe", "U", "Og")] == [1, 6, 26, 54, 92, 118]
