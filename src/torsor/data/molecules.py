"""Molecules: atoms in space with energies, forces or properties, padded to one size; and the units they come in.

Axes: m molecules, n atoms of the largest molecule, a atoms of all molecules in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from torsor.data.archives import require_finite
from torsor.errors import DataError, unknown_name

KCAL_PER_MOL_IN_EV = 4184 / 96485.33212331
"""Joules of a kilocalorie over the Faraday constant (SI 2019)."""
HARTREE_IN_EV = 27.211386245988
"""CODATA 2018."""
BOHR_IN_ANGSTROM = 0.529177210903
"""CODATA 2018."""
ENERGY_UNITS = {"eV": 1.0, "meV": 1e-3, "kcal/mol": KCAL_PER_MOL_IN_EV, "kJ/mol": KCAL_PER_MOL_IN_EV / 4.184, "Hartree": HARTREE_IN_EV}
"""Energy units in eV."""
_TABLE = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag "
    "Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa "
    "U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)
SYMBOLS = tuple(_TABLE.split())
"""Element symbols; the atomic number is the place counted from 1."""


@dataclass(frozen=True)
class Molecules:
    """Molecules padded to the largest, positions in angstrom, float64.

    Args:
        numbers: atomic numbers, 0 where there is no atom.
        positions: in angstrom, 0 where there is no atom.
        values: what is known of them by name: one number a molecule `[m]`, or one vector an atom `[m, n, 3]`.
        units: unit of each of the values.

    Raises:
        DataError: there is no molecule, or the shapes do not fit; names the value.
    """

    numbers: Int[Tensor, "m n"]
    positions: Float[Tensor, "m n 3"]
    values: Mapping[str, Tensor]
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.numbers.shape)
        if not all(shape):
            raise DataError("there is no molecule in the data set")
        if tuple(self.positions.shape) != (*shape, 3):
            raise DataError(f"positions are {list(self.positions.shape)} for atomic numbers {list(shape)}: give {[*shape, 3]}")
        for name, value in self.values.items():
            if tuple(value.shape) not in ((shape[0],), (*shape, 3)):
                wanted = f"one number a molecule {[shape[0]]} or one vector an atom {[*shape, 3]}"
                raise DataError(f"{name!r} is {list(value.shape)}: give {wanted}")

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.values:
            raise unknown_name("value of these molecules", name, self.values)
        return self.values[name]

    @property
    def mask(self) -> Bool[Tensor, "m n"]:
        """True where there is an atom."""
        return self.numbers > 0

    @property
    def elements(self) -> tuple[int, ...]:
        """The atomic numbers that occur, increasing."""
        return tuple(sorted({int(z) for z in self.numbers.flatten().tolist()} - {0}))

    def take(self, indices: Int[Tensor, "k"]) -> Molecules:
        """The molecules at `indices`."""
        values = {name: value[indices] for name, value in self.values.items()}
        return Molecules(self.numbers[indices], self.positions[indices], values, self.units)

    def counts(self, elements: tuple[int, ...]) -> Float[Tensor, "m e"]:
        """How many atoms of each element a molecule has (float64)."""
        return torch.stack([(self.numbers == z).sum(1) for z in elements], 1).double()


def frames_of_one(numbers: NDArray[Any], positions: NDArray[Any], energies: NDArray[Any], forces: NDArray[Any], where: str) -> Molecules:
    """Frames of one molecule, in kcal/mol and kcal/mol/angstrom.

    Args:
        numbers: atomic numbers `[n]`.
        positions: `[m, n, 3]`, angstrom.
        energies: `[m]` or `[m, 1]`, kcal/mol.
        forces: `[m, n, 3]`, kcal/mol/angstrom.
        where: names the file in errors.

    Raises:
        DataError: shapes do not fit or a number is not finite.
    """
    for name, array in (("positions", positions), ("energies", energies), ("forces", forces)):
        require_finite(name, array, where)
    frames = (len(positions), *numbers.shape, 3)
    if positions.shape != frames or forces.shape != frames or energies.size != len(positions):
        shapes = f"atomic numbers {list(numbers.shape)}, positions {list(positions.shape)}, energies {list(energies.shape)}"
        raise DataError(f"{where} holds {shapes}, forces {list(forces.shape)}: they do not belong together")
    x, e, f = (torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in (positions, energies.reshape(-1), forces))
    z = torch.from_numpy(np.asarray(numbers, dtype=np.int64)).expand(len(x), -1)
    return Molecules(z, x, {"energy": e, "forces": f}, {"energy": "kcal/mol", "forces": "kcal/mol/angstrom"})


def padded(
    sizes: NDArray[Any],
    numbers: NDArray[Any],
    positions: NDArray[Any],
    values: Mapping[str, NDArray[Any]],
    units: Mapping[str, str],
    where: str,
) -> Molecules:
    """Molecules of different sizes from their atoms in a row.

    Args:
        sizes: atoms of each molecule `[m]`.
        numbers: atomic numbers of all atoms `[a]`.
        positions: of all atoms `[a, 3]`, angstrom.
        values: one number a molecule `[m]`, or one vector an atom `[a, 3]`.
        units: unit of each of the values.
        where: names the file in errors.

    Raises:
        DataError: shapes do not fit, a number is not finite, or a molecule is empty.
    """
    for name, array in (("positions", positions), *values.items()):
        require_finite(name, array, where)
    atoms = int(sizes.sum())
    if not len(sizes) or (sizes < 1).any() or len(numbers) != atoms or positions.shape != (atoms, 3):
        held = f"{len(numbers)} atomic numbers and positions {list(positions.shape)}"
        raise DataError(f"{where} holds {held} for {len(sizes)} molecules of {atoms} atoms in all: they do not belong together")
    mask = torch.arange(int(sizes.max())) < torch.from_numpy(np.asarray(sizes, dtype=np.int64)).unsqueeze(1)

    def spread(array: NDArray[Any], dtype: torch.dtype) -> Tensor:
        full = torch.zeros(*mask.shape, *array.shape[1:], dtype=dtype)
        full[mask] = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
        return full

    tensors = {name: spread(v, torch.float64) if v.ndim == 2 else torch.from_numpy(v.astype(np.float64)) for name, v in values.items()}
    return Molecules(spread(numbers, torch.int64), spread(positions, torch.float64), tensors, units)
