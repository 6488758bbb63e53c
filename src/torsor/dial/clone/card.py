"""The card of a clone: what it imitates, on which law, how well; and files of clones, which refuse another teacher.

A clone's guarantee is "approximate" with the size that was measured. It holds on the law of the card and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torsor.check import contract_of
from torsor.config import from_mapping, named_from_mapping
from torsor.dial.clone.quality import Quality
from torsor.dial.clone.students import STUDENTS
from torsor.dial.clone.teachers import Teacher
from torsor.errors import CheckpointError, ConfigError, GroupError
from torsor.io import load_tensors, save_tensors

AGREES = 1e-5
"""Largest relative difference between outputs of teachers that are the same; leaves room for the rounding of other machines."""


@dataclass(frozen=True)
class CloneCard:
    """What is known of a clone.

    Args:
        teacher: what it imitates.
        student: name and settings of the student, or the name of its class.
        law: of the inputs.
        settings: of the training.
        fingerprint: outputs of the teacher on fixed draws, by which another teacher of the same description is told apart.
        weights: SHA-256 of the student's weights.
        quality: on the law.
        off_law: NMSE where the inputs are scaled by a factor, by factor.
        step: the step whose weights these are.
        seconds: that training took.
        history: NMSE of the probes, by step.
    """

    teacher: dict[str, Any]
    student: dict[str, Any]
    law: dict[str, Any]
    settings: dict[str, Any]
    fingerprint: tuple[float, ...]
    weights: str
    quality: Quality
    off_law: dict[str, float]
    step: int
    seconds: float
    history: dict[str, float] = field(default_factory=dict)

    @property
    def guarantee(self) -> str:
        """One line: the size of the error on the law, and what happens off it."""
        q = self.quality
        off = ", ".join(f"{error:.1e} at {factor} times the inputs" for factor, error in self.off_law.items())
        law = ", ".join(f"{name} {value}" for name, value in self.law.items() if isinstance(value, str))
        return (
            f"approximate on its input law ({law}): equivariance error {q.equivariance_error:.1e} for the worst element, "
            f"NMSE {q.nmse:.1e} to the teacher; off the law nothing is promised, measured NMSE {off}"
        )

    def __str__(self) -> str:
        size = " -> ".join(str(self.teacher.get(name, "")) for name in ("input", "output"))
        return "\n".join(
            [
                f"clone of {self.teacher.get('teacher', self.teacher)} under {self.teacher.get('group', 'its group')}, {size}",
                f"  student {', '.join(f'{name} {value}' for name, value in self.student.items())}",
                f"  weights of step {self.step} of {self.settings.get('steps')}, {self.seconds:.0f} s",
                f"  {self.guarantee}",
            ]
        )


def card_of(module: nn.Module) -> CloneCard:
    """The card of a clone.

    Raises:
        GroupError: the module is none.
    """
    card = vars(module).get("card")
    if not isinstance(card, CloneCard):
        raise GroupError(f"{type(module).__name__} has no card: make it with torsor.clone(teacher, student)")
    return card


def save_clone(path: str | Path, student: nn.Module) -> None:
    """Write a clone and its card into one safetensors file.

    Args:
        path: where; "*.safetensors".
        student: what `clone` gave; its weights may have been trained further, and then the file says so by their hash.
    """
    card = card_of(student)
    save_tensors(path, student.state_dict(), {"card": asdict(card), "hash": weights_hash(student)})


def load_clone(path: str | Path, teacher: nn.Module, student: nn.Module | None = None) -> nn.Module:
    """Read a clone of this teacher.

    Args:
        path: what `save_clone` wrote.
        teacher: what it imitates.
        student: a network of the right kind to load into; built from the card if not given, where it is one of `STUDENTS`.

    Raises:
        CheckpointError: the file is damaged, its weights are not those that were written, or it is a clone of another teacher.
    """
    tensors, metadata = load_tensors(path)
    card = _card(metadata, path)
    spec = description(teacher)
    if card.teacher != spec:
        raise CheckpointError(f"{path} is a clone of another teacher ({_difference(card.teacher, spec)}): give that one, or clone anew")
    if not _agree(card.fingerprint, fingerprint(teacher)):
        raise CheckpointError(
            f"{path} is a clone of another {card.teacher['teacher']}: its outputs differ from those of this one; clone anew"
        )
    if student is None:
        student = _built(card, teacher, path)
    try:
        student.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {type(student).__name__}: {str(error).splitlines()[-1].strip()}") from error
    if weights_hash(student) != metadata.get("hash"):
        raise CheckpointError(f"{path} is damaged: the hash of its weights does not match")
    return with_card(student, card, teacher)


def with_card(student: nn.Module, card: CloneCard, teacher: nn.Module) -> nn.Module:
    """The student, with the card and a contract that promises what the card says."""
    contract = replace(contract_of(teacher), exactness="approximate")
    vars(student).update(card=card, symmetry=contract, guarantee=card.guarantee)
    return student


def description(teacher: nn.Module) -> dict[str, Any]:
    """What a teacher is, as JSON can hold it: its `spec`, or the hash of the weights of a network that has no free parameters."""
    if isinstance(teacher, Teacher):
        return teacher.spec
    return {"teacher": type(teacher).__name__, "group": str(contract_of(teacher).group), "weights": weights_hash(teacher)}


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of the names, types, shapes and bytes of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def mapping_hash(mapping: Mapping[str, Any]) -> str:
    """SHA-256 of a mapping, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(dict(mapping), sort_keys=True, default=str).encode()).hexdigest()


@torch.no_grad()
def fingerprint(teacher: nn.Module) -> tuple[float, ...]:
    """Outputs of a teacher on fixed inputs and parameters; nothing for a network, whose weights tell what it is."""
    if not isinstance(teacher, Teacher):
        return ()
    generator = torch.Generator().manual_seed(0)
    x, tau = (torch.randn(2, size, generator=generator, dtype=torch.float64) for size in (teacher.inputs, teacher.parameter_count))
    dtype = next((b.dtype for b in teacher.buffers() if b.is_floating_point()), torch.float64)
    y: Tensor = teacher(x.to(dtype), tau.to(dtype) * teacher.scale)
    return tuple(y.double().flatten()[:16].tolist())


def _agree(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    a, b = (torch.tensor(values, dtype=torch.float64) for values in (one, other))
    return a.shape == b.shape and float((a - b).norm()) <= AGREES * float(b.norm())


def _difference(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The first entry in which two descriptions differ."""
    name = next(name for name in sorted({*stored, *given}) if stored.get(name) != given.get(name))
    return f"{name} {stored.get(name)}, not {given.get(name)}"


def _card(metadata: Mapping[str, Any], path: str | Path) -> CloneCard:
    try:
        return from_mapping(CloneCard, metadata.get("card"), str(path))
    except ConfigError as error:
        raise CheckpointError(f"{path} holds no clone: {error}") from error


def _built(card: CloneCard, teacher: nn.Module, path: str | Path) -> nn.Module:
    try:
        if not isinstance(teacher, Teacher):
            raise ConfigError("it imitates a network")
        student: nn.Module = named_from_mapping(STUDENTS, card.student, "student").build(teacher.sizes)
    except ConfigError as error:
        raise CheckpointError(f"{path} has a student of the user's own, {card.student}: give it, student=") from error
    return student
