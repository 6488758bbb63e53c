"""Random peptides whose targets depend on residues that are far apart: a stand-in for the long-range graph benchmark.

A peptide is a random sequence of the twenty amino acids, written as SMILES and read back as a graph of its heavy atoms. Its targets are
autocorrelations of the hydropathy (Kyte, Doolittle 1982) along the chain: the mean product of the hydropathies of residues k apart, which
takes messages over 3 k bonds to find out. Contacts are those of an alpha helix: the oxygen of a residue with the nitrogen of the fourth
after it.

Axes: s samples, k lags.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from torsor.data.smiles import Molecule, parse_smiles

SIDE_CHAINS = {
    "A": "C", "R": "CCCNC(=N)N", "N": "CC(=O)N", "D": "CC(=O)O", "C": "CS", "Q": "CCC(=O)N", "E": "CCC(=O)O", "H": "Cc1c[nH]cn1",
    "I": "[C@@H](C)CC", "L": "CC(C)C", "K": "CCCCN", "M": "CCSC", "F": "Cc1ccccc1", "S": "CO", "T": "[C@H](O)C", "W": "Cc1c[nH]c2ccccc12",
    "Y": "Cc1ccc(O)cc1", "V": "C(C)C",
}  # fmt: skip
"""What hangs on the middle atom of a residue; glycine has nothing there, and proline's is joined to its nitrogen."""
HYDROPATHY = {
    "A": 1.8, "R": -4.5, "N": -3.5, "D": -3.5, "C": 2.5, "Q": -3.5, "E": -3.5, "G": -0.4, "H": -3.2, "I": 4.5,
    "L": 3.8, "K": -3.9, "M": 1.9, "F": 2.8, "P": -1.6, "S": -0.8, "T": -0.7, "W": -0.9, "Y": -1.3, "V": 4.2,
}  # fmt: skip
RESIDUES = "".join(HYDROPATHY)
SMALL = "GAS"
"""Residues of peptides with contacts, which have 53 atoms at most, as in the benchmark."""
TURN = 4
"""Residues from an oxygen to the nitrogen that it touches in a helix."""


class Peptide(NamedTuple):
    """A peptide.

    Args:
        sequence: one letter a residue.
        molecule: its heavy atoms.
        starts: the nitrogen of each residue; the atom before the next one's is its oxygen.
    """

    sequence: str
    molecule: Molecule
    starts: tuple[int, ...]


def residue(letter: str) -> str:
    """A residue without the water that it loses, from its nitrogen to its oxygen."""
    if letter == "P":
        return "N1CCC[C@H]1C(=O)"
    return "NCC(=O)" if letter == "G" else f"N[C@@H]({SIDE_CHAINS[letter]})C(=O)"


def peptide(sequence: str) -> Peptide:
    """The peptide of a sequence."""
    sizes = [_atoms(letter) for letter in sequence]
    molecule = parse_smiles("".join(residue(letter) for letter in sequence) + "O")
    return Peptide(sequence, molecule, tuple(accumulate(sizes, initial=0)))


@cache
def _atoms(letter: str) -> int:
    """Heavy atoms of a residue."""
    return len(parse_smiles(residue(letter)).atoms)


def random_peptides(count: int, lengths: tuple[int, int], generator: torch.Generator, letters: str = RESIDUES) -> tuple[Peptide, ...]:
    """Peptides of random sequences; a smaller number is a prefix of a larger one.

    Args:
        count: how many.
        lengths: fewest and most residues.
        generator: where the numbers come from.
        letters: the residues to choose from.
    """
    made = []
    for _ in range(count):
        length = int(torch.randint(lengths[0], lengths[1] + 1, (), generator=generator))
        drawn = torch.randint(len(letters), (length,), generator=generator)
        made.append(peptide("".join(letters[i] for i in drawn.tolist())))
    return tuple(made)


def autocorrelations(sequence: str, lags: int) -> Float[Tensor, "k"]:
    """The mean product of hydropathies of residues 1, 2, ... apart; 0 where the chain is too short."""
    values = torch.tensor([HYDROPATHY[letter] for letter in sequence], dtype=torch.float64)
    return torch.stack([(values[k:] * values[:-k]).mean() if k < len(values) else values.new_zeros(()) for k in range(1, lags + 1)])


def contacts(chain: Peptide) -> Tensor:
    """Pairs of atoms that touch in a helix, `[r, 2]`, both ways."""
    residues = len(chain.sequence)
    found = [(chain.starts[i + 1] - 1, chain.starts[i + TURN]) for i in range(residues - TURN)]
    pairs = torch.tensor(found, dtype=torch.int16).reshape(-1, 2)
    return torch.cat((pairs, pairs.flip(-1)))
