"""Molecules as lines of text: reading SMILES, and the properties of atoms that CXSMILES appends.

Weininger: SMILES, a chemical language and information system (1988); OpenSMILES specification (2016). Read are atoms with their element,
charge, hydrogens, chirality mark and aromaticity, and bonds with their order. Isotopes, atom classes and the direction of bonds at double
bonds are passed over. Nothing is perceived: an atom is aromatic where it is written so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from torsor.data.molecules import SYMBOLS
from torsor.errors import DataError

VALENCES = {"B": (3,), "C": (4,), "N": (3, 5), "O": (2,), "P": (3, 5), "S": (2, 4, 6), "F": (1,), "Cl": (1,), "Br": (1,), "I": (1,)}
"""What atoms without brackets are filled up to with hydrogens."""
ORDERS = {"-": 1, "=": 2, "#": 3, "$": 4, ":": 0, "/": 1, "\\": 1}
"""Order of a bond by its sign; 0 is aromatic."""
AROMATIC = 0
TOKEN = re.compile(
    r"(?P<bracket>\[[^\]]*\])|(?P<atom>Br|Cl|[BCNOPSFI]|[bcnops])|(?P<ring>%\d\d|\d)|(?P<bond>[-=#$:/\\])|(?P<other>[().])|(?P<bad>.)"
)
BRACKET = re.compile(
    r"\[\d*(?P<symbol>[A-Z][a-z]?|[a-z][a-z]?|\*)(?P<chirality>@@?)?(?:[A-Z]{2}\d+)?(?:H(?P<hydrogens>\d*))?(?P<charge>[+-]+\d*)?(?::\d+)?\]"
)
PROPERTIES = re.compile(r"atomProp:([^|,]*)")
ESCAPED = re.compile(r"&#(\d+);")


class Atom(NamedTuple):
    """An atom.

    Args:
        number: its atomic number.
        charge: its formal charge.
        hydrogens: those that are not atoms of their own.
        chirality: 0 where nothing is said, 1 for @ and 2 for @@, as written.
        aromatic: whether it is written as such.
    """

    number: int
    charge: int
    hydrogens: int
    chirality: int
    aromatic: bool


class Bond(NamedTuple):
    """A bond.

    Args:
        first: number of an atom.
        second: of another one.
        order: 1 to 4, 0 for aromatic.
        in_ring: whether it is on a ring.
    """

    first: int
    second: int
    order: int
    in_ring: bool


class Molecule(NamedTuple):
    """Atoms in the order of the text, and bonds."""

    atoms: tuple[Atom, ...]
    bonds: tuple[Bond, ...]


def parse_smiles(text: str) -> Molecule:
    """The molecule that a SMILES string describes.

    Raises:
        DataError: it is no such string; names it.
    """
    try:
        return _Reader(text).molecule()
    except (ValueError, KeyError, IndexError) as fault:
        raise DataError(f"{text[:60]!r} is no SMILES: {fault}") from fault


def atom_properties(extension: str, name: str) -> dict[int, str]:
    """The values that CXSMILES gives atoms under a name, by number of the atom.

    Args:
        extension: what stands between the bars after the SMILES string.
        name: of the property.
    """
    found = {}
    for entries in PROPERTIES.findall(extension):
        for entry in entries.split(":"):
            parts = entry.split(".", 2)
            if len(parts) == 3 and parts[0].isdigit() and parts[1] == name:
                found[int(parts[0])] = ESCAPED.sub(lambda match: chr(int(match[1])), parts[2])
    return found


class _Reader:
    """Reads a string from left to right; every atom but the first of a part hangs on an earlier one, ring bonds come on top."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.atoms: list[Atom] = []
        self.bare: list[str | None] = []
        self.parents: list[int | None] = []
        self.bonds: list[tuple[int, int, int]] = []
        self.closing: list[tuple[int, int]] = []

    def molecule(self) -> Molecule:
        """Read everything, then fill up hydrogens and find rings."""
        self.read()
        ringed = self.ring_bonds()
        used = [0] * len(self.atoms)
        for first, second, order in self.bonds:
            used[first] += max(order, 1)
            used[second] += max(order, 1)
        atoms = tuple(
            atom if symbol is None else atom._replace(hydrogens=_filled(symbol, total + atom.aromatic))
            for atom, symbol, total in zip(self.atoms, self.bare, used, strict=True)
        )
        bonds = (Bond(first, second, order, frozenset({first, second}) in ringed) for first, second, order in self.bonds)
        return Molecule(atoms, tuple(bonds))

    def read(self) -> None:
        """Atoms and bonds."""
        branches: list[int | None] = []
        open_rings: dict[str, tuple[int, str | None]] = {}
        last: int | None = None
        sign: str | None = None
        for kind, token in self.tokens():
            if kind in ("bracket", "atom"):
                self.atoms.append(_bracketed(token) if kind == "bracket" else _bare(token))
                self.bare.append(None if kind == "bracket" else token.capitalize())
                self.parents.append(last)
                if last is not None:
                    self.bond(last, len(self.atoms) - 1, sign)
                last, sign = len(self.atoms) - 1, None
            elif kind == "ring":
                if last is None:
                    raise ValueError(f"ring bond {token} before any atom")
                if token in open_rings:
                    other, other_sign = open_rings.pop(token)
                    self.bond(other, last, sign or other_sign)
                    self.closing.append((other, last))
                else:
                    open_rings[token] = (last, sign)
                sign = None
            elif kind == "bond":
                sign = token
            elif token == "(":
                branches.append(last)
            elif token == ")":
                last = branches.pop()
            else:
                last = None
        if branches or open_rings or not self.atoms:
            raise ValueError("it breaks off")

    def tokens(self) -> Iterator[tuple[str, str]]:
        """Pieces of the text by kind."""
        for match in TOKEN.finditer(self.text):
            kind = str(match.lastgroup)
            if kind == "bad":
                raise ValueError(f"{match[0]!r} at {match.start()}")
            yield kind, match[0]

    def bond(self, first: int, second: int, sign: str | None) -> None:
        """A bond of the order of its sign; without one it is single, or aromatic between aromatic atoms."""
        both = self.atoms[first].aromatic and self.atoms[second].aromatic
        self.bonds.append((first, second, ORDERS[sign] if sign else AROMATIC if both else 1))

    def ring_bonds(self) -> set[frozenset[int]]:
        """The bonds on rings: each bond that closes one, and the way between its ends along the tree of the text."""
        ringed: set[frozenset[int]] = set()
        for first, second in self.closing:
            ringed.add(frozenset({first, second}))
            while first != second:
                child = max(first, second)  # atoms come after what they hang on
                parent = self.parents[child]
                if parent is None:
                    break
                ringed.add(frozenset({child, parent}))
                first, second = min(first, second), parent
        return ringed


def _bare(token: str) -> Atom:
    symbol = token.capitalize()
    return Atom(SYMBOLS.index(symbol) + 1, 0, 0, 0, token.islower())


def _bracketed(token: str) -> Atom:
    match = BRACKET.fullmatch(token)
    if match is None:
        raise ValueError(f"atom {token}")
    symbol, charge = match["symbol"], match["charge"]
    number = 0 if symbol == "*" else SYMBOLS.index(symbol.capitalize()) + 1
    hydrogens = 0 if match["hydrogens"] is None else int(match["hydrogens"] or 1)
    return Atom(number, _charge(charge), hydrogens, len(match["chirality"] or ""), symbol.islower())


def _charge(text: str | None) -> int:
    if not text:
        return 0
    digits = text.strip("+-")
    return (1 if text[0] == "+" else -1) * (int(digits) if digits else len(text))


def _filled(symbol: str, used: int) -> int:
    """Hydrogens that fill up to the least valence that is not exceeded."""
    return next((valence - used for valence in VALENCES[symbol] if valence >= used), 0)
