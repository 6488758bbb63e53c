"""From a string to a group: `parse(str(group)) == group`."""

import re

from torsor.errors import GroupError, unknown_name
from torsor.groups.base import Group
from torsor.groups.product import Product
from torsor.registry import Entry, Registry

REGISTRY = Registry(
    "group",
    Entry("T(n)", "torsor.groups.translations:T", "translations of R^n"),
    Entry("SO(n)", "torsor.groups.rotations:SO", "rotations of R^n"),
    Entry("O(n)", "torsor.groups.rotations:O", "rotations and reflections of R^n"),
    Entry("SE(n)", "torsor.groups.motions:SE", "rotations and translations of R^n"),
    Entry("E(n)", "torsor.groups.motions:E", "rotations, reflections and translations of R^n"),
    Entry("S(n)", "torsor.groups.permutations:S", "permutations of n items; S() of as many as there are"),
    Entry("C(n)", "torsor.groups.planar:C", "rotations of the plane by whole n-ths of a turn"),
    Entry("D(n)", "torsor.groups.planar:D", "symmetries of a regular n-gon"),
    Entry("TC(n)", "torsor.groups.cyclic_motions:TC", "translations of the plane with rotations by whole n-ths of a turn"),
    Entry("Scale(n)", "torsor.groups.flows:Scale", "scalings of R^n"),
    Entry("ScaleRotation", "torsor.groups.flows:ScaleRotation", "scalings and rotations of the plane"),
    Entry("ScaleSqueeze", "torsor.groups.flows:ScaleSqueeze", "scalings and squeezes of the plane"),
    Entry("Squeeze", "torsor.groups.flows:Squeeze", "squeezes of the plane"),
    Entry("Tx", "torsor.groups.flows:Tx", "translations of the plane along its first axis"),
    Entry("Ty", "torsor.groups.flows:Ty", "translations of the plane along its second axis"),
    Entry("Trivial(n)", "torsor.groups.flows:Trivial", "nothing moves in R^n"),
    Entry("SL2", "torsor.groups.linear:SL2", "real 2 x 2 matrices of determinant 1"),
    Entry("GL(n)", "torsor.groups.linear:GL", "invertible n x n matrices"),
    Entry("Lorentz", "torsor.groups.lorentz:Lorentz", "Lorentz group O(1, 3): rotations, boosts, parity and time reversal"),
    Entry("RestrictedLorentz", "torsor.groups.lorentz:RestrictedLorentz", "its identity component SO+(1, 3): rotations and boosts"),
)

FACTOR = re.compile(r"([A-Za-z]+2?)(\(([0-9]{0,6})\))?")
LONGEST = 200


def parse(text: str) -> Group:
    """Read a group, or a product of groups joined by " x ", such as "SE(3) x S(5)".

    Raises:
        GroupError: the text is not a group.
        UnknownNameError: a name in it is not one of the groups'; gives the nearest.
    """
    if len(text) > LONGEST:
        raise GroupError(f"a group is written in at most {LONGEST} characters, not {len(text)}")
    factors = [_factor(part.strip()) for part in re.split(r"\s+x\s+", text.strip())]
    return factors[0] if len(factors) == 1 else Product(*factors)


def _factor(text: str) -> Group:
    match = FACTOR.fullmatch(text)
    if match is None:
        raise GroupError(f"cannot read the group {text!r}: write it like SE(3), S() or SO(2) x S(5)")
    family, brackets, size = match.groups()
    name = family if family in REGISTRY else f"{family}(n)"
    if name not in REGISTRY:
        raise unknown_name("group", name, REGISTRY)
    if family in REGISTRY:
        if size:
            raise GroupError(f"cannot read the group {text!r}: {family} takes no size")
        group: Group = REGISTRY.load(name)()
    elif size:
        group = REGISTRY.load(name)(int(size))
    elif family == "S" and brackets:
        group = REGISTRY.load(name)()
    else:
        raise GroupError(f"the group {text!r} lacks its size: write {family}(3), say")
    return group
