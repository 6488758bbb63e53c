import pytest
import torch

from tests.dial.clone.cases import TEACHERS, teacher_of
from torsor.config import named_from_mapping
from torsor.dial.clone import (
    STUDENTS,
    BilinearConfig,
    EntryTransformerConfig,
    Gaussian,
    HypernetworkConfig,
    LowRankConfig,
    MLPStudentConfig,
    Probe,
)
from torsor.dial.clone.laws import WithParameters
from torsor.dial.clone.students import MLPStudent
from torsor.dial.clone.teachers import Sizes
from torsor.errors import ConfigError, ShapeError, SignatureError, UnknownNameError

SIZES = Sizes(6, 5, 4, scale=0.3)
CONFIGS = [
    MLPStudentConfig(hidden=16),
    BilinearConfig(),
    LowRankConfig(rank=7),
    HypernetworkConfig(hidden=8),
    EntryTransformerConfig(width=8, heads=2, layers=1),
    MLPStudentConfig(hidden=16, homogeneous=("x", "tau")),
    HypernetworkConfig(hidden=8, homogeneous=("tau",)),
]


def arguments(generator, batch=3, dtype=torch.float64):
    x = torch.randn(batch, SIZES.inputs, generator=generator, dtype=dtype)
    return x, SIZES.scale * torch.randn(batch, SIZES.parameters, generator=generator, dtype=dtype)


def build(config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return config.build(SIZES).double()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_one_tau_for_all_equals_a_tau_for_each(config, generator):
    student = build(config)
    x, tau = arguments(generator)
    each = student(x, tau)
    assert each.shape == (3, SIZES.outputs)
    torch.testing.assert_close(student(x, tau[1])[1], each[1], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(student(x, tau[:1].expand(3, -1)), student(x, tau[0]), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_students_depend_on_both_arguments_and_have_finite_gradients_at_zero(config, generator):
    student = build(config)
    x, tau = (a.requires_grad_() for a in arguments(generator))
    for gradient in torch.autograd.grad(student(x, tau).square().sum(), [x, tau]):
        assert gradient.abs().max() > 0
    nothing = [torch.zeros_like(a).requires_grad_() for a in (x, tau)]
    for gradient in torch.autograd.grad(student(*nothing).sum(), nothing):
        assert gradient.isfinite().all()


def test_the_split_first_layer_is_that_of_the_concatenation(generator):
    student = MLPStudent(SIZES, 16, 2, "gelu").double()
    x, tau = arguments(generator)
    whole = student.rest(student.first(torch.cat((x, tau / SIZES.scale), 1)))
    torch.testing.assert_close(student(x, tau), whole, atol=1e-13, rtol=0)


def test_students_start_at_the_size_of_their_targets(generator):
    x, tau = arguments(generator, 4096)
    for config in (BilinearConfig(), LowRankConfig(rank=32), EntryTransformerConfig(width=16, heads=2, layers=1)):
        assert 0.1 < build(config)(x, tau).square().mean().item() < 10


def test_a_hypernetwork_is_affine_in_x(generator):
    student = build(HypernetworkConfig(hidden=8))
    x, tau = arguments(generator)
    y = student(100 * x, tau)
    zero = student(0 * x, tau)
    torch.testing.assert_close(y - zero, 100 * (student(x, tau) - zero), atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("config", [c for c in CONFIGS if c.homogeneous], ids=str)
def test_homogeneous_students_scale_with_their_arguments(config, generator):
    student = build(config)
    x, tau = arguments(generator)
    y = student(x, tau)
    torch.testing.assert_close(student(x, 7 * tau), 7 * y, atol=1e-11, rtol=0)
    if "x" in config.homogeneous:
        torch.testing.assert_close(student(0.1 * x, tau), 0.1 * y, atol=1e-11, rtol=0)
        assert not student(0 * x, tau).any()


def test_the_error_of_a_homogeneous_student_is_the_same_at_every_size_of_the_inputs():
    teacher = teacher_of("plane")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = MLPStudentConfig(hidden=16, homogeneous=("x", "tau")).build(teacher.sizes).double()
    probe = Probe(teacher, WithParameters(Gaussian(teacher.inputs), teacher), teacher.symmetry, 512, 0, torch.float64)
    errors = list(probe.scaled(student, (0.1, 0.3, 1.0, 3.0, 10.0)).values())
    assert max(errors) / min(errors) - 1 < 1e-10
    # and a plain one is not
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = MLPStudentConfig(hidden=16).build(teacher.sizes).double()
    errors = list(probe.scaled(plain, (0.1, 10.0)).values())
    assert max(errors) / min(errors) > 1.01


def solvable(name):
    """Whether a teacher is linear, and small enough for least squares on all products."""
    teacher = teacher_of(name)
    return teacher.linear and (teacher.inputs + 1) * teacher.parameter_count <= 800


@pytest.mark.parametrize("name", [name for name in TEACHERS if solvable(name)])
def test_a_bilinear_student_recovers_every_linear_teacher_by_least_squares(name):
    teacher, generator = teacher_of(name), torch.Generator().manual_seed(1)
    student = BilinearConfig().build(teacher.sizes).double()
    count = 2 * max(teacher.inputs * teacher.parameter_count, teacher.inputs + 1)
    x = torch.randn(count, teacher.inputs, generator=generator, dtype=torch.float64)
    tau = teacher.sample_tau(count, generator=generator, dtype=torch.float64)
    student.fit(x, tau, teacher(x, tau))
    probe = Probe(teacher, WithParameters(Gaussian(teacher.inputs), teacher), teacher.symmetry, 256, 3, torch.float64)
    quality = probe.quality(student)
    assert quality.nmse < 1e-20
    assert quality.equivariance_error < 1e-10


def test_too_few_samples_for_least_squares_are_refused(generator):
    student = build(BilinearConfig())
    x, tau = arguments(generator)
    with pytest.raises(ShapeError, match="3 samples do not settle 35 unknowns"):
        student.fit(x, tau, torch.zeros(3, SIZES.outputs, dtype=torch.float64))


def test_every_student_is_built_by_its_name():
    for name in STUDENTS:
        config = named_from_mapping(STUDENTS, {"name": name}, "student")
        assert sum(p.numel() for p in config.build(Sizes(3, 2, 2)).parameters()) > 0
    with pytest.raises(UnknownNameError, match="unknown student 'mpl': did you mean 'mlp'"):
        named_from_mapping(STUDENTS, {"name": "mpl"}, "student")


def test_settings_that_make_no_student_are_refused():
    with pytest.raises(ConfigError, match="0 hidden layers"):
        MLPStudentConfig(layers=0)
    with pytest.raises(SignatureError, match="width 10 does not divide by 4 heads"):
        EntryTransformerConfig(width=10).build(SIZES)
