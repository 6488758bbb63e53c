import math
from pathlib import Path

import pytest
import torch

from torsor.data.atom_features import BOND_KINDS, bond_kinds, charge_powers, elements_and_number, one_hot
from torsor.data.qm9_subsets import read_under14

ELEMENTS = (1, 6, 7, 8, 9)


def test_charge_powers_are_fifteen_numbers_of_which_three_are_used() -> None:
    features = charge_powers(torch.tensor([[6, 9, 0]]), ELEMENTS)
    assert features.shape == (1, 3, 15)
    carbon = torch.zeros(15, dtype=torch.float64)
    carbon[3:6] = torch.tensor([1, 6 / 9, 36 / 81], dtype=torch.float64)
    torch.testing.assert_close(features[0, 0], carbon, rtol=0, atol=1e-15)
    assert features[0, 1, 12:].tolist() == [1, 1, 1]
    assert not features[0, 2].any()


def test_elements_and_number_are_six_numbers() -> None:
    assert elements_and_number(torch.tensor([[8]]), ELEMENTS).tolist() == [[[0, 0, 0, 1, 0, 8]]]
    assert one_hot(torch.tensor([[8, 0]]), ELEMENTS).sum(-1).tolist() == [[1, 0]]


def bond(first: int, second: int, distance: float) -> str | None:
    kinds = bond_kinds(torch.tensor([[first, second, 0]]), torch.tensor([[[0.0, 0, 0], [0, distance, 0], [0, distance, 0]]]))[0]
    assert torch.equal(kinds, kinds.transpose(0, 1))
    assert not kinds[2].any()
    assert not kinds.diagonal().any()
    return BOND_KINDS[int(kinds[0, 1].argmax())] if kinds[0, 1].any() else None


@pytest.mark.parametrize(
    ("first", "second", "distance", "kind"),
    [
        (6, 6, 1.536, "single"),  # ethane
        (6, 6, 1.339, "double"),  # ethene
        (6, 6, 1.203, "triple"),  # ethyne
        (6, 6, 1.397, "aromatic"),  # benzene
        (6, 8, 1.208, "double"),  # formaldehyde
        (6, 7, 1.156, "triple"),  # hydrogen cyanide
        (1, 8, 0.958, "single"),  # water
        (1, 1, 1.515, None),  # the two hydrogens of water
        (6, 6, 2.5, None),
        (6, 17, 1.8, None),  # chlorine is not in the table
    ],
)
def test_bonds_of_textbook_molecules_are_told_from_their_lengths(first: int, second: int, distance: float, kind: str | None) -> None:
    assert bond(first, second, distance) == kind
    assert bond(second, first, distance) == kind


def test_bonds_do_not_change_when_a_molecule_is_moved() -> None:
    generator = torch.Generator().manual_seed(2)
    positions = 1.5 * torch.randn(4, 7, 3, generator=generator, dtype=torch.float64)
    numbers = torch.randint(0, 10, (4, 7), generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    there = bond_kinds(numbers, positions @ turn.T + torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    here = bond_kinds(numbers, positions)
    assert here.any()
    assert torch.equal(here, there)


def test_valences_of_real_molecules_are_those_of_chemistry(shared_data: Path) -> None:
    molecules = read_under14(shared_data).take(torch.arange(500))
    bonds = bond_kinds(molecules.numbers, molecules.positions).sum((2, 3))
    # every hydrogen has one neighbour, and no carbon more than four
    assert (bonds[molecules.numbers == 1] == 1).all()
    assert bonds[molecules.numbers == 6].max() == 4
    assert (bonds[molecules.mask] >= 1).all()
    assert math.isclose(float((bonds[molecules.numbers == 9] == 1).double().mean()), 1.0)
