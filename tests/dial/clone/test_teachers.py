import pytest
import torch
from torch import nn

from tests.dial.clone.cases import TEACHERS, teacher_of
from torsor.check import assert_equivariant
from torsor.dial.clone import (
    BasisLayer,
    CircularConvolution,
    DeepSets,
    ExchangeableMatrix,
    ModuleTeacher,
    PlaneFunctions,
    dense_teacher,
    linear_teacher,
)
from torsor.dial.clone.teachers import affine_tensor
from torsor.errors import RepresentationError
from torsor.groups import SO, C, O, S
from torsor.models.equivariant_mlp import EquivariantLinear, EquivariantMLP
from torsor.nn.permutation_linear import PermutationLinear
from torsor.representations import Defining, Trivial, Vectors, equivariant_basis


def draws(teacher, generator, batch=3):
    x = torch.randn(batch, teacher.inputs, generator=generator, dtype=torch.float64)
    return x, teacher.sample_tau(batch, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", TEACHERS)
def test_every_teacher_is_equivariant_for_random_parameters_of_each_item(name, generator):
    teacher = teacher_of(name)
    x, tau = draws(teacher, generator)
    assert_equivariant(teacher, {"x": x, "tau": tau}, tolerance=1e-10, samples=2)


@pytest.mark.parametrize("name", TEACHERS)
def test_one_tau_for_all_equals_a_tau_for_each(name, generator):
    teacher = teacher_of(name)
    x, tau = draws(teacher, generator)
    each = teacher(x, tau)
    assert each.shape == (3, teacher.outputs)
    alone = torch.cat([teacher(x[i : i + 1], tau[i]) for i in range(3)])
    torch.testing.assert_close(each, alone, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(teacher.at(tau[1])(x[1:2]), each[1:2], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", TEACHERS)
def test_outputs_have_variance_one(name):
    teacher = teacher_of(name)
    generator = torch.Generator().manual_seed(5)
    x, tau = draws(teacher, generator, 4096)
    square = teacher(x, tau).square().mean(1)
    assert abs(float(square.mean()) - 1) < 6 * float(square.std()) / 64


@pytest.mark.parametrize("name", TEACHERS)
def test_linear_teachers_are_those_that_say_so(name, generator):
    teacher = teacher_of(name)
    x, tau = draws(teacher, generator)
    error = (teacher(x, 2 * tau) - 2 * teacher(x, tau)).abs().max() + (
        teacher(x, tau) + teacher(-x, tau) - 2 * teacher(torch.zeros_like(x), tau)
    ).abs().max()
    assert (float(error) < 1e-12) == teacher.linear


def test_the_scale_of_a_linear_teacher_is_the_closed_form():
    teacher = BasisLayer(2 * Vectors(), (Vectors() + Trivial()).on(O(3)), bias=False)
    # two orthonormal maps and four outputs
    assert teacher.scale == pytest.approx((4 / 2) ** 0.5, abs=1e-12)


# -- against modules and naive sums ---------------------------------------------------------------------------------------------------


def test_convolution_on_a_line_is_the_sum_as_written(generator):
    teacher = CircularConvolution(2, 3, (5,), (3,), bias=True)
    x, tau = draws(teacher, generator)
    pictures, kernel, bias = x.view(3, 2, 5), tau[:, :18].view(3, 3, 2, 3), tau[:, 18:]
    expected = torch.zeros(3, 3, 5, dtype=torch.float64)
    for b in range(3):
        for o in range(3):
            for s in range(5):
                terms = [kernel[b, o, i, t] * pictures[b, i, (s + t) % 5] for i in range(2) for t in range(3)]
                expected[b, o, s] = sum(terms) + bias[b, o]
    torch.testing.assert_close(teacher(x, tau).view(3, 3, 5), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("grid", "kernel", "kind"), [((6,), (3,), nn.Conv1d), ((4, 5), (3, 3), nn.Conv2d)])
def test_convolutions_equal_those_of_torch_but_for_the_centre(grid, kernel, kind, generator):
    teacher = CircularConvolution(2, 3, grid, kernel)
    layer = kind(2, 3, kernel, padding="same", padding_mode="circular", bias=False, dtype=torch.float64)
    x, tau = draws(teacher, generator)
    with torch.no_grad():
        layer.weight.copy_(tau[0].view_as(layer.weight))
        centred = layer(x.view(3, 2, *grid))
    axes = tuple(range(2, 2 + len(grid)))
    expected = centred.roll([-(k // 2) for k in kernel], axes)
    torch.testing.assert_close(teacher(x, tau[0]), expected.flatten(1), atol=1e-12, rtol=0)


def naive_group_convolution(psi, x, size):
    """y[o, r] = sum_{i, r'} rot90^r(psi[o, i, (r' - r) mod 4]) * x[i, r'], by rolling pictures; r' has length one for a lifting."""
    c_out, c_in, copies, k, _ = psi.shape
    y = torch.zeros(c_out, 4, size, size, dtype=psi.dtype)
    for o in range(c_out):
        for r in range(4):
            for i in range(c_in):
                for s in range(copies):
                    kernel = torch.rot90(psi[o, i, (s - r) % copies], r)
                    for a in range(k):
                        for b in range(k):
                            y[o, r] += kernel[a, b] * x[i, s].roll((k // 2 - a, k // 2 - b), (0, 1))
    return y


@pytest.mark.parametrize("name", ["lifting C(4)", "group C(4)"])
def test_quarter_turn_convolutions_are_the_sums_as_written(name, generator):
    teacher = teacher_of(name)
    size, copies = (4, 1) if name.startswith("lifting") else (3, 4)
    x, tau = draws(teacher, generator, 1)
    expected = naive_group_convolution(tau[0].view(2, 1, copies, 3, 3), x.view(1, copies, size, size), size)
    torch.testing.assert_close(teacher(x, tau)[0], expected.flatten(), atol=1e-12, rtol=0)


def test_functions_on_the_group_turn_and_roll(generator):
    rep = teacher_of("group C(4)").symmetry.inputs["x"]
    x = torch.randn(1, 4, 3, 3, generator=generator, dtype=torch.float64)
    turned = torch.rot90(x, 1, (-2, -1)).roll(1, 1)
    g = torch.tensor([1, 0])
    assert torch.equal(rep.apply(C(4), g, x.flatten()), turned.flatten())
    assert torch.equal(rep.matrix(g) @ x.flatten(), turned.flatten())


def test_deep_sets_and_exchangeable_matrices_equal_the_permutation_layer(generator):
    for teacher, spec, shape in (
        (DeepSets(5, 2, 3), "n -> n", (5, 2)),
        (ExchangeableMatrix(3, 4, 2, 3), "r c -> r c", (3, 4, 2)),
    ):
        layer = PermutationLinear(spec, 2, 3, bias=False, generator=generator).double()
        form = ModuleTeacher(layer, teacher.symmetry, shape, linear=True)
        x, tau = draws(form, generator)
        # both span the same maps: the layout differs, the span does not
        ours, theirs = (affine_tensor(t).flatten(1) for t in (teacher, form))
        mixing = torch.linalg.lstsq(ours.T, theirs.T).solution
        assert form.parameter_count == teacher.parameter_count == len(mixing)
        torch.testing.assert_close(teacher(x, tau @ mixing.T), form(x, tau), atol=1e-12, rtol=1e-12)


def test_deep_sets_are_the_formula(generator):
    teacher = DeepSets(4, 2, 3)
    x, tau = draws(teacher, generator, 1)
    gamma, lam = tau[0, :6].view(2, 3), tau[0, 6:].view(2, 3)
    rows = x.view(4, 2)
    torch.testing.assert_close(teacher(x, tau).view(4, 3), rows @ gamma + rows.mean(0) @ lam, atol=1e-12, rtol=0)


def test_exchangeable_matrices_are_the_formula(generator):
    teacher = ExchangeableMatrix(3, 4, 1, 1)
    x, tau = draws(teacher, generator, 1)
    rows = x.view(3, 4)
    a, b, c, d = tau[0]
    expected = a * rows + b * rows.mean(1, keepdim=True) + c * rows.mean(0, keepdim=True) + d * rows.mean()
    torch.testing.assert_close(teacher(x, tau).view(3, 4), expected, atol=1e-12, rtol=0)


def test_the_basis_layer_and_the_equivariant_linear_layer_have_the_same_maps(generator):
    rep_in, rep_out = 2 * Vectors() + Trivial(2), (Vectors() + 2 * Trivial()).on(SO(3))
    dense, blocks = BasisLayer(rep_in, rep_out), linear_teacher(rep_in, rep_out).double()
    ours, theirs = (affine_tensor(t).flatten(1) for t in (dense, blocks))
    mixing = torch.linalg.lstsq(ours.T, theirs.T).solution
    x, tau = draws(blocks, generator)
    torch.testing.assert_close(dense(x, tau @ mixing.T), blocks(x, tau), atol=1e-12, rtol=1e-12)


def test_a_module_teacher_is_the_module_with_these_parameters(generator):
    network = EquivariantMLP(O(2), 2 * Vectors(), Trivial(), hidden=2, depth=1).double()
    teacher = ModuleTeacher(network)
    tau = torch.cat([p.detach().flatten() for p in network.parameters()])
    x = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(teacher(x, tau), network(x), atol=1e-12, rtol=1e-12)
    assert not list(teacher.parameters())
    assert not teacher.state_dict()


# -- the ends of the range --------------------------------------------------------------------------------------------------------------


def test_without_a_group_every_teacher_is_a_dense_layer(generator):
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    x = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    for teacher in (dense_teacher(4, 3), CircularConvolution(4, 3, (1,), (1,)), BasisLayer(Trivial(4).on(S(1)), Trivial(3), bias=False)):
        torch.testing.assert_close(teacher(x, weight.flatten()), x @ weight.T, atol=1e-12, rtol=0)
    sets = DeepSets(1, 4, 3)
    halves = torch.cat((weight.T.flatten(), weight.T.flatten())) / 2
    torch.testing.assert_close(sets(x, halves), x @ weight.T, atol=1e-12, rtol=0)


def test_a_teacher_that_knows_only_the_zero_map_is_refused():
    with pytest.raises(RepresentationError, match=r"only the zero map goes from Vectors.* to Trivial.* under SO\(3\)"):
        BasisLayer(Vectors().on(SO(3)), Trivial(), bias=False)
    assert len(equivariant_basis(Vectors().on(SO(3)), Trivial())) == 0


def test_zero_goes_to_the_invariant_vectors(generator):
    teacher = BasisLayer(Vectors() + Trivial(), (Vectors() + Trivial()).on(O(3)))
    tau = teacher.sample_tau(generator=generator, dtype=torch.float64)
    y = teacher(torch.zeros(1, 4, dtype=torch.float64), tau)
    assert not y[0, :3].any()
    assert y[0, 3] == tau[-1]


def test_parameters_have_gradients(generator):
    for name in ("line", "group C(4)", "network"):
        teacher = teacher_of(name)
        x, tau = draws(teacher, generator)
        (gradient,) = torch.autograd.grad(teacher(x, shared := tau[0].clone().requires_grad_()).square().sum(), [shared])
        assert gradient.abs().max() > 0


def test_a_module_without_a_contract_is_refused():
    with pytest.raises(RepresentationError, match="EquivariantLinear has no contract for one input x"):
        ModuleTeacher(EquivariantLinear(Vectors().on(O(2)), Vectors().on(O(2))))
    with pytest.raises(RepresentationError, match="does not map a square grid"):
        PlaneFunctions(1, 3, False).on(C(3))


def test_bases_of_a_permutation_representation_are_the_deep_sets_maps():
    assert BasisLayer(Defining().on(S(4)), Defining(), bias=False).parameter_count == DeepSets(4, 1, 1).parameter_count == 2
