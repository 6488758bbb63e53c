"""How good a clone is: its distance from the teacher, its equivariance error, and the bound of one by the other.

With e = h - Phi and an orthogonal representation, h(g x) - g h(x) = e(g x) - g e(x), hence E |h(g x) - g h(x)|^2 <= 4 E |e|^2 for every g
on a law that the group leaves alone. Off that law nothing is promised; how fast a clone gets worse there is measured.

Axes: b batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.clone.laws import Law
from torsor.groups import FiniteGroup
from torsor.groups.base import Element
from torsor.symmetry import Symmetry

LISTED = 16
"""Finite groups of at most this order are tried element by element."""
ROUNDS = 4
"""How often other groups are sampled, an element for each item every time."""
AT_ONCE = 1024
"""Items that go through a network at once."""


@dataclass(frozen=True)
class Quality:
    """What a probe found; every size is relative to the teacher's mean square output.

    Args:
        nmse: mean square of the difference from the teacher.
        standard_error: of `nmse`, from the spread over the probe's items.
        equivariance_mse: mean square of h(g x) - g h(x), for the worst g that was tried.
        equivariance_error: mean norm of h(g x) - g h(x) over the mean norm of h(x), for the worst g.
        mean_equivariance_error: the same, averaged over g.
    """

    nmse: float
    standard_error: float
    equivariance_mse: float
    equivariance_error: float
    mean_equivariance_error: float

    @property
    def bound(self) -> float:
        """What `equivariance_mse` must stay below for orthogonal representations: 4 nmse, and five standard errors of it."""
        return 4 * (self.nmse + 5 * self.standard_error)


class Probe:
    """A fixed set of draws on which a student is compared with its teacher.

    Args:
        teacher: what is imitated; called once.
        law: where the inputs come from.
        symmetry: the teacher's contract.
        size: number of draws.
        seed: of the draws and of the group elements.
        dtype: of the draws.
    """

    def __init__(self, teacher: nn.Module, law: Law, symmetry: Symmetry, size: int, seed: int, dtype: torch.dtype) -> None:
        self.teacher, self.symmetry, self.seed = teacher, symmetry, seed
        self.inputs = law.draw(size, torch.Generator().manual_seed(seed), dtype)
        self.target = evaluated(teacher, self.inputs)
        self.power = float(_squares(self.target).mean())

    def nmse(self, student: nn.Module) -> float:
        """Mean square of the difference from the teacher over the teacher's mean square."""
        return float(_squares(evaluated(student, self.inputs) - self.target).mean()) / self.power

    def quality(self, student: nn.Module) -> Quality:
        """Everything."""
        output = evaluated(student, self.inputs)
        errors = _squares(output - self.target) / self.power
        size = _squares(output).sqrt().mean()
        broken = [_squares(self._moved(student, g) - self.symmetry.transform_output(g, output)) for g in self._elements()]
        relative = [float(square.sqrt().mean() / size) for square in broken] if float(size) > 0 else [0.0]
        return Quality(
            nmse=float(errors.mean()),
            standard_error=float(errors.std()) / math.sqrt(len(errors)),
            equivariance_mse=max(float(square.mean()) for square in broken) / self.power,
            equivariance_error=max(relative),
            mean_equivariance_error=sum(relative) / len(relative),
        )

    def scaled(self, student: nn.Module, factors: Sequence[float]) -> dict[str, float]:
        """The NMSE where the inputs that the group acts on are larger or smaller than in training, relative to the teacher there."""
        found = {}
        for factor in factors:
            acted = {name for name in self.symmetry.inputs if self.inputs[name].is_floating_point()}
            inputs = {name: factor * x if name in acted else x for name, x in self.inputs.items()}
            target = evaluated(self.teacher, inputs)
            found[f"{factor:g}"] = float(_squares(evaluated(student, inputs) - target).mean() / _squares(target).mean())
        return found

    def _moved(self, student: nn.Module, g: Element) -> Tensor:
        return evaluated(student, self.symmetry.transform(g, self.inputs))

    def _elements(self) -> Iterator[Element]:
        """All elements of a small group, else random ones for each item, the same in every call."""
        listed = listed_elements(self.symmetry)
        if listed is not None:
            yield from listed
        else:
            generator = torch.Generator().manual_seed(self.seed + 1)
            for _ in range(ROUNDS):
                yield self.symmetry.sample(self.inputs, generator)


def listed_elements(symmetry: Symmetry) -> Tensor | None:
    """All elements of the contract's group where it is finite and small; None where they have to be sampled."""
    group = symmetry.group
    sized = isinstance(group, FiniteGroup) and getattr(group, "size", 0) is not None
    return group.elements() if isinstance(group, FiniteGroup) and sized and group.order <= LISTED else None


@torch.no_grad()
def evaluated(module: nn.Module, inputs: Mapping[str, Any]) -> Float[Tensor, "b ..."]:
    """The output of a module on many items, some at a time, in evaluation mode."""
    training = module.training
    module.eval()
    try:
        items = len(next(iter(inputs.values())))
        parts = [module(**{name: x[i : i + AT_ONCE] for name, x in inputs.items()}) for i in range(0, items, AT_ONCE)]
    finally:
        module.train(training)
    return torch.cat(parts)


def _squares(x: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """Squared norm of each item, in double precision."""
    return x.flatten(1).double().square().sum(1)
