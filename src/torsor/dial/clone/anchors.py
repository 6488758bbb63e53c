"""What holds a clone to what it learned while a task pulls at it: penalties on its weights, its functions or its distance from the teacher.

With Gaussians N(theta, sigma^2) and N(theta_0, sigma^2) for the weights now and after cloning, their divergence is
KL = |theta - theta_0|^2 / (2 sigma^2). The loss gets lambda KL / dim(theta), or lambda times one of two mean squares that do not look at
the weights: of h_theta - h_theta0 on random inputs and parameters near the present ones, or of h_theta - Phi_tau, which holds to the
symmetry and not to the clone.

Axes: b batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from torsor.config import Settings
from torsor.dial.clone.laws import Gaussian
from torsor.dial.clone.teachers import Teacher, without_parameters
from torsor.errors import ConfigError

Kind = Literal["weights", "functions", "teacher"]


@dataclass(frozen=True)
class AnchorSettings(Settings):
    """How strongly, to what and for how long a clone is held.

    Args:
        strength: the lambda; 0 does not hold, infinity is the regime "retain".
        kind: "weights", the divergence of the weights; "functions", the distance from the function that was cloned; "teacher", the
            distance from the teacher.
        sigma: width of the weights' Gaussians, by which a weight may move at a cost of one half.
        schedule: "constant", or "linear" decay to zero.
        steps: calls in which a linear schedule falls to zero.
        batch_size: draws of each call, for "functions" and "teacher".
        spread: for "functions", how far the parameters are drawn from the present ones, in standard deviations of the teacher's.
        seed: of the draws.

    Raises:
        ConfigError: a number is out of its range.
    """

    strength: float = 1.0
    kind: Kind = "weights"
    sigma: float = 0.01
    schedule: Literal["constant", "linear"] = "constant"
    steps: int = 1000
    batch_size: int = 256
    spread: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength < math.inf:
            raise ConfigError(
                f"strength is {self.strength}: give a finite number from 0 on; what is held infinitely is the regime 'retain'"
            )
        if not self.sigma > 0 or self.steps < 1 or self.batch_size < 1 or self.spread < 0:
            raise ConfigError("an anchor needs a positive sigma, steps and batch_size of 1 or more and a spread that is not negative")

    @property
    def slowdown(self) -> float:
        """By how much the clone's learning rate is divided, 1 + lambda.

        Steps of Adam are as long for a small gradient as for a large one. Held tightly, weights would rattle about theta_0 by a whole step
        whatever lambda is; so the steps shrink as the hold grows.
        """
        return 1 + self.strength


class Held(nn.Module):
    """A student, what it was when it had been cloned, and where it is used.

    Args:
        student: the h_theta.
        teacher: the Phi.
        law: of the student's inputs.
    """

    def __init__(self, student: nn.Module, teacher: Teacher, law: Gaussian) -> None:
        super().__init__()
        # not registered: the network owns it, and holds its weights once
        self._student = (student,)
        self.teacher, self.law = teacher, law
        self.first = nn.Module()
        for name, parameter in student.named_parameters():
            self.first.register_buffer(name.replace(".", "/"), parameter.detach().clone())
        self._shell = (without_parameters(student),)

    @property
    def student(self) -> nn.Module:
        """The h_theta."""
        return self._student[0]

    def start(self) -> dict[str, Tensor]:
        """The theta_0, by name."""
        return {name.replace("/", "."): x for name, x in self.first.named_buffers()}

    def drift(self) -> Float[Tensor, ""]:
        """The sum of (theta - theta_0)^2."""
        start = self.start()
        total: Tensor = torch.stack([(p - start[name]).square().sum() for name, p in self.student.named_parameters()]).sum()
        return total

    def from_start(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
        """Mean square of h_theta - h_theta0."""
        before: Tensor = torch.func.functional_call(self._shell[0], self.start(), (x, tau))
        after: Tensor = self.student(x, tau)
        return (after - before.detach()).square().mean()

    def from_teacher(self, x: Float[Tensor, "b n"], tau: Float[Tensor, "*t k"]) -> Float[Tensor, ""]:
        """Mean square of h_theta - Phi_tau."""
        with torch.no_grad():
            target: Tensor = self.teacher(x, tau)
        found: Tensor = self.student(x, tau)
        return (found - target).square().mean()


class Anchor(nn.Module):
    """The penalty that holds all students of a network.

    A linear schedule counts calls in training mode. Draws are a function of the seed and that count.

    Args:
        held: the students.
        settings: how they are held.
    """

    calls: Int64[Tensor, ""]

    def __init__(self, held: Mapping[str, Held], settings: AnchorSettings) -> None:
        super().__init__()
        self.held, self.settings = nn.ModuleDict(held), settings
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def strength(self) -> float:
        """The lambda of the next call."""
        s = self.settings
        return s.strength * max(0.0, 1 - int(self.calls) / s.steps) if s.schedule == "linear" else s.strength

    def value(self, taus: Mapping[str, list[nn.Parameter]]) -> Float[Tensor, ""] | None:
        """Lambda times the penalty; None where lambda is zero.

        Args:
            taus: the parameters that each student is used with.
        """
        strength = self.strength()
        if strength == 0:
            return None
        generator = torch.Generator().manual_seed((self.settings.seed + 1) * 1_000_003 + int(self.calls))
        if self.training:
            self.calls.add_(1)
        if self.settings.kind == "weights":
            return strength * self._divergence()
        terms = [self._distance(slot, tau.detach(), generator) for slot, used in taus.items() for tau in used]
        return strength * torch.stack(terms).mean()

    def _divergence(self) -> Float[Tensor, ""]:
        """KL / dim(theta)."""
        drift = torch.stack([self._held(slot).drift() for slot in self.held]).sum()
        count = sum(p.numel() for slot in self.held for p in self._held(slot).student.parameters())
        return drift / (2 * self.settings.sigma**2 * count)

    def _distance(self, slot: str, tau: Tensor, generator: torch.Generator) -> Float[Tensor, ""]:
        held, size = self._held(slot), self.settings.batch_size
        x = held.law.draw(size, generator, tau.dtype)["x"].to(tau.device)
        if self.settings.kind == "teacher":
            return held.from_teacher(x, tau)
        near = held.teacher.sample_tau(size, generator=generator, dtype=tau.dtype).to(tau.device)
        return held.from_start(x, tau + self.settings.spread * near)

    def _held(self, slot: str) -> Held:
        held = self.held[slot]
        assert isinstance(held, Held)
        return held
