"""The fixed laws of p(g | x): every element of a finite group, and Haar draws.

Translations have no uniform law; where the group has them, elements take the origin to the mean of the points, which moves with the input.

Axes: b batch, k samples, n places, m elements of a subgroup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial, prod
from typing import Any

import torch
from torch import Tensor

from torsor.dial.symmetrize.base import Draws, Sampler, noise_dtype
from torsor.dial.symmetrize.spatial import actions_of, for_factor, masked_mean
from torsor.dial.symmetrize.subgroups import listed, minus_one, spread
from torsor.errors import GroupError
from torsor.groups import SO, TC, ActsOnSpace, Group, O, S, T
from torsor.groups.base import Element
from torsor.groups.motions import Motions
from torsor.groups.planar import Planar
from torsor.groups.polyhedra import plane_rotation
from torsor.groups.special_orthogonal import orthogonal_from_normal, reflect
from torsor.groups.translations import homogeneous
from torsor.nn.noise_sources import NoiseSource
from torsor.representations import LeftMultiplied, Points, Shifted, Trivial
from torsor.symmetry import Symmetry

LARGEST_LISTED = 1000
"""Elements of a group beyond which an average over all of them is refused."""
DRAWN = (S, Planar, SO, O, T, Motions, TC)
"""Groups that can be drawn from: uniformly, or up to translations."""


class FactorSampler(Sampler):
    """A sampler that treats each factor of the group by itself, and centres what the group translates."""

    def assembled(self, inputs: Mapping[str, Any], drawn: Mapping[int, Tensor], samples: int) -> Element:
        """The element of the group with these elements `[b, k, *element]` of its factors, the centre in place of their translations."""
        found = list(self.at_rest(inputs, samples))
        for i, factor in enumerate(self.symmetry.factors):
            if isinstance(factor, T) and self.moving[i]:
                found[i] = self._centre(inputs, i).unsqueeze(1).expand(found[i].shape)
            elif i in drawn:
                found[i] = drawn[i]
                if isinstance(factor, Motions | TC):
                    linear = factor.linear(drawn[i])
                    shift = self._centre(inputs, i).unsqueeze(1).expand(linear.shape[:-1])
                    found[i] = homogeneous(linear, shift.to(linear.dtype))
        return self.element(found)

    def _centre(self, inputs: Mapping[str, Any], i: int) -> Tensor:
        """The mean of the points that a factor translates, `[b, d]`; zero where the inputs have none."""
        mask = inputs.get(self.symmetry.mask) if self.symmetry.mask is not None else None
        for name, x in inputs.items():
            action = actions_of(self.symmetry, name, i) if name in self.symmetry.inputs and x is not None else None
            if isinstance(action, Shifted):
                times: Tensor = x.to(noise_dtype(inputs)).flatten(1).mean(1, keepdim=True)
                return times
            if isinstance(action, Points):
                masked = mask is not None and mask.ndim > 1 and mask.shape == x.shape[:-1]
                valid = mask if masked else torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
                assert valid is not None
                return masked_mean(x.to(noise_dtype(inputs)).reshape(len(x), -1, x.shape[-1]), valid.reshape(len(x), -1))
        factor, rest = self.symmetry.factors[i], self.at_rest(inputs, 1)[i]
        assert isinstance(factor, ActsOnSpace)
        origin: Tensor = rest.new_zeros(len(rest), factor.space_dim)
        return origin


class Enumerated(FactorSampler):
    """Every element of a finite group once: its average is exact.

    Permutations of masked places are those of the valid ones, each as often as every other. T(n) and TC(n) are listed up to translations.

    Args:
        symmetry: the contract.
        moving: for each factor whether it is listed, all if not given; the network is equivariant to the others by itself.

    Raises:
        GroupError: a factor is infinite.
    """

    exactness = "exact"

    def __init__(self, symmetry: Symmetry, moving: Sequence[bool] | None = None) -> None:
        super().__init__(symmetry, moving)
        for factor, is_listed in zip(symmetry.factors, self.moving, strict=True):
            if is_listed and not isinstance(factor, T | S | Planar | TC):
                raise GroupError(f"{factor} has no list of elements: average over draws (method 'average') or over a frame")

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """All elements, whatever number of samples is asked for; the last factor changes fastest.

        Raises:
            GroupError: there are more than a thousand.
        """
        rest = self.at_rest(inputs, 1)
        finite = {i: f for i, f in enumerate(self.symmetry.factors) if self.moving[i] and not isinstance(f, T)}
        orders = tuple(_order(f, rest[i]) for i, f in finite.items())
        total = prod(orders)
        if total > LARGEST_LISTED:
            raise GroupError(
                f"{self.symmetry.group} has {total} elements for these inputs, more than {LARGEST_LISTED}: "
                "average over draws (method 'average') or over a frame"
            )
        places = torch.unravel_index(torch.arange(total, device=rest[0].device), orders) if orders else ()
        drawn = {i: self._all(i, rest[i], inputs)[:, place] for i, place in zip(finite, places, strict=True)}
        return Draws(self.assembled(inputs, drawn, total))

    def _all(self, i: int, rest: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """All elements of a factor for each item, `[b, order, *element]`."""
        factor, like = self.symmetry.factors[i], rest[:, 0]
        factor = S(rest.shape[-1]) if isinstance(factor, S) else factor
        elements = listed(factor)
        assert elements is not None
        elements = elements.to(rest.device, rest.dtype).expand(len(like), *elements.shape)
        valid = self.symmetry.valid_places(inputs, i)
        if valid is None:
            return elements
        return S().by_keys(elements.to(torch.float64), valid.unsqueeze(1).expand(elements.shape))


class Haar(FactorSampler):
    """Uniform draws from a compact group, and from the compact part of one with translations.

    The drawn elements are noise that the group multiplies from the left. Of drawn motions only the rotation counts.

    Args:
        symmetry: the contract.
        moving: for each factor whether it is drawn, all if not given; the network is equivariant to the others by itself.
        antithetic: draw in pairs g and -g, where the number of samples is even: what is odd in x -> -x cancels.
        stratified: draw copies of the largest finite subgroup known whose order divides the number of samples (turns by equal angles, the
            rotations of polyhedra, all of C(n) or D(n)), each turned at random: low degrees are averaged exactly.

    Raises:
        GroupError: a factor has no uniform law, both kinds of draws are asked for, or no factor has what is asked for.
    """

    def __init__(
        self, symmetry: Symmetry, moving: Sequence[bool] | None = None, *, antithetic: bool = False, stratified: bool = False
    ) -> None:
        super().__init__(symmetry, moving)
        drawn = [i for i in range(len(symmetry.factors)) if self.moving[i]]
        for factor in (symmetry.factors[i] for i in drawn):
            if not isinstance(factor, DRAWN):
                raise GroupError(
                    f"{factor} has no uniform draws: give C, D, S, SO, O, or with translations T, SE, E, TC, and products of them"
                )
        self.names = {i: f"haar_{i}" for i in drawn if not isinstance(symmetry.factors[i], T)}
        self.noise = {name: for_factor(symmetry, i, LeftMultiplied(), Trivial()) for i, name in self.names.items()}
        self.exactness = "coupled" if self.noise else "exact"
        if antithetic and stratified:
            raise GroupError("draws are either antithetic or stratified: give one of them")
        self.antithetic, self.stratified = antithetic, stratified
        self.opposed = next((i for i in self.names if minus_one(symmetry.factors[i]) is not None), None)
        if antithetic and self.opposed is None:
            raise GroupError(f"{symmetry.group} does not hold x -> -x: draw without antithetic=True")
        if stratified and all(spread(symmetry.factors[i], 60) is None for i in self.names):
            raise GroupError(f"{symmetry.group} has no subgroup to stratify by: draw without stratified=True")

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """Elements of each factor, `[b, k, *element]`."""
        rest, dtype = self.at_rest(inputs, 1), noise_dtype(inputs)
        drawn = {}
        for i, name in self.names.items():
            factor, identity = self.symmetry.factors[i], rest[i][:1, 0]
            subgroup = self._subgroup(i, samples, identity)
            shape = (len(rest[i]), samples // len(subgroup), *identity.shape[1:])
            found = uniform_elements(factor, shape, source, name, identity.device, self.symmetry.valid_places(inputs, i))
            found = factor.compose(found.unsqueeze(2), subgroup.to(found)).flatten(1, 2)
            drawn[name] = found.to(dtype) if found.is_floating_point() else found
        return drawn

    def _subgroup(self, i: int, samples: int, identity: Tensor) -> Tensor:
        """What the draws of a factor are multiplied by from the right, `[m, *element]`: m samples come from one draw."""
        if self.stratified:
            found = spread(self.symmetry.factors[i], samples)
        elif self.antithetic and samples % 2 == 0:
            opposite = minus_one(self.symmetry.factors[i]) if i == self.opposed else None
            # the other factors stay as they are within a pair
            found = torch.cat((identity, identity if opposite is None else opposite.unsqueeze(0).to(identity)))
        else:
            found = None
        return identity if found is None else found

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """The noise itself, with the centre in place of translations; one element where nothing is drawn."""
        drawn = {i: noise[name] for i, name in self.names.items()}
        count = next((x.shape[1] for x in drawn.values()), 1)
        return Draws(self.assembled(inputs, drawn, count))


def _order(factor: Group, rest: Tensor) -> int:
    """How many elements are listed of a finite factor, one of which is given."""
    if isinstance(factor, S):
        return factorial(rest.shape[-1])
    assert isinstance(factor, Planar | TC)
    return factor.order if isinstance(factor, Planar) else factor.n


def uniform_elements(
    group: Group, shape: Sequence[int], source: NoiseSource, name: str, device: torch.device, valid: Tensor | None = None
) -> Tensor:
    """Haar elements of one group; motions without translation.

    Args:
        group: one of S(n), C(n), D(n), SO(n), O(n), SE(n), E(n) and TC(n).
        shape: `[b, k, *element]`.
        source: where the numbers come from.
        name: what they are for.
        device: where they go.
        valid: `[b, n]`, the places that are permuted; all if not given.
    """
    if isinstance(group, S):
        mask = None if valid is None else valid.unsqueeze(1).expand(*shape)
        return group.by_keys(source.uniform(name, shape, device), mask)
    if isinstance(group, Motions):
        about_origin = uniform_elements(group.rotations, (*shape[:-2], group.n, group.n), source, name, device)
        return homogeneous(about_origin, about_origin.new_zeros(about_origin.shape[:-1]))
    if isinstance(group, TC):
        turned = plane_rotation((source.uniform(name, shape[:-2], device) * group.n).long(), group.n)
        return homogeneous(turned, turned.new_zeros(turned.shape[:-1]))
    if isinstance(group, Planar):
        index = (source.uniform(name, shape[:-1], device) * group.order).long()
        return torch.stack((index % group.n, index // group.n), -1)
    drawn = orthogonal_from_normal(source.normal(name, shape, device))
    return drawn if isinstance(group, O) else reflect(drawn, torch.linalg.det(drawn).sign())
