"""A network made equivariant from outside: moved to where a sampler says, called, moved back, averaged.

Kim, Nguyen, Suleymanzade, An, Hong: Learning Probabilistic Symmetrization for Architecture Agnostic Equivariance (2023), equations 3 to 5.

phi_K(x) = sum_k w_k g_k f(g_k^-1 x), with g_1, ..., g_K drawn from p(g | x)

Axes: b batch, k samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.symmetrize.base import Draws, Sampler
from torsor.dial.symmetrize.priors import distance_from_identity
from torsor.dial.symmetrize.straight_through import Relaxation
from torsor.dial.symmetrize.transport import Transport, argument_names, mapped
from torsor.errors import GroupError, ShapeError
from torsor.nn.noise_sources import DrawnNoise, FixedNoise, NoiseSource


class Symmetrized(nn.Module):
    """The average of a network over group elements that move with its input.

    Equivariant whatever the network is, and as exactly as the sampler: "exact" over a listed group or frame; "coupled" where elements are
    drawn, that is equal when the noise is moved along with the input, equal in distribution and in expectation when it is not. Then the
    error of one call falls like 1/sqrt(samples).

    It takes the arguments of the network, and the noise of the sampler by name, `[b, k, ...]`: a call without noise is deterministic, with
    a noise that is the same for every item of every call. The k is that of the noise, else `samples` in training mode, else
    `evaluation_samples`: few samples in training cost little and regularise, many in evaluation always help. Terms are averaged before any
    loss. A network that draws noise of its own gets one draw for all samples of an item.

    Args:
        base: any module with named arguments and a batch axis first, that returns a tensor, a tuple or a mapping.
        sampler: what draws the elements; it holds the contract.
        samples: the k of training mode.
        evaluation_samples: the k of evaluation mode; `samples` if not given.
        max_batch: items that go through the network at once, k of them for each input; all if not given.
        prior: weight of a penalty that keeps the elements near the identity, for a network that was trained on upright inputs; 0 is none.
        relaxation: how a learned permutation gets its gradient, see `Softened`.
        seed: of the noise of a call that brings none.

    Raises:
        GroupError: a number is below 1, there is a prior and nothing that learns, or the sampler and the network have arguments of the
            same name.
    """

    def __init__(
        self,
        base: nn.Module,
        sampler: Sampler,
        *,
        samples: int = 1,
        evaluation_samples: int | None = None,
        max_batch: int | None = None,
        prior: float = 0.0,
        relaxation: Relaxation = "straight-through",
        seed: int = 0,
    ) -> None:
        super().__init__()
        evaluation_samples = samples if evaluation_samples is None else evaluation_samples
        if min(samples, evaluation_samples) < 1:
            raise GroupError(f"samples is {samples} and evaluation_samples is {evaluation_samples}: give at least 1")
        if prior and next(sampler.parameters(), None) is None:
            raise GroupError(f"prior is {prior} but {type(sampler).__name__} learns nothing: leave it out, or use a learned law")
        contract = sampler.symmetry
        self._names = argument_names(base)
        clash = sorted(set(sampler.noise) & {*self._names, *contract.inputs})
        if clash:
            raise GroupError(f"the network has an argument {clash[0]!r}, which is also the name of the sampler's noise: rename it")
        self.base, self.sampler = base, sampler
        self.samples, self.evaluation_samples, self.seed, self.prior = samples, evaluation_samples, seed, prior
        self.transport = Transport(contract, max_batch, relaxation)
        self.symmetry = replace(contract, inputs={**contract.inputs, **sampler.noise}, exactness=sampler.exactness)
        self._penalty: Tensor | None = None

    @property
    def count(self) -> int:
        """The number of samples of a call that brings no noise: that of training or of evaluation."""
        return self.samples if self.training else self.evaluation_samples

    # -- noise ------------------------------------------------------------------------------------------------------------------------

    def draw(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The noise of a call: that of the sampler, `[b, k, ...]`, and what the network itself draws.

        Args:
            inputs: named arguments of the network.
            generator: where the numbers come from.
        """
        own = self.sampler.draw(self._of_base(inputs), self.count, DrawnNoise(generator))
        inner = getattr(self.base, "draw", None)
        return own if inner is None else {**inner(self._of_base(inputs), generator), **own}

    def noise(self, inputs: Mapping[str, Any], samples: int, source: NoiseSource | None = None) -> dict[str, Tensor]:
        """The noise of the sampler for these inputs, from a source; the fixed one of a call without noise if none is given."""
        return self.sampler.draw(self._of_base(inputs), samples, FixedNoise(self.seed) if source is None else source)

    def _of_base(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that are no noise of the sampler."""
        return {name: x for name, x in inputs.items() if name not in self.sampler.noise}

    # -- the average ------------------------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The average of the terms; takes the arguments of the network and the noise of the sampler, returns what the network returns."""
        output, draws = self.terms(*args, **kwargs)
        if self.training:
            self._penalty = self._penalty_of(draws)
        return mapped(lambda y: averaged(y, draws.weights), output)

    def terms(self, *args: Any, **kwargs: Any) -> tuple[Any, Draws]:
        """The terms g_k f(g_k^-1 x) of the average, each tensor `[b, k, ...]`, and the draws they were made with."""
        given = {name: x for name, x in {**dict(zip(self._names, args, strict=False)), **kwargs}.items() if x is not None}
        inputs = self._of_base(given)
        noise = {name: given[name] for name in self.sampler.noise if name in given}
        if len(noise) < len(self.sampler.noise):
            noise = {**self.noise(inputs, self.count), **noise}
        draws = self.sampler(inputs, noise, self.count)
        output = self.transport.terms(self.base, inputs, draws.elements, draws.soft)
        b, k = draws.leading
        return mapped(lambda y: y.reshape(b, k, *y.shape[1:]), output), draws

    # -- the loss ---------------------------------------------------------------------------------------------------------------------

    def penalty(self) -> Float[Tensor, ""] | None:
        """What the last call in training mode adds to the loss, once: the sampler's penalty, and the prior's."""
        penalty, self._penalty = self._penalty, None
        return penalty

    def _penalty_of(self, draws: Draws) -> Tensor | None:
        if not self.prior:
            return draws.penalty
        prior = self.prior * distance_from_identity(self.sampler.symmetry, draws, self.sampler.moving)
        return prior if draws.penalty is None else draws.penalty + prior


def averaged(terms: Tensor, weights: Float[Tensor, "b k"] | None) -> Tensor:
    """The mean over axis 1, weighted where there are weights.

    Raises:
        ShapeError: the terms are whole numbers.
    """
    if not (terms.is_floating_point() or terms.is_complex()):
        raise ShapeError(f"the network returns {terms.dtype}, of which there is no mean: average scores before they become classes")
    if weights is None:
        return terms.mean(1)
    return (weights.to(terms.dtype).reshape(*weights.shape, *(1,) * (terms.ndim - 2)) * terms).sum(1)
