"""Upright by energy: of all elements of a finite group the one that a network likes best.

Kaba et al.: Equivariance with Learned Canonicalization Functions (2023), section 3.2, canonicalisation by optimisation; Mondal, Panigrahi,
Kaba, Rajeswar, Ravanbakhsh: Equivariant Adaptation of Large Pretrained Models (2023) for images and for the prior.

p(g | x) = softmax_g e(g^-1 x)

The network e may be any: the energy of h x at h g is that of x at g.

Axes: b batch, k elements of the group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.symmetrize.base import Draws, Sampler, repeated
from torsor.errors import GroupError, ShapeError
from torsor.groups import FiniteGroup
from torsor.groups.base import Element
from torsor.symmetry import Symmetry


class EnergySampler(Sampler):
    """What both have in common: the energies of all elements.

    Args:
        symmetry: the contract, with a finite group or a product of such.
        energy: any network that takes the inputs by name and gives a number for each item, `[b]` or `[b, 1]`.
        prior: weight of -log p(identity | x) among the penalties, which keeps inputs that lie as the network has learned them where they
            are, so that a pretrained one goes on seeing what it knows; 0 for none.

    Raises:
        GroupError: the group has no list of elements.
    """

    def __init__(self, symmetry: Symmetry, energy: nn.Module, prior: float = 0.0) -> None:
        super().__init__(symmetry)
        for factor in symmetry.factors:
            if not isinstance(factor, FiniteGroup) or getattr(factor, "size", 0) is None:
                raise GroupError(f"{symmetry.group} has no list of elements: give a finite group such as C(4), D(4) or S(5)")
        self.energy = energy
        self.prior = prior

    def _elements(self, inputs: Mapping[str, Any]) -> tuple[Element, ...]:
        """All elements of the group, `[k, *element]` for each factor, identity first."""
        device = self.at_rest(inputs, 1)[0].device
        elements: Element = self.symmetry.group.elements(device)  # type: ignore[attr-defined]
        return elements if isinstance(elements, tuple) else (elements,)

    def probabilities(self, inputs: Mapping[str, Any]) -> Float[Tensor, "b k"]:
        """p(g | x) of all elements in the order of the group's list."""
        elements, items = self._elements(inputs), self.at_rest(inputs, 1)[0].shape[0]
        order = len(elements[0])
        every = self.element([e.repeat(items, *(1,) * (e.ndim - 1)) for e in elements])
        energies: Tensor = self.energy(**self.symmetry.transform(self.symmetry.group.inverse(every), repeated(inputs, order)))
        if energies.numel() != items * order:
            raise ShapeError(f"the energy of {items * order} inputs is {list(energies.shape)}: give one number for each, [b] or [b, 1]")
        return energies.to(torch.promote_types(energies.dtype, torch.float32)).reshape(items, order).softmax(-1)

    def _penalty(self, probabilities: Float[Tensor, "b k"]) -> Float[Tensor, ""] | None:
        """The prior, in training mode; the identity is the first of the elements."""
        if not self.training or self.prior == 0:
            return None
        return -self.prior * probabilities[:, 0].clamp(min=torch.finfo(probabilities.dtype).tiny).log().mean()

    def _all(self, inputs: Mapping[str, Any], weights: Float[Tensor, "b k"]) -> Element:
        """All elements for each item, `[b, k, *element]`."""
        return self.element([e.expand(len(weights), *e.shape) for e in self._elements(inputs)])


class EnergyFrame(EnergySampler):
    """The average over all elements, each with its probability: exact for every input, and continuous if the energy is.

    Args:
        symmetry: the contract, with a finite group or a product of such.
        energy: any network that takes the inputs by name and gives a number for each item, `[b]` or `[b, 1]`.
        prior: weight of -log p(identity | x) among the penalties.

    Raises:
        GroupError: the group has no list of elements.
    """

    exactness = "exact"

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """All elements with their probabilities."""
        probabilities = self.probabilities(inputs)
        return Draws(self._all(inputs, probabilities), probabilities, penalty=self._penalty(probabilities))


class EnergyCanonical(EnergySampler):
    """The element of the highest energy; of several with the same energy the first of the group's list.

    In training mode all elements are given, with weight 1 for the best and 0 for the others, and the gradient of the weights is that of the
    probabilities (straight-through): the output is the same, and the energy learns. That costs as many calls of the network as the group
    has elements, in evaluation one.

    Args:
        symmetry: the contract, with a finite group or a product of such.
        energy: any network that takes the inputs by name and gives a number for each item, `[b]` or `[b, 1]`.
        prior: weight of -log p(identity | x) among the penalties.

    Raises:
        GroupError: the group has no list of elements.
    """

    exactness = "relaxed"

    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:  # noqa: ARG002
        """The best element."""
        probabilities = self.probabilities(inputs)
        best = probabilities.argmax(-1)
        if not self.training:
            return Draws(self.element([e[best].unsqueeze(1) for e in self._elements(inputs)]))
        hard = torch.nn.functional.one_hot(best, probabilities.shape[-1]).to(probabilities.dtype)
        weights = hard + probabilities - probabilities.detach()
        return Draws(self._all(inputs, weights), weights, penalty=self._penalty(probabilities))
