"""The equivariance penalty: what a module lacks of its symmetry, measured on the training samples and added to the loss.

E_g ||f(g x) - g f(x)||^2 / ||f(x)||^2 over random elements of the contract's group. It asks nothing of the module but a contract.

Axes: b batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.check import contract_of
from torsor.dial.relax.base import Relaxed, penalty_weight
from torsor.dial.relax.projection import listed
from torsor.errors import GroupError
from torsor.groups.base import Element, Group
from torsor.symmetry import Symmetry


def equivariance_penalty(
    module: nn.Module, inputs: Mapping[str, Any], elements: Element, symmetry: Symmetry | None = None, output: Any = None
) -> Float[Tensor, ""]:
    """||f(g x) - g f(x)||^2 / ||f(x)||^2, sums over all items and outputs, differentiable by the weights.

    Args:
        module: f.
        inputs: its arguments by name.
        elements: a group element for each item, as `symmetry.sample(inputs)` gives them.
        symmetry: the contract; the module's own if not given.
        output: f(x), where it is known.
    """
    contract = contract_of(module, symmetry)
    output = module(**inputs) if output is None else output
    moved = contract.transform(elements, inputs)
    found = contract.at_valid(moved, module(**moved))
    wanted = contract.at_valid(moved, contract.transform_output(elements, output))
    differences = torch.stack([(found[name] - y).square().sum() for name, y in wanted.items()]).sum()
    sizes = torch.stack([y.square().sum() for y in wanted.values()]).sum()
    # an output of nothing but zeros is equivariant
    return differences / sizes.clamp(min=torch.finfo(sizes.dtype).tiny)


class EquivariancePenalized(Relaxed):
    """A module that is drawn towards its symmetry by a penalty: it computes what it computed before.

    In training every sample is moved by one random element, so that a step costs two calls of the module.

    Args:
        module: any module with a contract.
        strength: the penalty counts (1 - strength) / strength: nothing at 1. A penalty reaches strictness in the limit alone; the strict
            branch is the average over the group, which is exact and needs a group whose elements can be listed. A module that has the
            symmetry by itself is its own strict branch.
        symmetry: what it should be equivariant to; its own contract if not given.
        penalty: what the penalty counts at strength 1/2.

    Raises:
        GroupError: there is no contract, or the strength is 0 and the group cannot be listed.
    """

    def __init__(self, module: nn.Module, strength: float, symmetry: Symmetry | None = None, penalty: float = 1.0) -> None:
        contract = contract_of(module, symmetry)
        super().__init__(module, strength, replace(contract, exactness="exact"))
        self.penalty_weight = penalty
        self._found: Tensor | None = None
        self.holds = contract.exactness in ("exact", "coupled")
        if strength == 0 and not self.holds:
            _all_elements(contract.group)

    def forward(self, *args: Any, elements: Element | None = None, **kwargs: Any) -> Any:
        """The output of the module; with group elements in training mode, the penalty is kept until it is asked."""
        inputs = self.named(args, kwargs)
        if self.freedom == 0:
            return self._average(inputs)
        output = self.module(**inputs)
        weight = self.penalty_weight * penalty_weight(self.freedom)
        if self.training and elements is not None and weight:
            self._found = weight * equivariance_penalty(self.module, inputs, elements, self.kept, output)
        return output

    def penalty(self) -> Float[Tensor, ""] | None:
        """The weighted penalty of the last call in training mode, asked once."""
        found, self._found = self._found, None
        return found

    def draw_own(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """An element of the group for each item of the batch."""
        return {"elements": self.kept.sample(inputs, generator)}

    def _average(self, inputs: Mapping[str, Any]) -> Any:
        """The mean of g^-1 f(g x) over all elements of the group; f(x) where f has the symmetry by itself."""
        if self.holds:
            return self.module(**inputs)
        outputs = [self._turned(g, inputs) for g in _one_by_one(_all_elements(self.kept.group))]
        if isinstance(outputs[0], Mapping):
            return {name: torch.stack([output[name] for output in outputs]).mean(0) for name in outputs[0]}
        return torch.stack(outputs).mean(0)

    def _turned(self, g: Element, inputs: Mapping[str, Any]) -> Any:
        """g^-1 f(g x) for one element."""
        back = self.kept.group.inverse(g)
        return self.kept.transform_output(back, self.module(**self.kept.transform(g, inputs)))


def _all_elements(group: Group) -> Element:
    """All elements of the group.

    Raises:
        GroupError: they cannot be listed.
    """
    try:
        return listed(group)
    except GroupError as error:
        remedy = "give a strength above 0, or symmetrize the module"
        raise GroupError(
            f"a penalty is strict in the limit alone, and the mean over the group cannot be taken: {remedy} ({error})"
        ) from None


def _one_by_one(elements: Element) -> list[Element]:
    """The elements of a list of elements."""
    if isinstance(elements, tuple):
        return list(zip(*elements, strict=True))
    return list(elements)
