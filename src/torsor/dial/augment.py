"""Symmetry by data: move every training sample by a random group element, and average over the orbit at test time.

A model that sees `(g x, g y)` for random g learns the group from examples; `OrbitAverage` buys the rest at test time. Together they tell
apart two things that comparisons of architectures mix up: what a network knows, and how often it is asked.

Axes: b batch, k samples of the orbit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from typing import Any, overload

import torch
from torch import Tensor, nn

from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.transport import Transport, argument_names, mapped
from torsor.dial.symmetrize.verb import symmetrize
from torsor.errors import GroupError
from torsor.nn.noise import with_noise
from torsor.symmetry import Symmetry


class Augment:
    """Move each sample of a batch, targets and all, by a group element of its own.

    (x, y) -> (g x, g y) with a fresh g for every item: Haar where the group is compact, else the documented distribution of `Group.sample`.

    Args:
        symmetry: the *task's* contract: `inputs` says how the group acts on every tensor of a batch, inputs and targets alike. Tensors that
            it does not name stay as they are.

    Raises:
        GroupError: the contract is not batched, so that items cannot have elements of their own.
    """

    def __init__(self, symmetry: Symmetry) -> None:
        if not symmetry.batched:
            raise GroupError(
                "augmentation moves each item by an element of its own, but this contract has batched=False: put a batch axis first"
            )
        self.symmetry = symmetry

    def __call__(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The moved batch; the tensors that went in are left alone.

        Args:
            batch: named tensors with a common leading axis, `[b, ...]`.
            generator: where the group elements come from.
        """
        return self.symmetry.transform(self.symmetry.sample(batch, generator), batch)


class OrbitAverage(nn.Module):
    """The average of a module over random group elements: test-time augmentation.

    fbar(x) = 1/k sum_m g_m^-1 f(g_m x)

    Each item of the batch has k elements of its own, from `Group.sample` whether the group has a uniform law or not: those that `Augment`
    draws. They come from `seed` and start anew in every call, so that the module is a function of its input. It is equivariant in
    expectation, with a residual that falls like 1/sqrt(k). `torsor.symmetrize` makes averages whose elements move with the input.

    Args:
        module: any module with a batch axis first.
        symmetry: how the group acts on its inputs and output; the module's own contract if not given.
        samples: the k of the average.
        seed: of the group elements.
        max_batch: items that go through the module at once, k of them for each input; all if not given.

    Raises:
        GroupError: the contract is not batched, there is none, or `samples` is below 1.
    """

    def __init__(
        self, module: nn.Module, symmetry: Symmetry | None = None, samples: int = 16, seed: int = 0, max_batch: int | None = None
    ) -> None:
        super().__init__()
        contract = symmetry or getattr(module, "symmetry", None)
        if contract is None:
            raise GroupError(f"{type(module).__name__} has no contract: pass symmetry=Symmetry(...)")
        if samples < 1:
            raise GroupError(f"samples is {samples}: give at least 1")
        self.module = module
        self.transport = Transport(contract, max_batch)
        self.symmetry = replace(contract, exactness="in expectation")
        self.samples = samples
        self.seed = seed
        self._names = argument_names(module)

    def forward(self, *args: Tensor | None, **kwargs: Tensor | None) -> Any:
        """The average over the orbit; takes the arguments of the module, returns what it returns."""
        return mapped(lambda y: y.mean(0), self.orbit(*args, **kwargs))

    def orbit(self, *args: Tensor | None, **kwargs: Tensor | None) -> Any:
        """The terms of the average, g_m^-1 f(g_m x): the module's output with a new axis 0 of length k."""
        given = {name: x for name, x in {**dict(zip(self._names, args, strict=False)), **kwargs}.items() if x is not None}
        inputs = {name: x.repeat(self.samples, *(1,) * (x.ndim - 1)) for name, x in given.items()}
        generator = torch.Generator(next(iter(inputs.values())).device).manual_seed(self.seed)
        back = self.symmetry.group.inverse(self.symmetry.sample(inputs, generator))
        terms = self.transport.terms(self.module, with_noise(self.module, inputs, generator), mapped(lambda e: e.unsqueeze(1), back))
        return mapped(lambda y: y.reshape(self.samples, -1, *y.shape[1:]), terms)


class AugmentedBatches:
    """The batches of a loader with every item moved, by other group elements in each pass.

    Args:
        batches: anything that can be passed over again and gives named tensors.
        symmetry: the task's contract, as for `Augment`.
        seed: of the group elements.

    Raises:
        GroupError: the contract is not batched.
    """

    def __init__(self, batches: Iterable[Mapping[str, Tensor]], symmetry: Symmetry, seed: int = 0) -> None:
        self.batches, self.move = batches, Augment(symmetry)
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches, moved."""
        for batch in self.batches:
            yield self.move(batch, self.generator)

    def __len__(self) -> int:
        """Batches in a pass, where the loader knows."""
        if not isinstance(self.batches, Sized):
            raise TypeError(f"{type(self.batches).__name__} does not know how many batches it has")
        return len(self.batches)


@overload
def augment(target: nn.Module, symmetry: Symmetry | None = None, *, average: int = 0, seed: int = 0) -> Symmetrized: ...
@overload
def augment(target: Iterable[Mapping[str, Tensor]], symmetry: Symmetry, *, seed: int = 0) -> AugmentedBatches: ...
def augment(
    target: nn.Module | Iterable[Mapping[str, Tensor]], symmetry: Symmetry | None = None, *, average: int = 0, seed: int = 0
) -> Symmetrized | AugmentedBatches:
    """Let a network learn a symmetry from moved samples: `torsor.augment`.

    A module becomes g f(g^-1 x), with a fresh g for each sample in training mode: the same loss as with moved samples and targets wherever
    the loss does not change when output and target move together. A loader gives moved batches.

    Args:
        target: a module with a batch axis first, or an iterable of batches (named tensors, inputs and targets).
        symmetry: of a module the contract that is wanted, its own if not given; of batches the task's contract, which names targets too.
        average: modules: group elements in the average of evaluation mode (test-time averaging); 0 for the plain network.
        seed: of the noise of a module in a call that brings none, or of the group elements of a loader.

    Raises:
        GroupError: there is no contract, or the group has no uniform law (modules).
    """
    if isinstance(target, nn.Module):
        method = "average" if average else "augment"
        return symmetrize(target, symmetry, method, samples=1, evaluation_samples=max(1, average), seed=seed)
    if symmetry is None:
        raise GroupError("batches have no contract of their own: give symmetry=, the task's, which says how targets move")
    return AugmentedBatches(target, symmetry, seed)
