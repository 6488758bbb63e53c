"""Equivariance up to the symmetries of the input: what a module that breaks ties can promise.

Kaba, Mondal, Zhang, Bengio, Ravanbakhsh: Equivariance with Learned Canonicalization Functions (2023), appendix A:

f(g x) = g s f(x) for some s with s x = x

Axes: b batch, m elements, s samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from torsor.check.assertion import default_tolerance
from torsor.check.calls import Caller, Module, module_name
from torsor.check.measure import contract_of
from torsor.errors import GroupError
from torsor.groups import FiniteGroup, Product, S
from torsor.groups.base import Element
from torsor.symmetry import Exactness, Symmetry


@dataclass(frozen=True)
class RelaxedReport:
    """Errors of one module on inputs that have symmetries, relative to the norm of its output.

    Args:
        module: name of the module's class.
        strict: the largest ||f(g x) - g f(x)|| over items and samples.
        relaxed: the largest over items and samples of the smallest ||f(g x) - g s f(x)|| over the stabiliser of the item.
        stabilisers: how many of the candidates leave each item alone.
        tolerance: what counts as zero.
    """

    module: str
    strict: float
    relaxed: float
    stabilisers: tuple[int, ...]
    tolerance: float

    @property
    def verdict(self) -> Exactness:
        """The strongest word that these inputs allow: "exact", "relaxed" or "none"."""
        if self.strict <= self.tolerance:
            return "exact"
        return "relaxed" if self.relaxed <= self.tolerance else "none"

    def __str__(self) -> str:
        counts = ", ".join(map(str, self.stabilisers))
        return f"{self.module}: {self.verdict}; error {self.strict:.1e}, up to stabilisers of {counts} elements {self.relaxed:.1e}"


def relaxed_error(
    module: Module,
    inputs: Mapping[str, Any],
    symmetry: Symmetry | None = None,
    candidates: Element | None = None,
    samples: int = 4,
    generator: torch.Generator | None = None,
) -> RelaxedReport:
    """Measure the equivariance of a deterministic module up to the stabiliser of each input.

    Args:
        module: a module that returns one tensor.
        inputs: its arguments by name, with a batch axis.
        symmetry: the contract to hold it to; the module's own if not given.
        candidates: elements `[m, *element]` among which the stabilisers are looked for; all of the group if not given.
        samples: random elements g, each with one for each item.
        generator: where they come from; seed 0 if not given.

    Raises:
        GroupError: there are no candidates, and the group cannot be listed.
    """
    contract = contract_of(module, symmetry)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    elements = all_elements(contract, inputs) if candidates is None else candidates
    flags = leaves_alone(contract, inputs, elements)
    caller = Caller(module, _first(inputs, contract).device)
    here: Tensor = caller(inputs, 0)
    turned = contract.transform_output(_repeated(elements, len(here)), here.repeat(len(flags), *(1,) * (here.ndim - 1)))
    size = _norms(here.flatten(1)).square().mean().sqrt()
    strict, relaxed = [], []
    for _ in range(samples):
        g = contract.sample(inputs, generator)
        back = contract.transform_output(contract.group.inverse(g), caller(contract.transform(g, inputs), 0))
        strict.append((_norms((back - here).flatten(1)) / size).max())
        each = _norms((back - turned.unflatten(0, flags.shape)).flatten(2)) / size
        relaxed.append(each.where(flags, torch.inf).amin(0).max())
    worst, least = (torch.stack(errors).max().item() for errors in (strict, relaxed))
    return RelaxedReport(module_name(module), worst, least, tuple(flags.sum(0).tolist()), default_tolerance(here.dtype))


def leaves_alone(symmetry: Symmetry, inputs: Mapping[str, Any], elements: Element) -> Bool[Tensor, "m b"]:
    """Which elements leave which item of the inputs as it is, up to rounding."""
    first = _first(inputs, symmetry)
    items, count = len(first), _count(elements)
    copies = {name: x.repeat(count, *(1,) * (x.ndim - 1)) if isinstance(x, Tensor) else x for name, x in inputs.items()}
    moved = symmetry.transform(_repeated(elements, items), copies)
    flags = torch.ones(count, items, dtype=torch.bool, device=first.device)
    for name, x in copies.items():
        if isinstance(x, Tensor):
            scale = x.abs().max().clamp(min=1e-300) if x.is_floating_point() else 1
            same = ((moved[name] - x).abs() <= default_tolerance(x.dtype) * scale) if x.is_floating_point() else moved[name] == x
            flags &= same.unflatten(0, (count, items)).flatten(2).all(-1) if x.ndim > 1 else same.unflatten(0, (count, items))
    return flags


def all_elements(symmetry: Symmetry, inputs: Mapping[str, Any]) -> Element:
    """All elements of a finite group; an S() is sized by the inputs.

    Raises:
        GroupError: the group is not finite, or too large to list.
    """
    rest = symmetry.identity(inputs)
    each = rest if len(symmetry.factors) > 1 else (rest,)
    sized = [S(e.shape[-1]) if isinstance(f, S) else f for f, e in zip(symmetry.factors, each, strict=True)]
    if not all(isinstance(factor, FiniteGroup) for factor in sized):
        raise GroupError(f"{symmetry.group} cannot be listed: give candidates, elements among which the stabiliser is")
    device = each[0].device
    group = Product(*sized) if len(sized) > 1 else sized[0]
    return group.elements(device)  # type: ignore[attr-defined]


def _first(inputs: Mapping[str, Any], symmetry: Symmetry) -> Tensor:
    return next(x for name, x in inputs.items() if name in symmetry.inputs and isinstance(x, Tensor))


def _count(elements: Element) -> int:
    return len(elements[0] if isinstance(elements, tuple) else elements)


def _repeated(elements: Element, items: int) -> Element:
    """Each element for all items in a row, `[m * b, *element]`."""
    if isinstance(elements, tuple):
        return tuple(_repeated(e, items) for e in elements)
    return elements.repeat_interleave(items, 0)


def _norms(rows: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape"]:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms
