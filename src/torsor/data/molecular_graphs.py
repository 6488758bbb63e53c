"""Molecules as graphs: what their atoms and bonds are, as features.

Axes: a atoms, e bonds both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from torsor.data.graphs import Ragged, SparseGraphs
from torsor.data.smiles import Bond, Molecule

ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)
"""Atomic numbers with a channel of their own; one more is for all others."""
ELEMENT_CHANNELS = len(ELEMENTS) + 1
DEGREES, CHARGES, HYDROGENS, CHIRALITIES, ORDERS = 6, (-1, 0, 1), 5, 3, (1, 2, 3, 0)
"""Bonds of an atom (the last channel is for more), formal charges (and others), hydrogens, marks, and orders of bonds (0 is aromatic)."""
ATOM_WIDTHS, BOND_WIDTHS = (ELEMENT_CHANNELS, DEGREES, len(CHARGES) + 1, HYDROGENS, CHIRALITIES, 1, 1), (len(ORDERS), 1)
ATOM_FEATURES, BOND_FEATURES = sum(ATOM_WIDTHS), sum(BOND_WIDTHS)


def molecular_graphs(molecules: Sequence[Molecule], pairs: Mapping[str, Sequence[Tensor]] | None = None) -> SparseGraphs:
    """Graphs with an edge for each bond.

    Features of atoms are one-hot: element, number of bonds, charge, hydrogens, chirality mark; and 1 for aromatic atoms and for atoms on
    rings. Those of bonds are their order, one-hot, and 1 on rings.

    Args:
        molecules: what they are graphs of.
        pairs: further relations by name, `[r, 2]` for each molecule.
    """
    sizes = torch.tensor([len(molecule.atoms) for molecule in molecules])
    bonds = torch.tensor([len(molecule.bonds) for molecule in molecules])
    atoms = torch.tensor([row for molecule in molecules for row in _atom_rows(molecule)])
    rows = torch.tensor([_bond_row(bond) for molecule in molecules for bond in molecule.bonds]).reshape(-1, 4)
    there_and_back = torch.stack((rows, rows[:, [1, 0, 2, 3]]), 1).flatten(0, 1)
    return SparseGraphs(
        Ragged(there_and_back[:, :2].to(torch.int16), 2 * bonds),
        {"features": Ragged(_one_hot(atoms, ATOM_WIDTHS), sizes)},
        _one_hot(there_and_back[:, 2:], BOND_WIDTHS),
        {name: Ragged.of(list(parts)) for name, parts in (pairs or {}).items()},
    )


def _atom_rows(molecule: Molecule) -> list[tuple[int, ...]]:
    """The channel of each feature of each atom."""
    degrees, ringed = [0] * len(molecule.atoms), [False] * len(molecule.atoms)
    for bond in molecule.bonds:
        for end in (bond.first, bond.second):
            degrees[end] += 1
            ringed[end] = ringed[end] or bond.in_ring
    return [
        (
            ELEMENTS.index(atom.number) if atom.number in ELEMENTS else len(ELEMENTS),
            min(degree, DEGREES - 1),
            CHARGES.index(atom.charge) if atom.charge in CHARGES else len(CHARGES),
            min(atom.hydrogens, HYDROGENS - 1),
            atom.chirality,
            int(atom.aromatic),
            int(on_ring),
        )
        for atom, degree, on_ring in zip(molecule.atoms, degrees, ringed, strict=True)
    ]


def _bond_row(bond: Bond) -> tuple[int, ...]:
    """Its ends, and the channel of each of its features; bonds of order 4 have that of triple ones."""
    return bond.first, bond.second, ORDERS.index(min(bond.order, 3)), int(bond.in_ring)


def _one_hot(channels: Tensor, widths: Sequence[int]) -> Bool[Tensor, "r c"]:
    """Each column one-hot in so many channels; a column of width 1 is a flag."""
    parts = (column.unsqueeze(-1) == (torch.arange(width) if width > 1 else 1) for column, width in zip(channels.T, widths, strict=True))
    return torch.cat(tuple(parts), -1)
