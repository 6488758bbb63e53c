"""What draws the group elements of a symmetrised network.

phi(x) = E_{g ~ p(.|x)} [ g f(g^-1 x) ] is equivariant for every network f if p(. | h x) is p(. | x) moved by h (Kim, Nguyen, Suleymanzade,
An, Hong: Learning Probabilistic Symmetrization (2023), theorems 1 and 3). Averages over the group, frames and canonical orders are the
fixed choices of p, a learned distribution is the free one. All of them are samplers: a function of the input and of noise that the group
moves, with q(h x, h noise) = h q(x, noise).

Axes: b batch, k samples, n places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.errors import GroupError
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
    def leading(self) -> tuple[int, int]:
        """The b and k."""
        first = self.elements[0] if isinstance(self.elements, tuple) else self.elements
        b, k = first.shape[:2]
        return b, k


class Sampler(nn.Module, ABC):
    """Draws elements of a group from p(g | x), with p(g | h x) = p(h^-1 g | x).

    A leaf sets `noise` (and `exactness` where it is not "coupled") and writes `draw` and `forward`.

    Args:
        symmetry: the contract of the network that is symmetrised: how the group acts on its inputs and output.
        moving: for each factor of the group whether it is drawn, all of them if not given. The others rest at the identity, for a network
            that is equivariant to them by itself; the sampler still has to be equivariant to them, and `noise` says how they act.

    Raises:
        GroupError: the contract has no batch axis, or `moving` does not fit the factors.
    """

    noise: Mapping[str, Actions]
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

    @abstractmethod
    def draw(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource) -> dict[str, Tensor]:
        """The noise of a call, by the names of `noise`, each `[b, k, ...]`; empty where there is none.

        Args:
            inputs: named arguments of the network.
            samples: the k.
            source: where the numbers come from; ask it for `source.normal(name, shape, device)`, never for a generator.
        """

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


def noise_dtype(inputs: Mapping[str, Any]) -> torch.dtype:
    """The floating type of the inputs, but single precision where they have less: noise and orders are not rounded to half precision."""
    found = [x.dtype for x in inputs.values() if isinstance(x, Tensor) and x.is_floating_point()]
    coarse = found[0] if found else torch.get_default_dtype()
    return torch.promote_types(coarse, torch.float32)
