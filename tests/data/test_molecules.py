import numpy as np
import pytest
import torch

from torsor.data.molecules import ENERGY_UNITS, KCAL_PER_MOL_IN_EV, Molecules, frames_of_one, padded
from torsor.errors import DataError, UnknownNameError


@pytest.fixture
def molecules() -> Molecules:
    sizes, numbers = np.array([2, 3, 1]), np.array([1, 1, 8, 1, 1, 2])
    positions = np.arange(18.0).reshape(6, 3)
    return padded(sizes, numbers, positions, {"gap": np.array([1.0, 2.0, 3.0]), "forces": -positions}, {"gap": "eV"}, "here")


def test_atoms_in_a_row_are_padded_with_zeros(molecules: Molecules) -> None:
    assert molecules.numbers.tolist() == [[1, 1, 0], [8, 1, 1], [2, 0, 0]]
    assert molecules.positions[1].tolist() == [[6, 7, 8], [9, 10, 11], [12, 13, 14]]
    assert torch.equal(molecules["forces"], -molecules.positions)
    assert (molecules.positions[~molecules.mask] == 0).all()
    assert molecules.elements == (1, 2, 8)


def test_counts_say_what_a_molecule_is_made_of(molecules: Molecules) -> None:
    assert molecules.counts((1, 2, 8)).tolist() == [[2, 0, 0], [2, 0, 1], [0, 1, 0]]


def test_take_keeps_values_and_units_together(molecules: Molecules) -> None:
    taken = molecules.take(torch.tensor([2, 0]))
    assert taken["gap"].tolist() == [3, 1]
    assert taken.units == {"gap": "eV"}
    assert torch.equal(taken["forces"], molecules["forces"][[2, 0]])
    with pytest.raises(UnknownNameError, match="did you mean 'gap'"):
        molecules["gaps"]


def test_what_does_not_belong_together_is_named() -> None:
    z, x = np.array([1, 8]), np.zeros((4, 2, 3))
    with pytest.raises(DataError, match=r"forces \[4, 3, 3\]: they do not belong together"):
        frames_of_one(z, x, np.zeros(4), np.zeros((4, 3, 3)), "here")
    with pytest.raises(DataError, match="there is no molecule"):
        frames_of_one(z, x[:0], np.zeros(0), x[:0], "here")
    with pytest.raises(DataError, match="for 2 molecules of 3 atoms in all"):
        padded(np.array([1, 2]), np.array([1, 1]), np.zeros((2, 3)), {}, {}, "here")
    with pytest.raises(DataError, match="for 2 molecules of 2 atoms in all"):
        padded(np.array([2, 0]), np.array([1, 1]), np.zeros((2, 3)), {}, {}, "here")
    with pytest.raises(DataError, match=r"'mu' is \[3\]: give one number a molecule \[2\]"):
        padded(np.array([1, 1]), np.array([1, 1]), np.zeros((2, 3)), {"mu": np.zeros(3)}, {}, "here")


def test_energy_units_agree_with_ase() -> None:
    units = pytest.importorskip("ase.units")
    assert pytest.approx(units.kcal / units.mol, rel=1e-6) == KCAL_PER_MOL_IN_EV
    assert ENERGY_UNITS["Hartree"] == pytest.approx(units.Hartree, rel=1e-6)
    assert ENERGY_UNITS["kJ/mol"] == pytest.approx(units.kJ / units.mol, rel=1e-6)
