"""Cloning: a student is trained on fresh random inputs to give what its teacher gives.

One step: draw inputs (and parameters of the teacher, others for every item), ask the teacher without gradients, lower the mean square of
the difference. Nothing is seen twice, so nothing is overfitted. What a step draws depends on the seed and its number alone.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torsor.config import Settings
from torsor.dial.clone.laws import Law
from torsor.dial.clone.quality import Probe
from torsor.errors import ConfigError, NonFiniteError
from torsor.io import load_tensors, save_tensors
from torsor.symmetry import Symmetry


@dataclass(frozen=True)
class CloneSettings(Settings):
    """How a student is trained to imitate.

    Args:
        steps: of Adam.
        batch_size: fresh draws in each.
        learning_rate: the first one; it falls to zero along half a cosine.
        seed: of the draws, of the student's first weights and of the probe.
        probe_every: steps between probes; the weights of the best probe are kept.
        probe_size: draws of the probe.
        target: NMSE at which a probe ends the training; 0 trains for all steps.

    Raises:
        ConfigError: a number is out of its range.
    """

    steps: int = 6000
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0
    probe_every: int = 500
    probe_size: int = 4096
    target: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "batch_size", "probe_every", "probe_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")
        if not self.learning_rate > 0 or not self.target >= 0 or self.seed < 0:
            raise ConfigError(f"learning_rate {self.learning_rate}, target {self.target} and seed {self.seed}: give none below zero")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.learning_rate * (1 + math.cos(math.pi * step / self.steps)) / 2

    def seed_of(self, step: int) -> int:
        """The seed of a step's draws; -1 is the probe's."""
        return (self.seed + 1) * 1_000_003 + step


class Imitation:
    """One training of a student by a teacher.

    Args:
        teacher: what is imitated, called with named inputs.
        student: called with the same; trained in place.
        law: where the inputs come from.
        symmetry: the teacher's contract.
        settings: of the training.
        checkpoint: file in which the state is kept from probe to probe, so that a killed training goes on; it is removed at the end.
    """

    def __init__(
        self, teacher: nn.Module, student: nn.Module, law: Law, symmetry: Symmetry, settings: CloneSettings, checkpoint: Path | None = None
    ) -> None:
        self.teacher, self.student, self.law, self.settings, self.checkpoint = teacher, student, law, settings, checkpoint
        self.trained = [p for p in student.parameters() if p.requires_grad]
        if not self.trained:
            raise ConfigError(f"{type(student).__name__} has no parameters that can be trained: give a student that learns")
        self.dtype = self.trained[0].dtype
        self.probe = Probe(teacher, law, symmetry, settings.probe_size, settings.seed_of(-1), self.dtype)
        if not self.probe.power > 0 or not math.isfinite(self.probe.power):
            raise NonFiniteError(f"the teacher's mean square output is {self.probe.power} on the law {law.description}: give another law")
        self.optimizer = torch.optim.Adam(self.trained, lr=settings.learning_rate)
        self.step, self.seconds = 0, 0.0
        self.history: dict[str, float] = {}
        self.best: dict[str, Tensor] = {}
        self.best_step = 0

    def run(self) -> None:
        """Train, and leave the weights of the best probe in the student."""
        self._restore()
        started = time.perf_counter() - self.seconds
        self.student.train()
        while self.step < self.settings.steps and not self._reached():
            self._update()
            if self.step % self.settings.probe_every == 0 or self.step == self.settings.steps:
                self._look()
                self.seconds = time.perf_counter() - started
                self._save()
        self.student.load_state_dict(self.best)
        self.student.eval()
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)

    def _update(self) -> None:
        generator = torch.Generator().manual_seed(self.settings.seed_of(self.step))
        inputs = self.law.draw(self.settings.batch_size, generator, self.dtype)
        with torch.no_grad():
            target = self.teacher(**inputs)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.step)
        self.optimizer.zero_grad()
        loss = (self.student(**inputs) - target).flatten(1).square().sum(1).mean() / self.probe.power
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1

    def _look(self) -> None:
        """Probe, and keep the weights if they are the best so far."""
        nmse = self.probe.nmse(self.student)
        if not math.isfinite(nmse):
            raise NonFiniteError(f"step {self.step}: the clone's error is {nmse}: lower learning_rate, or look at the law of the inputs")
        if not self.history or nmse < min(self.history.values()):
            self.best = {name: tensor.detach().clone() for name, tensor in self.student.state_dict().items()}
            self.best_step = self.step
        self.history[str(self.step)] = nmse

    def _reached(self) -> bool:
        return bool(self.history) and min(self.history.values()) <= self.settings.target

    # -- going on after a kill ----------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if self.checkpoint is None or self.step == self.settings.steps:
            return
        state = {f"student/{name}": x for name, x in self.student.state_dict().items()} | {
            f"best/{name}": x for name, x in self.best.items()
        }
        for i, parameter in enumerate(self.trained):
            state |= {f"adam/{i}/{name}": x for name, x in self.optimizer.state[parameter].items()}
        numbers = {"step": self.step, "best_step": self.best_step, "seconds": self.seconds, "history": self.history}
        save_tensors(self.checkpoint, state, numbers)

    def _restore(self) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        state, numbers = load_tensors(self.checkpoint)

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}

        self.student.load_state_dict(part("student/"))
        self.best = part("best/")
        moments = {i: part(f"adam/{i}/") for i in range(len(self.trained))}
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.step, self.best_step = numbers["step"], numbers["best_step"]
        self.seconds, self.history = numbers["seconds"], numbers["history"]
