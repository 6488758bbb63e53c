"""As many samples as it takes: the average of a symmetrised network until its standard error is small.

The samples of a call are drawn together where they are stratified or in pairs. What is independent are then the calls, so errors are
estimated from replicates: means over one such set of samples each.

Axes: b batch, k samples, r replicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torsor.dial.symmetrize.base import repeated
from torsor.dial.symmetrize.module import Symmetrized, averaged
from torsor.dial.symmetrize.transport import mapped
from torsor.errors import GroupError, NonFiniteError
from torsor.nn.noise_sources import DrawnNoise


@dataclass(frozen=True)
class Estimate:
    """An average with its uncertainty.

    Args:
        mean: what the network returns, averaged: a tensor, mapping or tuple.
        standard_error: of every entry of the mean, in the same structure; zero where nothing is drawn.
        samples: how many samples of each item were taken.
        converged: whether all standard errors are below the tolerance.
    """

    mean: Any
    standard_error: Any
    samples: int
    converged: bool


@torch.no_grad()
def estimate(
    module: Symmetrized,
    inputs: Mapping[str, Any],
    tolerance: float,
    generator: torch.Generator,
    *,
    block: int = 1,
    first: int = 32,
    most: int = 4096,
) -> Estimate:
    """Draw samples until the standard error of every entry of the mean is below a tolerance, doubling their number each time.

    The module runs as it stands, in train or eval mode. Stopping where an estimated error is small favours estimates that are too small,
    the more so the fewer replicates they are made of; from the default of `first` on, 95 % intervals were seen to cover 92 to 95 %.

    Args:
        module: a symmetrised network.
        inputs: named arguments of the network.
        tolerance: largest standard error, in units of the output.
        generator: where the noise comes from.
        block: samples that are drawn together: 1 where they are independent, 2 for pairs, the size of a subgroup for stratified draws.
        first: replicates before the error is looked at, at least 2.
        most: replicates after which it is given up.

    Raises:
        GroupError: a number is too small.
        NonFiniteError: the network's output is not finite.
    """
    if tolerance <= 0 or first < 2 or block < 1 or most < first:
        raise GroupError(
            f"tolerance is {tolerance:g}, first {first}, block {block} and most {most}: give a positive tolerance, "
            "first 2 or more (a standard error needs two replicates), block 1 or more, and most not below first"
        )
    if not module.sampler.noise:
        return _certain(module, inputs)
    moments, wanted = _Moments(), first
    while True:
        replicates = _replicates(module, inputs, wanted - moments.count, block, generator)
        moments.add(_leaves(replicates))
        errors = moments.standard_errors()
        converged = all(bool((error < tolerance).all()) for error in errors)
        if converged or moments.count >= most:
            mean, error = _rebuilt(replicates, moments.means), _rebuilt(replicates, errors)
            return Estimate(mean, error, moments.count * block, converged)
        wanted = min(2 * moments.count, most)


def _certain(module: Symmetrized, inputs: Mapping[str, Any]) -> Estimate:
    """The average of a sampler that draws nothing."""
    terms, draws = module.terms(**inputs)
    mean = mapped(lambda y: averaged(y, draws.weights), terms)
    return Estimate(mean, mapped(torch.zeros_like, mean), draws.leading[1], True)


def _replicates(module: Symmetrized, inputs: Mapping[str, Any], count: int, block: int, generator: torch.Generator) -> Any:
    """Means over independent sets of samples, each tensor `[b, r, ...]`."""
    source = DrawnNoise(generator)
    sets = module.noise(repeated(inputs, count), block, source)
    noise = {name: x.reshape(-1, count * block, *x.shape[2:]) for name, x in sets.items()}
    terms, draws = module.terms(**inputs, **noise)
    weights = draws.weights
    if weights is not None:  # weights of a set sum to one over the set
        weights = weights.reshape(len(weights), count, -1)
        weights = (weights / weights.sum(-1, keepdim=True)).flatten(0, 1)

    def replicates(y: Tensor) -> Tensor:
        each = y.reshape(len(y) * count, -1, *y.shape[2:])
        return averaged(each, weights).reshape(len(y), count, *y.shape[2:])

    return mapped(replicates, terms)


class _Moments:
    """Mean and sum of squared deviations of replicates that come in parts (Chan, Golub, LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.means: list[Tensor] = []
        self.squares: list[Tensor] = []

    def add(self, replicates: list[Tensor]) -> None:
        """Take in some more, each tensor `[b, r, ...]`."""
        count = replicates[0].shape[1]
        means = [y.mean(1) for y in replicates]
        squares = [(y - mean.unsqueeze(1)).square().sum(1) for y, mean in zip(replicates, means, strict=True)]
        if self.count:
            share = count / (self.count + count)
            steps = [new - old for new, old in zip(means, self.means, strict=True)]
            squares = [a + b + step.square() * self.count * share for a, b, step in zip(squares, self.squares, steps, strict=True)]
            means = [old + step * share for old, step in zip(self.means, steps, strict=True)]
        self.means, self.squares, self.count = means, squares, self.count + count

    def standard_errors(self) -> list[Tensor]:
        """Of every entry of the means.

        Raises:
            NonFiniteError: a mean is not finite.
        """
        if not all(bool(y.isfinite().all()) for y in self.means):
            raise NonFiniteError("the network's output is not finite: there is no mean to estimate")
        return [(s / (self.count * (self.count - 1))).sqrt() for s in self.squares]


def _leaves(output: Any) -> list[Tensor]:
    """The tensors of an output in order."""
    found: list[Tensor] = []
    mapped(lambda y: found.append(y) or y, output)  # type: ignore[func-returns-value]
    return found


def _rebuilt(structure: Any, leaves: list[Tensor]) -> Any:
    """An output of a structure with other tensors."""
    remaining = iter(leaves)
    return mapped(lambda _: next(remaining), structure)
