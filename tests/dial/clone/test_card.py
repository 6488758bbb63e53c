from dataclasses import replace

import pytest
import torch
from torch import nn

from torsor.dial.clone import (
    BasisLayer,
    CircularConvolution,
    CloneSettings,
    MLPStudentConfig,
    ModuleTeacher,
    card_of,
    clone,
    linear_teacher,
    load_clone,
    save_clone,
)
from torsor.dial.clone.card import CloneCard, weights_hash
from torsor.errors import CheckpointError, GroupError
from torsor.groups import SO, C
from torsor.io import load_tensors, save_tensors
from torsor.representations import Regular, Vectors
from torsor.symmetry import Symmetry

QUICK = CloneSettings(steps=4, batch_size=16, probe_every=2, probe_size=64)
TEACHER = CircularConvolution(1, 2, (4,), (3,))


@pytest.fixture(scope="module")
def student():
    return clone(TEACHER, MLPStudentConfig(hidden=8, homogeneous=("tau",)), settings=QUICK)


def test_a_clone_comes_back_bit_by_bit_with_its_card(student, tmp_path):
    save_clone(tmp_path / "clone.safetensors", student)
    found = load_clone(tmp_path / "clone.safetensors", CircularConvolution(1, 2, (4,), (3,)))
    assert card_of(found) == card_of(student)
    assert found.symmetry == student.symmetry
    assert found.guarantee == student.guarantee
    x, tau = torch.randn(3, 4), torch.randn(6)
    assert torch.equal(found(x, tau), student(x, tau))


def test_the_card_holds_what_was_promised(student):
    card = card_of(student)
    assert card.teacher["group"] == "C(4)"
    assert card.teacher["kernel"] == [3]
    assert "Regular" in card.teacher["input"]
    assert card.student == {"name": "mlp", "homogeneous": ["tau"], "hidden": 8, "layers": 2, "activation": "gelu"}
    assert card.law == {"x": "standard normal", "numbers": 4, "tau": f"normal, standard deviation {TEACHER.scale:.6g}"}
    assert card.settings["seed"] == 0
    assert card.weights == weights_hash(student)
    assert set(card.history) == {"2", "4"}
    assert "clone of CircularConvolution under C(4)" in str(card)


@pytest.mark.parametrize(
    ("teacher", "difference"),
    [
        (CircularConvolution(1, 2, (4,), (2,)), r"kernel \[3\], not \[2\]"),
        (CircularConvolution(1, 2, (5,), (3,)), r"grid \[4\], not \[5\]"),
        (BasisLayer(Regular().on(C(4)), 2 * Regular()), r"bias False, not True"),
    ],
    ids=["kernel", "grid", "kind"],
)
def test_a_clone_of_another_teacher_is_refused(student, teacher, difference, tmp_path):
    save_clone(tmp_path / "clone.safetensors", student)
    with pytest.raises(CheckpointError, match=f"is a clone of another teacher .{difference}"):
        load_clone(tmp_path / "clone.safetensors", teacher)


def test_a_teacher_that_looks_alike_but_computes_something_else_is_refused(tmp_path):
    rep = Vectors().on(SO(2))

    class Twice(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.weight, self.factor = nn.Parameter(torch.ones(1)), factor

        def forward(self, x):
            return self.factor * self.weight * x * x.square().sum(-1, keepdim=True)

    one, other = (ModuleTeacher(Twice(factor), Symmetry(SO(2), {"x": rep}, rep, mask=None)) for factor in (1.0, -1.0))
    save_clone(tmp_path / "clone.safetensors", clone(one, MLPStudentConfig(hidden=4), settings=QUICK))
    assert one.spec == other.spec
    with pytest.raises(CheckpointError, match="is a clone of another ModuleTeacher: its outputs differ"):
        load_clone(tmp_path / "clone.safetensors", other)
    load_clone(tmp_path / "clone.safetensors", one)


def test_weights_that_were_changed_behind_the_hash_are_refused(student, tmp_path):
    path = tmp_path / "clone.safetensors"
    save_clone(path, student)
    tensors, metadata = load_tensors(path)
    save_tensors(path, {name: x + 1 for name, x in tensors.items()}, metadata)
    with pytest.raises(CheckpointError, match="is damaged: the hash of its weights does not match"):
        load_clone(path, TEACHER)


def test_files_that_hold_no_clone_are_refused(student, tmp_path):
    path = tmp_path / "clone.safetensors"
    save_tensors(path, student.state_dict(), {})
    with pytest.raises(CheckpointError, match="holds no clone"):
        load_clone(path, TEACHER)
    save_clone(path, student)
    with pytest.raises(CheckpointError, match="does not fit Linear"):
        load_clone(path, TEACHER, nn.Linear(2, 2))
    with pytest.raises(GroupError, match=r"Linear has no card: make it with torsor\.clone"):
        save_clone(path, nn.Linear(2, 2))


def test_a_student_of_ones_own_is_loaded_into_a_network_that_is_given(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(10, 8)

        def forward(self, x, tau):
            return self.layer(torch.cat((x, tau.expand(len(x), -1)), 1))

    path = tmp_path / "clone.safetensors"
    student = clone(TEACHER, Own(), settings=QUICK)
    save_clone(path, student)
    with pytest.raises(CheckpointError, match=r"has a student of the user's own.*: give it, student="):
        load_clone(path, TEACHER)
    assert weights_hash(load_clone(path, TEACHER, Own())) == card_of(student).weights


def test_the_fingerprint_knows_the_layout_of_the_parameters():
    rep = (2 * Vectors()).on(SO(2))
    dense, blocks = BasisLayer(rep, rep), linear_teacher(rep, rep)
    prints = [card_of(clone(t, MLPStudentConfig(hidden=4), settings=QUICK)).fingerprint for t in (dense, blocks)]
    assert prints[0] != prints[1]


def test_a_card_says_when_it_was_not_the_last_step(student):
    card = card_of(student)
    assert isinstance(card, CloneCard)
    assert "weights of step 2 of 4" in str(replace(card, step=2))
