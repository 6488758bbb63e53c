"""`clone(teacher) -> student`: symmetry as a supervised learning task.

Huang, Cheng, Chen, Aspuru-Guzik: Symmetry From Scratch: Group Equivariance as a Supervised Learning Task (2024).

    teacher = CircularConvolution(1, 1, grid=(8,), kernel=(8,))
    student = torsor.clone(teacher)
    print(student.card)
    y = student(x, tau)

Distillation on the data of a task has failed to hand on even translations (Nix et al., AISTATS 2022, PMLR 151:10703; Odagiu et al.,
NeurIPS 2024 workshop). What differs here: targets layer by layer, inputs that reach everywhere, and random parameters of the teacher.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torsor.check import contract_of
from torsor.config import named_to_mapping, to_mapping
from torsor.dial.clone.card import (
    CloneCard,
    card_of,
    description,
    fingerprint,
    load_clone,
    mapping_hash,
    save_clone,
    weights_hash,
    with_card,
)
from torsor.dial.clone.laws import Gaussian, Law, WithParameters
from torsor.dial.clone.loop import CloneSettings, Imitation
from torsor.dial.clone.students import STUDENTS, MLPStudentConfig, StudentConfig
from torsor.dial.clone.teachers import Teacher
from torsor.errors import ConfigError
from torsor.representations import Representation
from torsor.symmetry import Symmetry

SCALES = (0.3, 1.0, 2.0, 4.0)
"""Factors of the inputs at which the card says how good a clone is."""
REMEMBERED = 32
"""Most clones that are kept in memory."""
_MEMORY: OrderedDict[str, tuple[dict[str, Tensor], CloneCard]] = OrderedDict()


def clone(
    teacher: nn.Module,
    student: nn.Module | StudentConfig | None = None,
    *,
    law: Law | None = None,
    settings: CloneSettings | None = None,
    checkpoint: str | Path | None = None,
) -> nn.Module:
    """Train a plain network to imitate an equivariant one on random inputs.

    With a `Teacher` the student learns all of its parameters: it is called with (x, tau). With any other module that has a contract it
    learns this one function, of the named inputs of the contract.

    Args:
        teacher: a `Teacher`, or any equivariant module.
        student: settings of one of `STUDENTS`, or a network, which is trained in place. A perceptron if not given; a network without free
            parameters has no default student.
        law: of the inputs; standard normal ones where the contract has one vector x.
        settings: of the training.
        checkpoint: file in which the training keeps its state, to go on after a kill.

    Returns:
        The student in evaluation mode, with `card`, with the teacher's contract as "approximate", and with `guarantee`, the size of it.

    Raises:
        ConfigError: there is no default student or law for this teacher, or the student cannot be trained.
        NonFiniteError: the teacher's output or the clone's error is not finite.
    """
    settings = settings or CloneSettings()
    law, contract = _law(teacher, law), contract_of(teacher)
    pupil, described = _student(teacher, student, settings.seed)
    imitation = Imitation(teacher, pupil, law, contract, settings, None if checkpoint is None else Path(checkpoint))
    imitation.run()
    card = CloneCard(
        teacher=description(teacher),
        student=described,
        law=law.description,
        settings=to_mapping(settings),
        fingerprint=fingerprint(teacher),
        weights=weights_hash(pupil),
        quality=imitation.probe.quality(pupil),
        off_law=imitation.probe.scaled(pupil, SCALES),
        step=imitation.best_step,
        seconds=round(imitation.seconds, 3),
        history=imitation.history,
    )
    return with_card(pupil, card, teacher)


def remembered_clone(
    teacher: nn.Module,
    build: Callable[[], nn.Module],
    described: dict[str, Any],
    *,
    law: Law | None = None,
    settings: CloneSettings | None = None,
    directory: str | Path | None = None,
) -> nn.Module:
    """As `clone`, once for all who ask for the same: the same teacher, student, law and settings.

    Args:
        teacher: what is imitated.
        build: makes the student.
        described: what the student is, as JSON can hold it.
        law: of the inputs.
        settings: of the training.
        directory: where clones are kept for other processes, too; in memory alone if not given.
    """
    settings, law = settings or CloneSettings(), _law(teacher, law)
    made = {"teacher": description(teacher), "fingerprint": [f"{value:.4g}" for value in fingerprint(teacher)], "student": described}
    key = mapping_hash({**made, "law": law.description, "settings": to_mapping(settings)})
    path = None if directory is None else Path(directory) / f"{key[:32]}.safetensors"
    if key in _MEMORY:
        state, card = _MEMORY[key]
        student = seeded(build, settings.seed)
        student.load_state_dict(state)
        return with_card(student, card, teacher).eval()
    if path is not None and path.is_file():
        student = load_clone(path, teacher, seeded(build, settings.seed)).eval()
    else:
        checkpoint = None if path is None else path.with_suffix(".partial")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        student = clone(teacher, seeded(build, settings.seed), law=law, settings=settings, checkpoint=checkpoint)
        if path is not None:
            save_clone(path, student)
    _MEMORY[key] = {name: x.detach().clone() for name, x in student.state_dict().items()}, card_of(student)
    while len(_MEMORY) > REMEMBERED:
        _MEMORY.popitem(last=False)
    return student


def _law(teacher: nn.Module, law: Law | None) -> Law:
    """The law of all named inputs, parameters among them."""
    contract = contract_of(teacher)
    law = law or _standard(contract)
    if isinstance(teacher, Teacher) and isinstance(law, Gaussian):
        return WithParameters(law, teacher)
    return law


def _standard(contract: Symmetry) -> Gaussian:
    action = contract.inputs.get("x")
    first = action[0] if isinstance(action, tuple) else action
    if tuple(contract.inputs) != ("x",) or not isinstance(first, Representation):
        raise ConfigError(f"there is no standard law for the inputs {', '.join(contract.inputs)}: give law=Examples(signature, ...)")
    return Gaussian(first.on(contract.factors[0]).dim)


def _student(teacher: nn.Module, student: nn.Module | StudentConfig | None, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """The student, and what the card calls it."""
    if isinstance(student, nn.Module):
        return student, {"name": f"{type(student).__module__}:{type(student).__qualname__}"}
    if not isinstance(teacher, Teacher):
        raise ConfigError(
            f"{type(teacher).__name__} is one function, not a teacher of many: give the network that is to learn it, student="
        )
    config, sizes = student or MLPStudentConfig(), teacher.sizes
    return seeded(lambda: config.build(sizes), seed), named_to_mapping(STUDENTS, config)


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose first weights are those of a seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
