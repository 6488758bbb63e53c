"""What every relaxed module shares: one number from strict to free, and a strict branch.

A *dial* is a part of a network with a `strength` between 0 and 1: at 0 it is as equivariant as it can be, at 1 nothing holds it back. What
lies between, each method says for itself. `strict(module)` turns every dial in a module to 0 for a while.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from torsor.check import contract_of
from torsor.errors import ConfigError
from torsor.nn.noise import draw_noise
from torsor.representations import Trivial
from torsor.symmetry import Actions, Symmetry

Module = TypeVar("Module", bound=nn.Module)


class Dial(nn.Module):
    """A part of a network with a dial.

    Args:
        strength: 0 is strict, 1 is free.

    Raises:
        ConfigError: the strength is not between 0 and 1.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = check_strength(strength)
        self.is_strict = False

    @property
    def freedom(self) -> float:
        """The strength in force: 0 inside `strict()`."""
        return 0.0 if self.is_strict else self.strength


def check_strength(strength: float) -> float:
    """The strength, if it is one.

    Raises:
        ConfigError: it is not between 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength is {strength}: give a number from 0, strict, to 1, free")
    return float(strength)


def _dials(module: nn.Module) -> list[Dial]:
    return [part for part in module.modules() if isinstance(part, Dial)]


@contextmanager
def strict(module: Module) -> Iterator[Module]:
    """Turn every dial in a module to 0, and back to where it was in the end.

    Args:
        module: a relaxed model, or whatever holds one.
    """
    dials = _dials(module)
    before = [dial.is_strict for dial in dials]
    try:
        for dial in dials:
            dial.is_strict = True
        yield module
    finally:
        for dial, was in zip(dials, before, strict=True):
            dial.is_strict = was


def set_strength(module: nn.Module, strength: float) -> None:
    """Turn every dial in a module, in place and for good: a trained model can be made stricter.

    Raises:
        ConfigError: the strength is not between 0 and 1, or the module has no dial.
    """
    dials = _dials(module)
    if not dials:
        raise ConfigError(f"{type(module).__name__} has no dial: relax it first")
    for dial in dials:
        dial.strength = check_strength(strength)


class Relaxed(Dial, ABC):
    """A module with a dial: it takes the arguments of the module it was made of, and noise of its own.

    Args:
        module: the module.
        strength: 0 is strict, 1 is free.
        symmetry: the contract of the strict branch; the module's own if not given.
        noise: action of the group on each noise argument.

    Raises:
        GroupError: there is no contract.
    """

    def __init__(self, module: nn.Module, strength: float, symmetry: Symmetry | None = None, noise: tuple[str, ...] = ()) -> None:
        super().__init__(strength)
        contract = contract_of(module, symmetry)
        self.module = module
        self.kept = replace(contract, inputs={**contract.inputs, **{name: still(contract) for name in noise}})
        self._names = tuple(inspect.signature(module.forward).parameters)

    @property
    def symmetry(self) -> Symmetry:
        """The contract in force: that of the strict branch inside `strict()` and at strength 0, else "approximate"."""
        if self.freedom == 0 or self.kept.exactness == "none":
            return self.kept
        return replace(self.kept, exactness="approximate")

    def strict(self: Module) -> Any:
        """The strictly equivariant model with the same weights, as a context: `with model.strict(): ...`."""
        return strict(self)

    def draw(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The noise of the module itself, and in training mode that of its relaxation."""
        mine = self.draw_own(inputs, generator) if self.training and self.freedom else {}
        return {**draw_noise(self.module, self.fed(inputs), generator), **mine}

    @abstractmethod
    def draw_own(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The noise of the relaxation in training."""

    def fed(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the module itself is fed; the same unless the relaxation changes it."""
        return inputs

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name."""
        return {**dict(zip(self._names, args, strict=False)), **kwargs}


class Exchanged(Relaxed):
    """A copy of a module, some of whose layers are exchanged for layers with a dial.

    Args:
        module: the module; it is copied, and left alone.
        exchange: gives the layer to put in the place of a layer, None where it stays. It is asked once for each layer, by name.
        strength: 0 is strict, 1 is free.
        symmetry: the contract of the strict branch; the module's own if not given.
        dropout: probability that a sample of a training batch sees the strict branch; for layers that have an attribute `keep`.

    Raises:
        ConfigError: no layer can be exchanged.
    """

    def __init__(
        self,
        module: nn.Module,
        exchange: Callable[[str, nn.Module], nn.Module | None],
        strength: float,
        symmetry: Symmetry | None = None,
        dropout: float = 0.0,
    ) -> None:
        copy = deepcopy(module)
        exchanged = _exchange(copy, exchange)
        if not exchanged:
            raise ConfigError(f"{type(module).__name__} has no layer that this method can relax")
        super().__init__(copy, strength, symmetry, ("keep",) if dropout else ())
        self.dropout = dropout
        self.exchanged = exchanged

    def forward(self, *args: Any, keep: Tensor | None = None, **kwargs: Any) -> Any:
        """What the module gives; `keep [b]` is 0 for the samples that see the strict branch."""
        if keep is None:
            return self.module(*args, **kwargs)
        layers = [self.module.get_submodule(name) for name in self.exchanged]
        for layer in layers:
            layer.keep = keep
        try:
            return self.module(*args, **kwargs)
        finally:
            for layer in layers:
                layer.keep = None  # type: ignore[assignment]

    def draw_own(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """Which samples of the batch keep their relaxation."""
        if not self.dropout:
            return {}
        return {"keep": draw_keep(next(x for x in inputs.values() if isinstance(x, Tensor)), self.dropout, generator)}


def _exchange(module: nn.Module, exchange: Callable[[str, nn.Module], nn.Module | None]) -> tuple[str, ...]:
    """Exchange layers in place, and name them; what was exchanged is not looked into."""
    found: list[str] = []
    for name, layer in list(module.named_modules()):
        if name and not any(name.startswith(f"{outer}.") for outer in found):
            new = exchange(name, layer)
            if new is not None:
                for attribute, value in vars(layer).items():  # models ask their layers for widths and the like
                    vars(new).setdefault(attribute, value)
                parent, _, last = name.rpartition(".")
                setattr(module.get_submodule(parent), last, beside(layer, new))
                found.append(name)
    return tuple(found)


def beside(module: nn.Module, part: Module) -> Module:
    """A new part of a network, in the type and on the device of the module that it joins."""
    like = next((p for p in module.parameters() if p.is_floating_point()), None)
    return part if like is None else part.to(like.device, like.dtype)


def draw_keep(like: Tensor, dropout: float, generator: torch.Generator) -> Tensor:
    """All or nothing: 1 with probability 1 - dropout, else 0, one number for each item of a batch, in its type and on its device.

    Args:
        like: a tensor of the batch, `[b, ...]`.
        dropout: probability of 0.
        generator: where the numbers come from.
    """
    drawn = torch.rand(len(like), generator=generator, device=generator.device) >= dropout
    return drawn.to(like.device, like.dtype if like.is_floating_point() else torch.get_default_dtype())


def still(contract: Symmetry) -> Actions:
    """The action that moves nothing, for every factor of the contract's group."""
    actions = tuple(Trivial() for _ in contract.factors)
    return actions if len(actions) > 1 else actions[0]


def penalty_weight(freedom: float) -> float:
    """What a penalty counts at a strength s: (1 - s) / s, so that it is nothing at 1 and everything towards 0."""
    return (1 - freedom) / freedom if freedom else 0.0
