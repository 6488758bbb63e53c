import lzma
import shutil
from pathlib import Path

import pytest
import torch

from torsor.data.molecules import HARTREE_IN_EV
from torsor.data.qm9 import FREE_ATOMS, PROPERTIES
from torsor.data.qm9_subsets import FOLDER, read_11k, read_all_targets, read_orbitals, read_targets, read_under14
from torsor.errors import DataError

HEADER = "mol_id,mu,alpha,homo,lumo,gap,r2,zpve,u0,u298,h298,g298,cv"


def test_partial_sets_are_chemically_plausible(shared_data: Path) -> None:
    small = read_under14(shared_data)
    assert len(small) == 4015
    assert small.elements == (1, 6, 7, 8, 9)
    assert (small.numbers > 0).sum(1).max() <= 14
    assert (small["U0"] < 0).all()
    large = read_11k(shared_data)
    assert len(large) == 10_994
    assert ((large.numbers > 1).sum(1) == 9).all()
    for molecules in (small, large):
        # no two atoms closer than a short bond
        distance = torch.cdist(molecules.positions, molecules.positions)
        pairs = molecules.mask.unsqueeze(1) & molecules.mask.unsqueeze(2) & ~torch.eye(distance.shape[-1], dtype=torch.bool)
        assert distance[pairs].min() > 0.7


def test_orbitals_are_known_of_some_molecules_and_the_gap_lies_between_them(shared_data: Path) -> None:
    molecules = read_orbitals(shared_data)
    assert len(molecules) == 1335
    torch.testing.assert_close(molecules["gap"], molecules["lumo"] - molecules["homo"], rtol=0, atol=1e-9)
    assert (molecules["gap"] > 1000).all()
    assert molecules.units == dict.fromkeys(("homo", "lumo", "gap"), "meV")


def test_two_sources_agree_on_the_molecules_they_share(shared_data: Path) -> None:
    everything = read_all_targets(shared_data)
    assert len(everything) == 197
    assert set(everything.values) == set(PROPERTIES)
    torch.testing.assert_close(everything["gap"], everything["lumo"] - everything["homo"], rtol=0, atol=3)  # of rounding to 1e-4 Hartree
    orbitals = {
        tuple(x.flatten().tolist()): homo for x, homo in zip(orbitals_positions(shared_data), orbitals_homo(shared_data), strict=True)
    }
    known = {tuple(x.flatten().tolist()): homo for x, homo in zip(everything.positions, everything["homo"].tolist(), strict=True)}
    shared = set(orbitals) & set(known)
    assert len(shared) == 74
    assert max(abs(orbitals[key] - known[key]) for key in shared) < 0.01


def orbitals_positions(folder: Path) -> torch.Tensor:
    return read_orbitals(folder).positions


def orbitals_homo(folder: Path) -> list[float]:
    return read_orbitals(folder)["homo"].tolist()


def test_energies_without_free_atoms_are_the_atomisation_energies_of_the_other_source(shared_data: Path) -> None:
    everything, small = read_all_targets(shared_data), read_under14(shared_data)
    atoms = everything.counts((1, 6, 7, 8, 9)) @ torch.tensor(list(FREE_ATOMS["U0"].values()), dtype=torch.float64)
    energies = {tuple(x.flatten().tolist()): energy for x, energy in zip(small.positions, small["U0"].tolist(), strict=True)}
    theirs = torch.tensor([energies[tuple(x.flatten().tolist())] for x in everything.positions], dtype=torch.float64)
    torch.testing.assert_close(everything["U0"] - atoms, theirs, rtol=0, atol=0.05)


def test_free_atoms_turn_a_table_of_total_energies_into_its_atomisation_energies() -> None:
    # methane of the published table: U0 = -40.47893 Hartree, atomisation energy 395.999595 kcal/mol
    methane = PROPERTIES["U0"].factor * -40.47893 - FREE_ATOMS["U0"][6] - 4 * FREE_ATOMS["U0"][1]
    assert methane == pytest.approx(-395.999595 / 627.509474 * 1000 * HARTREE_IN_EV, rel=1e-5)


def test_damaged_tables_name_the_line(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv.xz"
    with pytest.raises(DataError, match="no file"):
        read_targets(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_targets(path)
    rows = ["gdb_1," + ",".join("1" * 12).replace("1", "0.5"), "gdb_2,0.5"]
    path.write_bytes(lzma.compress("\n".join([HEADER, *rows]).encode()))
    with pytest.raises(DataError, match="line 3 lacks the targets of a molecule"):
        read_targets(path)
    path.write_bytes(lzma.compress("\n".join([HEADER, rows[0]]).encode()))
    assert read_targets(path)[1]["homo"] == pytest.approx(500 * HARTREE_IN_EV)
    (tmp_path / FOLDER).mkdir()
    shutil.copy(path, tmp_path / FOLDER / "qm9_targets_7500_smiles.csv.xz")
    shutil.copy(shared_data / FOLDER / "qm9_under14_3d.npz", tmp_path / FOLDER)
    with pytest.raises(DataError, match="shares no molecule with the table"):
        read_all_targets(tmp_path)
