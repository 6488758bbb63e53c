import math

import pytest
import torch

from torsor.dial.relax import Box, ConstantInputs, FixedInputs, NodeIdentities, PixelInputs, set_strength, strict
from torsor.errors import ConfigError, ShapeError


def points(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("width", "parameters"), [(128, 33_280), (32, 2_176)])
def test_parameters_are_those_of_two_hidden_layers_as_wide_as_the_output(width, parameters):
    assert sum(p.numel() for p in FixedInputs(1, width).parameters()) == parameters


def test_values_are_those_of_the_perceptron_point_by_point(generator):
    fixed = FixedInputs(3, 5, hidden=7).double()
    x = points(generator, 2, 4, 3)
    first, second = (layer[0] for layer in fixed.network[0])
    last = fixed.network[1]
    for item in range(2):
        for place in range(4):
            hidden = (first.weight @ x[item, place] + first.bias).relu()
            hidden = (second.weight @ hidden + second.bias).relu()
            torch.testing.assert_close(fixed(x)[item, place], last.weight @ hidden + last.bias, rtol=0, atol=1e-13)


# -- where they are heard ----------------------------------------------------------------------------------------------------------------


def test_outside_of_the_box_fixed_inputs_are_zero_bit_by_bit(generator):
    fixed = FixedInputs(2, 3, box=Box(-1.0, 1.0, 2)).double()
    x = 2 * points(generator, 5, 50, 2)
    inside = (x.abs() < 1).all(-1)
    assert 0 < inside.sum() < inside.numel()
    found = fixed(x)
    assert (found[inside] != 0).any(-1).all()
    assert torch.equal(found[~inside], torch.zeros_like(found[~inside]))


def test_one_coordinate_outside_is_outside():
    box = Box((-1.0, -2.0), (1.0, 3.0), 2)
    x = torch.tensor([[0.0, 0.0], [0.9, 2.9], [1.1, 0.0], [0.0, -2.1], [0.0, 3.1]])
    assert box(x).flatten().tolist() == [1, 1, 0, 0, 0]


def test_the_taper_is_continuously_differentiable_and_one_in_the_middle():
    box = Box(-2.0, 2.0, 1, taper=0.5).double()
    x = torch.linspace(-2.5, 2.5, 5001, dtype=torch.float64).unsqueeze(-1).requires_grad_()
    weight = box(x)
    (slope,) = torch.autograd.grad(weight.sum(), x)
    assert weight.diff(dim=0).abs().max() < 3.1e-3  # largest slope 1.5 / 0.5 times the step
    assert slope.diff(dim=0).abs().max() < 0.03  # largest curvature 6 / 0.25 times the step
    assert torch.equal(weight[x.abs() <= 1.5], torch.ones_like(weight[x.abs() <= 1.5]))
    assert torch.equal(weight[x.abs() >= 2], torch.zeros_like(weight[x.abs() >= 2]))


def test_a_box_around_positions_holds_them_and_no_more(generator):
    x = points(generator, 3, 6, 2)
    box = Box.around(x.float())
    assert box(x.float()).all()
    torch.testing.assert_close(box.low, x.float().flatten(0, 1).amin(0))
    torch.testing.assert_close(box.high, x.float().flatten(0, 1).amax(0))


def test_a_box_of_what_is_seen_grows_in_training_alone_and_leaves_the_padding_out(generator):
    fixed = FixedInputs(3, 2, box=Box.seen(3)).double()
    x, mask = points(generator, 4, 5, 3), torch.arange(5) < torch.tensor([[5], [3], [1], [0]])
    x[~mask] = 100.0
    assert not fixed.eval()(x, mask=mask).any()
    assert fixed.train()(x, mask=mask)[mask].any(-1).all()
    torch.testing.assert_close(fixed.box.low, x[mask].amin(0), rtol=0, atol=0)
    torch.testing.assert_close(fixed.box.high, x[mask].amax(0), rtol=0, atol=0)
    before = fixed.box.high.clone()
    fixed.eval()(x + 1)
    assert torch.equal(fixed.box.high, before)


def test_what_was_seen_is_saved_with_the_weights(generator):
    first, second = (FixedInputs(1, 2, box=Box.seen(1)).double() for _ in range(2))
    x = points(generator, 2, 3, 1)
    first.train()(x)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(x), second.eval()(x))


def test_nan_behind_the_mask_reaches_no_gradient(generator):
    fixed = FixedInputs(2, 3, box=Box(-5.0, 5.0, 2, taper=0.1)).double()
    x, mask = points(generator, 1, 4, 2), torch.tensor([[True, True, False, False]])
    x[~mask] = math.nan
    fixed(x, mask=mask)[mask].sum().backward()
    assert all(p.grad.isfinite().all() for p in fixed.parameters())


# -- Fourier features --------------------------------------------------------------------------------------------------------------------


def test_fourier_wavelengths_go_from_the_width_of_the_box_down_in_equal_ratios():
    fixed = FixedInputs(2, 3, box=Box((-1.0, 0.0), (1.0, 8.0), 2), fourier=4)
    found = torch.tensor(fixed.wavelengths)
    torch.testing.assert_close(found[0], torch.tensor([2.0, 8.0]))
    ratios = found[:-1] / found[1:]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 4.0))


def test_fourier_features_are_sines_and_cosines_of_every_axis(generator):
    fixed = FixedInputs(2, 3, box=Box(-1.0, 1.0, 2), fourier=3).double()
    x = points(generator, 1, 5, 2)
    expected = [
        wave(2 * math.pi * x[..., axis] / fixed.wavelengths[k][axis])
        for wave in (torch.sin, torch.cos)
        for k in range(3)
        for axis in range(2)
    ]
    torch.testing.assert_close(fixed._features(x), torch.stack(expected, -1), rtol=0, atol=1e-12)


def test_fourier_phases_keep_their_digits_in_single_precision():
    fixed = FixedInputs(1, 3, box=Box(0.0, 1000.0, 1), fourier=8)
    x = torch.linspace(0, 1000, 200).reshape(1, -1, 1)
    exact = fixed._features(x.double())
    assert (fixed._features(x).double() - exact).abs().max() < 1e-7
    careless = torch.sin(2 * math.pi * x / fixed.wavelengths[-1][0])
    assert (careless.double() - exact[..., 7:8]).abs().max() > 1e-6


def test_fourier_features_without_a_box_are_refused():
    with pytest.raises(ConfigError, match="width of the box"):
        FixedInputs(1, 3, fourier=4)


# -- dropout and the dial ----------------------------------------------------------------------------------------------------------------


def test_dropout_is_all_or_nothing_for_each_item_and_never_rescaled(generator):
    fixed = FixedInputs(2, 4, dropout=0.5).double()
    x = points(generator, 64, 3, 2)
    keep = fixed.draw(x, generator)
    assert keep.shape == (64,)
    assert set(keep.tolist()) == {0.0, 1.0}
    full, dropped = fixed(x), fixed(x, keep)
    assert torch.equal(dropped[keep == 1], full[keep == 1])
    assert not dropped[keep == 0].any()


def test_dropout_has_its_probability(generator):
    like = torch.zeros(20_000, 1)
    for dropout in (0.0, 0.2, 1.0):
        kept = FixedInputs(1, 1, dropout=dropout).draw(like, generator).mean().item()
        assert abs(kept - (1 - dropout)) <= 5 * (dropout * (1 - dropout) / 20_000) ** 0.5


def test_strength_multiplies_and_strict_is_zero(generator):
    fixed = FixedInputs(2, 3).double()
    x = points(generator, 2, 4, 2)
    full = fixed(x)
    set_strength(fixed, 0.25)
    torch.testing.assert_close(fixed(x), 0.25 * full, rtol=0, atol=1e-15)
    with strict(fixed):
        assert not fixed(x).any()
    torch.testing.assert_close(fixed(x), 0.25 * full, rtol=0, atol=1e-15)


def test_strict_ends_when_its_block_fails():
    fixed = FixedInputs(1, 1)
    with pytest.raises(ZeroDivisionError), strict(fixed):
        _ = 1 / 0
    assert not fixed.is_strict


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_a_strength_outside_of_the_dial_is_refused(strength):
    with pytest.raises(ConfigError, match="from 0, strict, to 1, free"):
        FixedInputs(1, 1, strength=strength)


def test_no_fixed_inputs_are_an_empty_axis(generator):
    assert FixedInputs(2, 0)(points(generator, 2, 4, 2)).shape == (2, 4, 0)


def test_another_dimension_is_refused(generator):
    with pytest.raises(ShapeError, match=r"functions on R\^2"):
        FixedInputs(2, 1)(points(generator, 2, 4, 3))


# -- other sources -----------------------------------------------------------------------------------------------------------------------


def test_nodes_beyond_the_table_get_zeros(generator):
    fixed = NodeIdentities(4, 3).double()
    found = fixed(points(generator, 2, 6, 6))
    assert torch.equal(found[:, :4], fixed.table.expand(2, -1, -1))
    assert not found[:, 4:].any()
    assert fixed(points(generator, 2, 3, 3)).shape == (2, 3, 3)


def test_constant_inputs_are_one_vector_for_all(generator):
    fixed = ConstantInputs(3).double()
    assert torch.equal(fixed(points(generator, 5, 7)), fixed.vector.expand(5, -1))


def test_pixels_have_the_functions_values_where_they_are(generator):
    inner = FixedInputs(2, 3, hidden=8).double()
    found = PixelInputs(inner)(points(generator, 2, 1, 4, 5))
    assert found.shape == (2, 3, 4, 5)
    place = torch.tensor([[[3 - 1.5, 1 - 2.0]]], dtype=torch.float64)
    torch.testing.assert_close(found[1, :, 3, 1], inner(place)[0, 0], rtol=0, atol=1e-13)


# -- why finitely many are enough --------------------------------------------------------------------------------------------------------


def test_any_map_is_equivariant_in_all_fixed_inputs_of_a_basis_together(generator):
    """With n = N fixed inputs on each side the construction is exact: E(f; e, u) = sum_i <T(sum_j <f, e_j> e_j^0), u_i^0> u_i."""
    size = 6
    hidden, out = points(generator, 16, size), points(generator, size, 16)

    def network(f):
        return (f @ hidden.T).tanh() @ out.T

    basis, other = (torch.linalg.qr(points(generator, size, size)).Q for _ in range(2))

    def equivariant(f, e, u):
        coordinates = f @ e  # <f, e_j>, unchanged when f and e move together
        return (network(coordinates @ basis.T) @ other) @ u.T

    f = points(generator, 100, size)
    torch.testing.assert_close(equivariant(f, basis, other), network(f), rtol=0, atol=1e-12)
    for shift in range(size):
        moved = equivariant(f.roll(shift, 1), basis.roll(shift, 0), other.roll(shift, 0))
        torch.testing.assert_close(moved, equivariant(f, basis, other).roll(shift, 1), rtol=0, atol=1e-12)
    alone = equivariant(f.roll(1, 1), basis, other) - equivariant(f, basis, other).roll(1, 1)
    assert alone.abs().max() > 0.1
