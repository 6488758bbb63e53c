"""What draws the group elements of a symmetrised network.

phi(x) = E_{g ~ p(.|x)} [ g f(g^-1 x) ] is equivariant for every network f if p(. | h x) is p(. | x) moved by h (Kim, Nguyen, Suleymanzade,
An, Hong: Learning Probabilistic Symmetrization (2023), theorems 1 and 3). Averages over the group, frames and canonical orders are the
fixed choices of p, a learned distribution is the free one. All of them are samplers: a function of the input and of noise that the group
moves, with q(h x, h noise) = h q(x, noise).

Axes: b batch, k samples, n places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.errors import GroupError
from torsor.groups import Group
from torsor.groups.base import Element
from torsor.nn.noise_sources import NoiseSource
from torsor.symmetry import Actions, Exactness, Symmetry


class Draws(NamedTuple):
    """Group elements for each item of a batch.

    Args:
        elements: elements of the contract's group with leading axes `[b, k]`, a tuple for a product; permutations are int64 `[b, k, n]`.
        weights: `[b, k]`, not negative, with sum 1 over k; None where all samples count alike.
        soft: for each factor of the group doubly stochastic matrices `[b, k, n, n]`, near `group.matrix(elements)`, through which the
            gradient of a permutation flows to its scores; None for factors that have none, and outside of training mode.
        penalty: a scalar to be minimised with the loss; None outside of training mode.
    """

    elements: Element
    weights: Float[Tensor, "b k"] | None = None
    soft: tuple[Float[Tensor, "b k n n"] | None, ...] = ()
    penalty: Float[Tensor, ""] | None = None

    @property
    def each(self) -> tuple[Element, ...]:
        """The elements of every factor, whether there is one or more."""
        return self.elements if isinstance(self.elements, tuple) else (self.elements,)

    @property
    def leading(self) -> tuple[int, int]:
        """The b and k."""
        b, k = self.each[0].shape[:2]
        return b, k


class Sampler(nn.Module, ABC):
    """Draws elements of a group from p(g | x), with p(g | h x) = p(h^-1 g | x).

    A leaf writes `forward`; one with noise sets `noise` and writes `draw`; one whose promise is not "coupled" sets `exactness`.

    Args:
        symmetry: the contract of the network that is symmetrised: how the group acts on its inputs and output.
        moving: for each factor of the group whether it is drawn, all of them if not given. The others rest at the identity, for a network
            that is equivariant to them by itself; the sampler still has to be equivariant to them, and `noise` says how they act.

    Raises:
        GroupError: the contract has no batch axis, or `moving` does not fit the factors.
    """

    noise: Mapping[str, Actions] = MappingProxyType({})
    """How the group acts on each tensor of noise, `[b, k, ...]`, with one action for each factor as in `Symmetry.inputs`."""
    exactness: Exactness = "coupled"
    """What a network symmetrised with it promises: "coupled" where there is noise, "exact" where there is none, "relaxed" where ties or
    symmetries of the input are broken by the order of the places, or otherwise not equivariantly."""

    def __init__(self, symmetry: Symmetry, moving: Sequence[bool] | None = None) -> None:
        super().__init__()
        if not symmetry.batched:
            raise GroupError("each item has elements of its own, but this contract has batched=False: put a batch axis first")
        self.symmetry = symmetry
        self.moving = (True,) * len(symmetry.factors) if moving is None else tuple(moving)
        if len(self.moving) != len(symmetry.factors):
            raise GroupError(
                f"moving is {self.moving}, but {symmetry.group} has {len(symmetry.factors)} factors: say of each if it is drawn"
            )

    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:  # noqa: ARG002
        """The noise of a call, by the names of `noise`, each `[b, k, ...]`; empty where there is none.

        Args:
            inputs: named arguments of the network.
            samples: the k.
            source: where the numbers come from; ask it for `source.normal(name, shape, device)`, never for a generator.
        """
        return {}

    @abstractmethod
    def forward(self, inputs: Mapping[str, Any], noise: Mapping[str, Tensor], samples: int) -> Draws:
        """The elements: deterministic given the noise, and h times as much when inputs and noise are moved by h.

        Args:
            inputs: named arguments of the network.
            noise: what `draw` gave, as the caller may have moved it.
            samples: the k, where the sampler has no noise to read it from and does not fix it itself.
        """

    # -- what leaves need -------------------------------------------------------------------------------------------------------------

    def at_rest(self, inputs: Mapping[str, Any], samples: int) -> tuple[Element, ...]:
        """The identities of all factors, `[b, k, *element]` each, whether there is one factor or more; S() is sized by the inputs."""
        rest = self.symmetry.identity(inputs)
        each = rest if len(self.symmetry.factors) > 1 else (rest,)
        return tuple(e.unsqueeze(1).expand(e.shape[0], samples, *e.shape[1:]) for e in each)

    def element(self, factors: Sequence[Element]) -> Element:
        """The element of the group with these elements of its factors: a tuple for a product, else the only one."""
        return tuple(factors) if len(self.symmetry.factors) > 1 else factors[0]


class OneFactorSampler(Sampler):
    """A sampler of one factor of the group: the network has to be equivariant to the others, or other samplers draw them (`Chained`).

    Args:
        symmetry: the contract.
        factor: number of the factor, see `one_factor`.
    """

    def __init__(self, symmetry: Symmetry, factor: int) -> None:
        super().__init__(symmetry, [i == factor for i in range(len(symmetry.factors))])
        self.factor = factor

    def of_factor(self, inputs: Mapping[str, Any], elements: Element, weights: Float[Tensor, "b k"] | None = None) -> Draws:
        """Draws of these elements `[b, k, *element]` of the factor; the others rest."""
        each = list(self.at_rest(inputs, elements.shape[1]))
        each[self.factor] = elements
        return Draws(self.element(each), weights)


def one_factor(symmetry: Symmetry, fits: Callable[[Group], bool], said: str) -> int:
    """Which factor of the group fits.

    Args:
        symmetry: the contract.
        fits: says it of a factor.
        said: how an error calls such factors, and why there has to be one.

    Raises:
        GroupError: none or several do.
    """
    found = [i for i, factor in enumerate(symmetry.factors) if fits(factor)]
    if len(found) != 1:
        raise GroupError(f"{symmetry.group} has {len(found)} factors {said}")
    return found[0]


def repeated(inputs: Mapping[str, Any], k: int) -> dict[str, Any]:
    """Each item k times in a row."""
    return {name: x.repeat_interleave(k, 0) if isinstance(x, Tensor) and k > 1 else x for name, x in inputs.items()}


def noise_dtype(inputs: Mapping[str, Any]) -> torch.dtype:
    """The floating type of the inputs, but single precision where they have less: noise and orders are not rounded to half precision."""
    found = [x.dtype for x in inputs.values() if isinstance(x, Tensor) and x.is_floating_point()]
    coarse = found[0] if found else torch.get_default_dtype()
    return torch.promote_types(coarse, torch.float32)
