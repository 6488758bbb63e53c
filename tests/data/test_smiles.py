"""SMILES: molecules whose formula, bonds and rings are known."""

from collections import Counter

import pytest

from torsor.data.molecules import SYMBOLS
from torsor.data.smiles import AROMATIC, Bond, atom_properties, parse_smiles
from torsor.errors import DataError


def formula(text: str) -> str:
    """Heavy atoms and hydrogens, in the order of the alphabet."""
    molecule = parse_smiles(text)
    counts = Counter(SYMBOLS[atom.number - 1] for atom in molecule.atoms)
    counts["H"] += sum(atom.hydrogens for atom in molecule.atoms)
    return "".join(f"{symbol}{counts[symbol]}" for symbol in sorted(counts) if counts[symbol])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C", "C1H4"),
        ("CCO", "C2H6O1"),
        ("C#N", "C1H1N1"),
        ("O=C=O", "C1O2"),
        ("c1ccccc1", "C6H6"),
        ("C1=CC=CC=C1", "C6H6"),
        ("c1ccccc1-c2ccccc2", "C12H10"),
        ("c1ccccc1-c1ccccc1", "C12H10"),
        ("C[N+](=O)[O-]", "C1H3N1O2"),
        ("CS(=O)(=O)O", "C1H4O3S1"),
        ("c1c[nH]c2ccccc12", "C8H7N1"),
        ("n1ccccc1", "C5H5N1"),
        ("o1cccc1", "C4H4O1"),
        ("OP(=O)(O)O", "H3O4P1"),
        ("FC(Cl)(Br)I", "Br1C1Cl1F1I1"),
        ("[Na+].[Cl-]", "Cl1Na1"),
        ("[2H]O[2H]", "H2O1"),
        ("[H]C([H])([H])[H]", "C1H4"),
        ("C%12CCCCC%12", "C6H12"),
        ("N[C@@H](C)C(=O)O", "C3H7N1O2"),
        (r"C/C=C\C", "C4H8"),
        ("CC(=O)Oc1ccccc1C(=O)O", "C9H8O4"),
        ("CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "C8H10N4O2"),
    ],
)
def test_hydrogens_fill_up_valences(text: str, expected: str) -> None:
    assert formula(text) == expected


def test_brackets_say_everything_themselves() -> None:
    atoms = parse_smiles("[13CH3][C@@H](N)[O-]").atoms
    assert [(atom.number, atom.hydrogens, atom.charge, atom.chirality) for atom in atoms] == [
        (6, 3, 0, 0),
        (6, 1, 0, 2),
        (7, 2, 0, 0),
        (8, 0, -1, 0),
    ]
    assert [parse_smiles(text).atoms[0].charge for text in ("[Fe++]", "[Fe+2]", "[O--]", "[NH4+]")] == [2, 2, -2, 1]
    assert parse_smiles("[C@H](F)(Cl)Br").atoms[0].chirality == 1
    assert parse_smiles("[CH3:7]C").atoms[0].hydrogens == 3


def test_bonds_have_their_order_and_rings_are_found() -> None:
    molecule = parse_smiles("C1CC1C#CC=O")
    assert molecule.bonds == (
        Bond(0, 1, 1, True),
        Bond(1, 2, 1, True),
        Bond(0, 2, 1, True),
        Bond(2, 3, 1, False),
        Bond(3, 4, 3, False),
        Bond(4, 5, 1, False),
        Bond(5, 6, 2, False),
    )
    biphenyl = parse_smiles("c1ccccc1-c1ccccc1")
    assert sum(bond.order == AROMATIC for bond in biphenyl.bonds) == 12
    assert [bond[:2] for bond in biphenyl.bonds if not bond.in_ring] == [(5, 6)]
    bridged = parse_smiles("C1CC2CCC1C2")
    assert all(bond.in_ring for bond in bridged.bonds)
    assert not any(bond.in_ring for bond in parse_smiles("CC(C)(C)C").bonds)


def test_rings_across_branches_are_found() -> None:
    """The ring closes between two branches of the tree of the text; the methyl group is not on it."""
    molecule = parse_smiles("C(C1)(C)CC1")
    assert [bond.in_ring for bond in molecule.bonds] == [True, False, True, True, True]


def test_signs_of_ring_bonds_may_stand_at_either_end() -> None:
    for text in ("C=1CCCCC1", "C1CCCCC=1", "C=1CCCCC=1"):
        assert parse_smiles(text).bonds[-1].order == 2


@pytest.mark.parametrize("text", ["", "C(", "C1CC", "C)", "1CC", "[C", "C[Xx]", "C?C", "[Q]", "C(C)) "])
def test_what_is_no_smiles_is_named(text: str) -> None:
    with pytest.raises(DataError, match="is no SMILES"):
        parse_smiles(text)


def test_properties_of_atoms_are_read_with_their_escapes() -> None:
    extension = "|(0.1,2,3;),atomProp:0.contact.0&#59;2:4.contact.1;2:4.mass.12.5,c:1|"
    assert atom_properties(extension, "contact") == {0: "0;2", 4: "1;2"}
    assert atom_properties(extension, "mass") == {4: "12.5"}
    assert atom_properties("", "contact") == {}
