"""Jets of particles: decays of a heavy resonance into three prongs, and showers of one parton, simulated for many jets at once.

A generated stand-in for the Top Tagging reference set (Kasieczka, Plehn, Thompson, Russell 2019), in GeV. Signal: t -> b W, W -> q q', with
Breit-Wigner masses and isotropic decays; the three prongs shower. Background: one parton of the mass of the jet, log-uniform, showers.

A shower is a sequence of decays of virtual particles, the heaviest first, until all are lighter than `CUTOFF` and become pions, or the
places are full. A parent of mass M gives the masses m1 and m2 = (M - m1) u^2 with m1 = M u^2, u uniform: strongly ordered, as the factors
for no emission between two scales make them. Seen from the parent, the daughters are uniform in rapidity along its direction of flight
(in the rest frame of the jet), which makes soft and collinear daughters frequent.

Every decay conserves four-momentum, and a jet is made in its own rest frame out of Lorentz-invariant numbers, turned by a Haar rotation and
boosted by a velocity that depends neither on its kind nor on its inside. So the odds of signal against background, given the momenta, are a
function of Lorentz invariants: no tagger gains anything from the frame.

Axes: s jets, n constituents, k prongs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from torsor.data.archives import read_npz, require_finite
from torsor.errors import DataError
from torsor.groups.lorentz import boost
from torsor.groups.numerics import safe_norm, unit
from torsor.groups.special_orthogonal import haar, section

TOP = (172.5, 20.0)
W = (80.4, 10.0)
"""Mass and width in GeV of the resonance and of the boson it decays into; the widths are those of reconstructed jets, not of particles."""
LARGEST_OFFSET = 30.0
"""A Breit-Wigner mass is at most this far from its centre, so that every decay stays possible."""
BOTTOM = 4.8
PION = 0.1396
CUTOFF = 1.5
"""Virtual particles lighter than this are pions."""
STEEPNESS = 2.0
"""The power of u in the masses of daughters."""
PLATEAU = 2.0
"""Daughters of a shower are uniform in rapidity from minus this to this."""
BACKGROUND_MASSES = (100.0, 300.0)
TRANSVERSE = (2.0, 4.0)
"""Transverse four-velocity of jets: 350 to 700 GeV of transverse momentum for a top quark."""
PSEUDORAPIDITY = 2.0
BLOCK = 1024
"""Jets drawn at once. Draws go block by block, so that a smaller set is a prefix of a larger one."""


class Jets(NamedTuple):
    """Jets, their constituents in order of falling transverse momentum, zero behind the mask.

    Args:
        momenta: (E, px, py, pz) in GeV.
        mask: where there is a constituent.
        labels: whether the jet is signal; every other one is.
        prongs: from which prong a constituent comes: 0 bottom quark, 1 and 2 the quarks of the W; 0 for all of the background, -1 behind
            the mask.
    """

    momenta: Float[Tensor, "s n 4"]
    mask: Bool[Tensor, "s n"]
    labels: Bool[Tensor, "s"]
    prongs: Int[Tensor, "s n"]


def generate(count: int, places: int, generator: torch.Generator) -> Jets:
    """Draw jets (float64), signal and background in turn.

    Args:
        count: jets.
        places: the most constituents of a jet.
        generator: where the numbers come from.

    Raises:
        DataError: there are fewer than three places.
    """
    if places < 3:
        raise DataError(f"a jet of {places} constituents has no three prongs: give 3 or more")
    blocks = [_block(places, generator) for _ in range(math.ceil(count / BLOCK))]
    return Jets(*(torch.cat(parts)[:count] for parts in zip(*blocks, strict=True)))


def two_body(
    parent: Float[Tensor, "*s 4"], mass: Float[Tensor, "*s"], daughters: Float[Tensor, "*s 2"], direction: Float[Tensor, "*s 3"]
) -> Float[Tensor, "*s 2 4"]:
    """The momenta of two daughters.

    In the rest frame of the parent they leave back to back with p = sqrt((M^2 - (m1 + m2)^2) (M^2 - (m1 - m2)^2)) / 2 M.

    Args:
        parent: momentum of the parent, with mass `mass`.
        mass: M.
        daughters: m1 and m2, together at most M.
        direction: unit vector along the first daughter in the rest frame of the parent.
    """
    total, difference = daughters.sum(-1), daughters[..., 0] - daughters[..., 1]
    size = ((mass - total) * (mass + total) * (mass - difference) * (mass + difference)).clamp(min=0).sqrt() / (2 * mass)
    space = size[..., None, None] * torch.stack((direction, -direction), -2)
    energy = (daughters.square() + size.square().unsqueeze(-1)).sqrt()
    frame = boost(unit(parent[..., 1:]) * (safe_norm(parent[..., 1:]) / mass).asinh().unsqueeze(-1))
    return torch.cat((energy.unsqueeze(-1), space), -1) @ frame.mT


def daughter_masses(
    mass: Float[Tensor, "*s"], floors: tuple[float, float], uniform: Float[Tensor, "*s 2"], cutoff: float = CUTOFF
) -> Float[Tensor, "*s 2"]:
    """Two masses below that of the parent together, none below its floor; what is below the cutoff falls to its floor."""
    first = floors[0] + (mass - sum(floors)) * uniform[..., 0] ** STEEPNESS
    second = floors[1] + (mass - first - floors[1]) * uniform[..., 1] ** STEEPNESS
    masses = torch.stack((first, second), -1)
    return torch.where(masses < cutoff, torch.tensor(floors, dtype=mass.dtype), masses)


class Prongs(NamedTuple):
    """The particles a shower starts from: momenta in the rest frame of the jet, and masses."""

    momenta: Float[Tensor, "s k 4"]
    masses: Float[Tensor, "s k"]


def top_decays(count: int, generator: torch.Generator) -> Prongs:
    """The bottom quark and the two quarks of the W, for tops at rest."""
    top, w = _breit_wigner(*TOP, count, generator), _breit_wigner(*W, count, generator)
    bottom = BOTTOM + (top - w - BOTTOM) * _uniform(count, generator=generator) ** STEEPNESS
    at_rest = torch.cat((top.unsqueeze(-1), torch.zeros(count, 3, dtype=torch.float64)), -1)
    first = two_body(at_rest, top, torch.stack((bottom, w), -1), _isotropic(count, generator))
    quarks = daughter_masses(w, (PION, PION), _uniform(count, 2, generator=generator))
    second = two_body(first[:, 1], w, quarks, _isotropic(count, generator))
    return Prongs(torch.cat((first[:, :1], second), 1), torch.cat((bottom.unsqueeze(-1), quarks), -1))


def single_partons(count: int, generator: torch.Generator) -> Prongs:
    """One virtual parton at rest, its mass log-uniform in `BACKGROUND_MASSES`."""
    low, high = (math.log(mass) for mass in BACKGROUND_MASSES)
    mass = (low + (high - low) * _uniform(count, 1, generator=generator)).exp()
    return Prongs(torch.cat((mass, torch.zeros(count, 3, dtype=torch.float64)), -1).unsqueeze(1), mass)


def shower(prongs: Prongs, places: int, generator: torch.Generator) -> Jets:
    """Let the heaviest particle of each jet decay until all are light or the places are full; labels are those of three prongs."""
    s, k = prongs.masses.shape
    momenta, masses = (torch.cat((x, x.new_zeros(s, places - k, *x.shape[2:])), 1) for x in prongs)
    origin = torch.arange(places).clamp(max=k).expand(s, -1).clone()
    rows = torch.arange(s)
    for free in range(k, places):
        drawn = _uniform(s, 4, generator=generator)
        heaviest = masses.argmax(1)
        parent, mass = momenta[rows, heaviest], masses[rows, heaviest]
        splits = mass >= CUTOFF
        if not splits.any():
            break
        light = daughter_masses(mass.clamp(min=CUTOFF), (PION, PION), drawn[:, :2])
        # a jet whose particles are all light is done; what is computed for it here is not kept
        both = two_body(parent, mass.clamp(min=CUTOFF), light, _along(unit(parent[:, 1:]), drawn[:, 2:]))
        for place, daughter in ((heaviest, 0), (torch.full_like(heaviest, free), 1)):
            momenta[rows, place] = torch.where(splits.unsqueeze(-1), both[:, daughter], momenta[rows, place])
            masses[rows, place] = torch.where(splits, light[:, daughter], masses[rows, place])
        origin[:, free] = torch.where(splits, origin[rows, heaviest], origin[:, free])
    mask = masses > 0
    return Jets(momenta, mask, torch.full((s,), k == 3), origin.where(mask, -1))


def in_the_detector(jets: Jets, generator: torch.Generator) -> Jets:
    """Turn jets at rest by Haar rotations, boost them away from the beam (the z axis), and sort by transverse momentum."""
    s = len(jets.labels)
    turned = torch.cat((jets.momenta[..., :1], jets.momenta[..., 1:] @ haar((s,), 3, generator).mT), -1)
    transverse, azimuth, forward = _uniform(s, 3, generator=generator).unbind(-1)
    size = TRANSVERSE[0] + (TRANSVERSE[1] - TRANSVERSE[0]) * transverse
    angle, slope = 2 * math.pi * azimuth, (PSEUDORAPIDITY * (2 * forward - 1)).sinh()
    velocity = size.unsqueeze(-1) * torch.stack((angle.cos(), angle.sin(), slope), -1)
    moved = turned @ boost(unit(velocity) * safe_norm(velocity).asinh().unsqueeze(-1)).mT
    order = moved[..., 1:3].square().sum(-1).argsort(dim=1, descending=True, stable=True)
    return Jets(moved.take_along_dim(order.unsqueeze(-1), 1), jets.mask.gather(1, order), jets.labels, jets.prongs.gather(1, order))


def _block(places: int, generator: torch.Generator) -> Jets:
    """One block, signal and background in turn."""
    half = BLOCK // 2
    kinds = [shower(prongs, places, generator) for prongs in (top_decays(half, generator), single_partons(half, generator))]
    mixed = Jets(*(torch.stack(pair, 1).flatten(0, 1) for pair in zip(*kinds, strict=True)))
    return in_the_detector(mixed, generator)


def _uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def _breit_wigner(centre: float, width: float, count: int, generator: torch.Generator) -> Float[Tensor, "s"]:
    """Masses with the resonance's line shape, cut off at `LARGEST_OFFSET`."""
    widest = math.atan(2 * LARGEST_OFFSET / width)
    return centre + width / 2 * torch.tan(widest * (2 * _uniform(count, generator=generator) - 1))


def _isotropic(count: int, generator: torch.Generator) -> Float[Tensor, "s 3"]:
    return unit(torch.randn(count, 3, generator=generator, dtype=torch.float64))


def _along(axis: Float[Tensor, "s 3"], uniform: Float[Tensor, "s 2"]) -> Float[Tensor, "s 3"]:
    """Unit vectors uniform in rapidity along the axis and in azimuth about it."""
    rapidity, azimuth = PLATEAU * (2 * uniform[:, 0] - 1), 2 * math.pi * uniform[:, 1]
    cosine, sine = rapidity.tanh(), 1 / rapidity.cosh()
    local = torch.stack((cosine, sine * azimuth.cos(), sine * azimuth.sin()), -1)
    return (section(axis) @ local.unsqueeze(-1)).squeeze(-1)


PUBLISHED_SPLITS = {"train": "train", "valid": "val", "test": "test"}


def read_published(folder: Path, split: str, places: int, count: int | None = None) -> Jets:
    """Read the Top Tagging reference set from `folder/toptagging/toptagging_full.npz`.

    Its arrays are `kinematics_{train,val,test} [s, 200, 4]`, momenta (E, px, py, pz) in GeV by falling transverse momentum, zero where
    there is no constituent, and `labels_{train,val,test} [s]`, 1 for a top quark: the HDF5 tables of the reference set, exported with
    `numpy.savez`. Its prongs are not known and are 0.

    Args:
        folder: the folder of data sets.
        split: "train", "valid" or "test".
        places: constituents to keep of each jet, those of the largest transverse momentum.
        count: jets to read, all if not given.

    Raises:
        DataError: the file is missing, damaged, or does not hold such arrays.
    """
    path = folder / "toptagging" / "toptagging_full.npz"
    names = [f"{kind}_{PUBLISHED_SPLITS[split]}" for kind in ("kinematics", "labels")]
    arrays = read_npz(path, names)
    kinematics, labels = (arrays[name] for name in names)
    if kinematics.ndim != 3 or kinematics.shape[-1] != 4 or labels.shape != kinematics.shape[:1]:
        raise DataError(f"{path} has {names[0]} {list(kinematics.shape)} and {names[1]} {list(labels.shape)}: give [s, n, 4] and [s]")
    kept, said = kinematics[:count, :places], labels[:count]
    for name, array in zip(names, (kept, said), strict=True):
        require_finite(name, array, str(path))
    if not set(said.tolist()) <= {0, 1}:
        raise DataError(f"{names[1]} of {path} holds other labels than 0 and 1")
    momenta, label = torch.from_numpy(kept).double(), torch.from_numpy(said).bool()
    mask = momenta[..., 0] > 0
    return Jets(momenta * mask.unsqueeze(-1), mask, label, mask.long() - 1)
