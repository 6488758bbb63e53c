import pytest
import torch

from torsor.config import from_mapping
from torsor.dial.clone import AnchorSettings, CircularConvolution, Gaussian, MLPStudentConfig
from torsor.dial.clone.anchors import Anchor, Held
from torsor.errors import ConfigError

TEACHER = CircularConvolution(1, 1, (4,), (3,))


def anchor_of(**settings):
    """An anchor of one student, the student, and a tau."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = MLPStudentConfig(hidden=8).build(TEACHER.sizes)
        tau = torch.nn.Parameter(TEACHER.sample_tau(dtype=torch.float32))
    return Anchor({"slot0": Held(student, TEACHER, Gaussian(4))}, AnchorSettings(**settings)), student, tau


def shift(student, size=0.1):
    with torch.no_grad():
        for p in student.parameters():
            p.add_(size)


def test_the_divergence_of_the_weights_is_the_closed_form():
    anchor, student, tau = anchor_of(strength=3.0, sigma=0.5)
    assert anchor.value({"slot0": [tau]}).item() == 0
    shift(student, 0.2)
    # two Gaussians of width sigma, a distance of 0.2 apart in each dimension
    one = torch.distributions.kl_divergence(torch.distributions.Normal(0.2, 0.5), torch.distributions.Normal(0.0, 0.5))
    assert anchor.value({"slot0": [tau]}).item() == pytest.approx(3 * one.item(), rel=1e-5)


def test_the_distance_of_functions_vanishes_at_the_start_and_sees_what_changed():
    anchor, student, tau = anchor_of(kind="functions", spread=0.0, batch_size=64)
    anchor.eval()
    assert anchor.value({"slot0": [tau]}).item() == 0
    before = [p.detach().clone() for p in student.parameters()]
    shift(student)
    found = anchor.value({"slot0": [tau]})
    x = Gaussian(4).draw(64, torch.Generator().manual_seed(1_000_003), torch.float32)["x"]
    gradients = torch.autograd.grad(found, list(student.parameters()))
    assert any(g.abs().max() > 0 for g in gradients)
    with torch.no_grad():
        after = student(x, tau)
        for p, old in zip(student.parameters(), before, strict=True):
            p.copy_(old)
        torch.testing.assert_close(found, (after - student(x, tau)).square().mean())


def test_the_distance_from_the_teacher_is_its_mean_square():
    anchor, student, tau = anchor_of(kind="teacher", batch_size=4096, strength=0.5)
    x = torch.randn(20000, 4, generator=torch.Generator().manual_seed(4))
    expected = (student(x, tau) - TEACHER(x, tau)).square().mean().item()
    assert anchor.value({"slot0": [tau]}).item() == pytest.approx(0.5 * expected, rel=0.1)


@pytest.mark.parametrize("kind", ["weights", "functions", "teacher"])
def test_anchors_pull_on_the_student_and_not_on_tau(kind):
    anchor, student, tau = anchor_of(kind=kind)
    shift(student)
    torch.autograd.backward(anchor.value({"slot0": [tau]}))
    assert tau.grad is None
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in student.parameters())


def test_a_linear_schedule_falls_to_zero_in_training_alone():
    anchor, student, tau = anchor_of(schedule="linear", steps=4, strength=2.0)
    shift(student)
    first = anchor.value({"slot0": [tau]}).item()
    anchor.eval()
    assert anchor.value({"slot0": [tau]}).item() == pytest.approx(0.75 * first)
    anchor.train()
    values = [anchor.value({"slot0": [tau]}) for _ in range(5)]
    assert [v if v is None else round(v.item() / first, 6) for v in values] == [0.75, 0.5, 0.25, None, None]


def test_where_the_schedule_stands_is_saved():
    anchor, _, tau = anchor_of(schedule="linear", steps=4)
    anchor.value({"slot0": [tau]})
    other, _, _ = anchor_of(schedule="linear", steps=4)
    other.load_state_dict(anchor.state_dict())
    assert other.strength() == anchor.strength() == 0.75


def test_draws_differ_from_call_to_call_in_training_and_repeat_in_evaluation():
    anchor, student, tau = anchor_of(kind="teacher", batch_size=8)
    shift(student)
    assert anchor.value({"slot0": [tau]}) != anchor.value({"slot0": [tau]})
    anchor.eval()
    assert anchor.value({"slot0": [tau]}) == anchor.value({"slot0": [tau]})


def test_settings_out_of_range_are_refused():
    for settings in ({"strength": -1.0}, {"strength": float("inf")}, {"strength": float("nan")}):
        with pytest.raises(ConfigError, match=r"strength is .*: give a finite number from 0 on; .* 'retain'"):
            AnchorSettings(**settings)
    with pytest.raises(ConfigError, match="positive sigma"):
        AnchorSettings(sigma=0.0)
    with pytest.raises(ConfigError, match=r"kind is 'weight'.* did you mean 'weights'"):
        from_mapping(AnchorSettings, {"kind": "weight"})
