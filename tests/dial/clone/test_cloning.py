import pytest
import torch
from torch import nn

from tests.dial.clone.cases import ORTHOGONAL, teacher_of
from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.clone import (
    BasisLayer,
    BilinearConfig,
    CircularConvolution,
    CloneSettings,
    EntryTransformerConfig,
    Examples,
    Gaussian,
    HypernetworkConfig,
    LowRankConfig,
    MLPStudentConfig,
    ModuleTeacher,
    Probe,
    card_of,
    clone,
    matched,
)
from torsor.dial.clone.laws import WithParameters
from torsor.dial.clone.loop import Imitation
from torsor.dial.clone.quality import listed_elements
from torsor.errors import ConfigError, GroupError, NonFiniteError
from torsor.groups import SO, O, S
from torsor.models.egnn import EGNNConfig
from torsor.models.equivariant_mlp import EquivariantLinear, EquivariantMLP
from torsor.models.mlp import MLPConfig
from torsor.representations import Regular, Trivial, Vectors
from torsor.signatures import PointClouds

QUICK = CloneSettings(steps=20, batch_size=64, probe_every=10, probe_size=512)
STUDENTS = {
    "mlp": MLPStudentConfig(hidden=16),
    "bilinear": BilinearConfig(),
    "homogeneous": MLPStudentConfig(hidden=16, homogeneous=("tau",)),
    "low-rank": LowRankConfig(rank=8),
    "hypernetwork": HypernetworkConfig(hidden=8),
    "transformer": EntryTransformerConfig(width=8, heads=2, layers=1),
}


def probe_of(teacher, law=None, size=512):
    law = law or Gaussian(teacher.inputs)
    return Probe(teacher, WithParameters(law, teacher), teacher.symmetry, size, 0, torch.float64)


class Reparametrised(nn.Module):
    """A student that is the teacher with its parameters mixed: it only has to learn to leave them alone."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher
        self.mixing = nn.Parameter(torch.randn(teacher.parameter_count, teacher.parameter_count) * 0.3)

    def forward(self, x, tau):
        return self.teacher(x, tau @ self.mixing)


# -- the bound ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_four_times_the_error_bounds_the_equivariance_error_of_every_teacher(name):
    teacher = teacher_of(name)
    probe = probe_of(teacher)
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            student = MLPStudentConfig(hidden=8).build(teacher.sizes).double()
        quality = probe.quality(student)
        assert quality.equivariance_mse <= quality.bound
        assert (quality.equivariance_mse > 0) == (name != "trivial group")
        assert quality.nmse > 0.1


@pytest.mark.parametrize("name", STUDENTS)
def test_the_bound_holds_for_every_student_at_every_stage(name):
    teacher = CircularConvolution(1, 1, (4,), (3,))
    student = STUDENTS[name].build(teacher.sizes)
    for steps in (1, 10, 100):
        student = clone(teacher, student, settings=CloneSettings(steps=steps, batch_size=32, probe_every=100, probe_size=1024))
        quality = card_of(student).quality
        assert quality.equivariance_mse <= quality.bound


def test_the_bound_is_attained_where_the_error_is_odd():
    class Odd(nn.Module):
        """The teacher, and an error that a roll by one turns into its negative."""

        def forward(self, x, tau):
            sign = 1 - 2 * (torch.arange(4) % 2).to(x)
            return teacher(x, tau) + sign

    teacher = CircularConvolution(1, 1, (4,), (3,))
    quality = probe_of(teacher).quality(Odd())
    assert quality.equivariance_mse == pytest.approx(4 * quality.nmse, rel=1e-12)


def test_the_error_of_the_teacher_itself_is_zero():
    for name in ("line", "group D(4)", "gated"):
        teacher = teacher_of(name)
        quality = probe_of(teacher).quality(teacher)
        assert quality.nmse == 0
        assert quality.equivariance_error < 1e-12


def test_small_groups_are_tried_element_by_element():
    assert len(listed_elements(teacher_of("group D(4)").symmetry)) == 8
    for name in ("O(3)", "plane", "deep sets"):
        assert listed_elements(teacher_of(name).symmetry) is None


# -- the loop -------------------------------------------------------------------------------------------------------------------------


def test_a_student_of_the_teachers_own_kind_becomes_the_teacher():
    teacher = CircularConvolution(2, 1, (4,), (3,), bias=True)
    settings = CloneSettings(steps=1200, batch_size=32, learning_rate=2e-2, probe_every=1200, probe_size=512)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = Reparametrised(teacher)
    assert card_of(clone(teacher, student, settings=settings)).quality.nmse < 1e-8
    torch.testing.assert_close(student.mixing.detach(), torch.eye(teacher.parameter_count), atol=1e-3, rtol=0)


def test_an_equivariant_layer_becomes_another_one():
    rep_in, rep_out = (Vectors() + Trivial()).on(O(2)), (Vectors() + Trivial()).on(O(2))
    family = BasisLayer(rep_in, rep_out)
    teacher = family.at(family.sample_tau(generator=torch.Generator().manual_seed(3)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = EquivariantLinear(rep_in, rep_out)
    settings = CloneSettings(steps=600, batch_size=32, learning_rate=2e-2, probe_every=600, probe_size=512)
    found = clone(teacher, student, settings=settings)
    assert card_of(found).quality.nmse < 1e-8
    assert card_of(found).quality.equivariance_error < 1e-5


def test_cloning_repeats_bit_by_bit_and_leaves_torchs_generator_alone():
    teacher = CircularConvolution(1, 1, (4,), (3,))
    state = torch.random.get_rng_state()
    first, second = (clone(teacher, MLPStudentConfig(hidden=8), settings=QUICK) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert card_of(first).weights == card_of(second).weights
    other = clone(
        teacher, MLPStudentConfig(hidden=8), settings=CloneSettings(steps=20, batch_size=64, probe_every=10, probe_size=512, seed=1)
    )
    assert card_of(other).weights != card_of(first).weights


class TearsApart(CloneSettings):
    """One gentle step, then such as destroy what was learned."""

    def rate(self, step):
        return 1e-3 if step == 0 else 10.0


def test_the_best_probe_is_kept():
    teacher = CircularConvolution(1, 1, (4,), (3,))
    settings = TearsApart(steps=4, batch_size=64, probe_every=1, probe_size=256)
    card = card_of(clone(teacher, MLPStudentConfig(hidden=8), settings=settings))
    assert card.step == 1
    assert card.history["1"] < 2 < card.history["4"]
    assert card.quality.nmse == pytest.approx(card.history["1"], rel=1e-12)


def test_training_ends_at_the_target():
    teacher = CircularConvolution(1, 1, (4,), (3,))
    settings = CloneSettings(steps=500, batch_size=64, probe_every=10, probe_size=256, target=0.9)
    card = card_of(clone(teacher, MLPStudentConfig(hidden=16), settings=settings))
    assert card.quality.nmse <= 0.9
    assert card.step < 500


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path):
    teacher = CircularConvolution(1, 1, (4,), (3,))
    settings = CloneSettings(steps=30, batch_size=32, probe_every=10, probe_size=128)
    whole = clone(teacher, MLPStudentConfig(hidden=8), settings=settings)

    def imitation():
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            student = MLPStudentConfig(hidden=8).build(teacher.sizes)
        law = WithParameters(Gaussian(4), teacher)
        return Imitation(teacher, student, law, teacher.symmetry, settings, tmp_path / "state.safetensors")

    killed = imitation()
    update = killed._update

    def until_step_25():
        if killed.step == 25:
            raise KeyboardInterrupt
        update()

    killed._update = until_step_25
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = imitation()
    resumed.run()
    assert resumed.history == card_of(whole).history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.student.state_dict()[name], tensor)
    assert not list(tmp_path.iterdir())


def test_what_is_not_finite_stops_the_loop():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x, tau):
            return x * self.weight / 0 + tau[:, :1]

    teacher = CircularConvolution(1, 1, (4,), (3,))
    with pytest.raises(NonFiniteError, match="step 10: the clone's error is nan"):
        clone(teacher, Broken(), settings=QUICK)
    with pytest.raises(NonFiniteError, match="the teacher's mean square output is 0"):
        clone(teacher, law=Gaussian(4, factor=torch.zeros(4, 4, dtype=torch.float64)), settings=QUICK)


# -- the front ------------------------------------------------------------------------------------------------------------------------


def test_a_clone_says_how_approximate_it_is():
    teacher = CircularConvolution(1, 1, (4,), (3,))
    student = clone(teacher, MLPStudentConfig(hidden=16), settings=QUICK)
    card = card_of(student)
    assert student.symmetry.exactness == "approximate"
    generator = torch.Generator().manual_seed(0)
    inputs = {"x": torch.randn(3, 4, generator=generator), "tau": teacher.sample_tau(3, generator=generator, dtype=torch.float32)}
    report = equivariance_error(student, inputs)
    assert report.exactness == "approximate"
    assert f"equivariance error {card.quality.equivariance_error:.1e}" in str(report)
    assert "x standard normal" in report.guarantee
    assert "off the law nothing is promised" in report.to_dict()["guarantee"]
    assert set(card.off_law) == {"0.3", "1", "2", "4"}
    assert card.off_law["1"] == pytest.approx(card.quality.nmse, rel=1e-6)
    with pytest.raises(GroupError, match=r"promises 'approximate', which has no default tolerance"):
        assert_equivariant(student, inputs)


def test_a_model_of_point_clouds_is_distilled_into_a_plain_one():
    signature = PointClouds("2x0e", "1x0e", pool="sum", points=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher, student = EGNNConfig(hidden=8, layers=1).build(signature), MLPConfig(hidden=32, layers=1).build(signature)
    settings = CloneSettings(steps=60, batch_size=64, probe_every=20, probe_size=256)
    found = clone(teacher, student, law=Examples(signature, points=3), settings=settings)
    card = card_of(found)
    assert found is student
    assert card.history["60"] < card.history["20"] <= 1.1
    assert card.quality.equivariance_error > 0
    assert found.symmetry.exactness == "approximate"
    assert "E(3)" in card.teacher["group"]
    with pytest.raises(ConfigError, match="there is no standard law for the inputs positions, features: give law=Examples"):
        clone(teacher, student, settings=settings)
    with pytest.raises(ConfigError, match="EGNN is one function, not a teacher of many: give the network"):
        clone(teacher, law=Examples(signature, points=3))


def test_matched_laws_have_the_moments_of_the_samples_and_are_symmetric(generator):
    rep = (2 * Vectors() + Trivial(2)).on(SO(3))
    samples = torch.randn(4000, 8, generator=generator, dtype=torch.float64) * 2 + torch.arange(8)
    law = matched(samples, rep)
    covariance = law.factor @ law.factor.T
    for g in SO(3).sample(3, generator=generator, dtype=torch.float64):
        matrix = rep.matrix(g)
        torch.testing.assert_close(matrix @ covariance @ matrix.T, covariance, atol=1e-11, rtol=0)
        torch.testing.assert_close(matrix @ law.mean, law.mean, atol=1e-12, rtol=0)
    torch.testing.assert_close(law.mean[6:], samples.mean(0)[6:], atol=1e-12, rtol=0)
    x = law.draw(100000, generator, torch.float64)["x"]
    torch.testing.assert_close(x.mean(0), law.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(x.T, correction=0), covariance, atol=0.1, rtol=0)


def test_symmetric_moments_are_the_average_over_the_group(generator):
    rep = (2 * Regular() + Trivial()).on(S(3))
    samples = torch.randn(50, rep.dim, generator=generator, dtype=torch.float64)
    law = matched(samples, rep)
    plain = matched(samples)
    matrices = [rep.matrix(g) for g in S(3).elements()]
    mean = torch.stack([m @ plain.mean for m in matrices]).mean(0)
    covariance = torch.stack([m @ plain.factor @ plain.factor.T @ m.T for m in matrices]).mean(0)
    torch.testing.assert_close(law.mean, mean, atol=1e-12, rtol=0)
    torch.testing.assert_close(law.factor @ law.factor.T, covariance, atol=1e-12, rtol=0)


def test_a_network_of_blocks_can_be_a_teacher():
    teacher = ModuleTeacher(EquivariantMLP(O(2), 2 * Vectors(), Trivial(), hidden=1, depth=1))
    card = card_of(clone(teacher, MLPStudentConfig(hidden=16), settings=QUICK))
    assert card.quality.equivariance_mse <= card.quality.bound


@pytest.mark.slow
def test_a_perceptron_learns_the_translations_of_eight_places():
    teacher = CircularConvolution(1, 1, (8,), (8,))
    card = card_of(clone(teacher, MLPStudentConfig(hidden=128, layers=2, activation="gelu"), settings=CloneSettings(steps=6000)))
    assert card.quality.nmse <= 8e-3
    assert card.quality.equivariance_error <= 0.10
    assert card.quality.equivariance_mse <= card.quality.bound
