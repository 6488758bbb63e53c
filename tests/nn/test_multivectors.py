import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from tests.nn import textbook_multivectors as textbook
from torsor import groups
from torsor.errors import SignatureError
from torsor.nn.multivector_attention import (
    Context,
    MultivectorAttention,
    key_point_features,
    point_features,
    rotate_by_place,
    visibility,
)
from torsor.nn.multivector_layers import GeometricBilinear, GeometricMLP, MultivectorDropout, MultivectorGate, MultivectorNorm
from torsor.nn.multivector_linear import MultivectorLinear
from torsor.nn.multivector_slots import join_terms, map_slots, multiply_slots, product_terms, slot_blocks, spreading
from torsor.representations import LORENTZ, PROJECTIVE, Multivectors

ALGEBRAS = pytest.mark.parametrize("algebra", [PROJECTIVE, LORENTZ], ids=["projective", "lorentz"])
REFLECTIONS = pytest.mark.parametrize("reflections", [True, False], ids=["reflections", "rotations"])
F64 = torch.float64


def close(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max([1.0, *expected.detach().abs().flatten().tolist()]))


def tokens(generator, *shape, dtype=F64):
    """Multivectors and scalars."""
    x, s = torch.randn(*shape, 3, 16, generator=generator, dtype=dtype), torch.randn(*shape, 5, generator=generator, dtype=dtype)
    return x, s


def on_components(layer, algebra, x, s, *others):
    """A layer on slots, called with components."""
    y, t = layer(algebra.to_slots(x), s, *others)
    return algebra.from_slots(y), t


def motions(generator, reflections=True):
    """Products of five motions, of which one is enough to be far from the identity."""
    group = groups.E(3) if reflections else groups.SE(3)
    g = group.sample(4, generator=generator, dtype=F64)
    for _ in range(4):
        g = group.compose(g, group.sample(4, generator=generator, dtype=F64))
    rep = Multivectors().on(group)
    return lambda x: rep.apply(group, g, x)


# -- linear -------------------------------------------------------------------------------------------------------------------------------


@ALGEBRAS
@REFLECTIONS
@pytest.mark.parametrize("implementation", ["component", "dense"])
@pytest.mark.parametrize("scalars", [0, 5])
def test_linear_maps_are_sums_of_basis_maps(algebra, reflections, implementation, scalars, generator):
    layer = MultivectorLinear(algebra, 3, 4, scalars, 6 if scalars else 0, reflections=reflections, implementation=implementation).double()
    x, s = tokens(generator, 2, 7)
    x.requires_grad_()
    y, t = on_components(layer, algebra, x, s[..., :scalars])
    expected = textbook.textbook_linear(layer, x, s[..., :scalars])
    close(y, expected[0])
    close(t, expected[1])
    cotangent = torch.randn(y.shape, generator=generator, dtype=F64)
    inputs = [x, *(p for p in layer.parameters())]
    found, wanted = (torch.autograd.grad((z * cotangent).sum() + u.sum(), inputs, allow_unused=True) for z, u in ((y, t), expected))
    for a, b in zip(found, wanted, strict=True):
        close(a, b)


@ALGEBRAS
@REFLECTIONS
def test_implementations_agree_in_single_precision(algebra, reflections, generator):
    x, s = tokens(generator, 2, 7, dtype=torch.float32)
    layer = MultivectorLinear(algebra, 3, 4, 5, 6, reflections=reflections, implementation="component")
    found = on_components(layer, algebra, x, s)
    layer.implementation = "dense"
    for a, b in zip(found, on_components(layer, algebra, x, s), strict=True):
        close(a, b, 1e-6)


@REFLECTIONS
def test_linear_maps_commute_with_motions(reflections, generator):
    layer = MultivectorLinear(PROJECTIVE, 3, 4, 5, 6, reflections=reflections).double()
    move = motions(generator, reflections)
    x, s = tokens(generator, 4, 6)
    y, t = on_components(layer, PROJECTIVE, x, s)
    moved, t_moved = on_components(layer, PROJECTIVE, move(x), s)
    close(moved, move(y))
    close(t_moved, t)


@ALGEBRAS
@REFLECTIONS
def test_derivatives_of_kernels_of_first_and_second_order(algebra, reflections, generator):
    blocks = slot_blocks(algebra.metric, int(reflections))
    pairs = len(spreading(algebra.metric, int(reflections)))
    x = torch.randn(16, 1, 2, generator=generator, dtype=F64, requires_grad=True)
    w = torch.randn(pairs, 2, 1, generator=generator, dtype=F64, requires_grad=True)
    b = torch.randn(1, 1, generator=generator, dtype=F64, requires_grad=True)
    y = torch.randn(16, 1, 2, generator=generator, dtype=F64, requires_grad=True)
    assert gradcheck(lambda x, w, b: map_slots(x, w, b, blocks), (x, w, b))
    assert gradgradcheck(lambda x, w, b: map_slots(x, w, b, blocks), (x, w, b))
    terms = product_terms(algebra.metric) if reflections else join_terms(algebra.metric)
    assert gradcheck(lambda x, y: multiply_slots(x, y, terms), (x, y))
    assert gradgradcheck(lambda x, y: multiply_slots(x, y, terms), (x[..., 0], y[..., 0]))


@ALGEBRAS
def test_kernels_under_transforms_are_the_same_functions(algebra, generator):
    terms, blocks = product_terms(algebra.metric), slot_blocks(algebra.metric, 0)
    x, y = torch.randn(2, 3, 16, 4, 2, generator=generator, dtype=F64)
    w = torch.randn(len(spreading(algebra.metric, 0)), 2, 3, generator=generator, dtype=F64)
    b = torch.randn(4, 3, generator=generator, dtype=F64)
    close(
        torch.func.vmap(lambda a, b: multiply_slots(a, b, terms))(x, y),
        torch.stack([multiply_slots(*p, terms) for p in zip(x, y, strict=True)]),
    )
    close(torch.func.vmap(lambda a: map_slots(a, w, b, blocks))(x), torch.stack([map_slots(a, w, b, blocks) for a in x]))


def test_slots_of_rigid_motions_need_twenty_four_products():
    assert [block.length for block in slot_blocks("0+++", 1)] == [16, 8]
    assert [block.length for block in slot_blocks("+---", 1)] == [16]


@ALGEBRAS
def test_products_on_slots_are_those_of_the_table(algebra, generator):
    for dtype, tolerance in ((F64, 1e-14), (torch.float32, 1e-6)):
        x, y = torch.randn(2, 5, 3, 16, generator=generator, dtype=dtype)
        slots = algebra.to_slots(x), algebra.to_slots(y)
        close(algebra.from_slots(multiply_slots(*slots, product_terms(algebra.metric))), algebra.product(x, y), tolerance)
        close(algebra.from_slots(multiply_slots(*slots, join_terms(algebra.metric))), algebra.join(x, y), tolerance)


# -- norm, gate, dropout, bilinear --------------------------------------------------------------------------------------------------------


@ALGEBRAS
def test_norm_is_that_of_the_formula(algebra, generator):
    x, s = tokens(generator, 2, 7)
    for scale in (1.0, 1e-3):  # below the smallest norm too
        y, t = on_components(MultivectorNorm(algebra), algebra, scale * x, s)
        expected = textbook.textbook_norm(algebra, scale * x, s)
        close(y, expected[0])
        close(t, expected[1])


def test_gates_are_those_of_the_formula(generator):
    x, s = tokens(generator, 2, 7)
    for found, expected in zip(on_components(MultivectorGate(), PROJECTIVE, x, s), textbook.textbook_gate(x, s), strict=True):
        close(found, expected)
    divided, _ = on_components(MultivectorGate("divide"), PROJECTIVE, x, s)
    close(divided * x[..., :1], on_components(MultivectorGate(), PROJECTIVE, x, s)[0], 1e-7)  # the constants have eight digits


def test_dropout_takes_whole_grades_and_keeps_the_mean(generator):
    torch.manual_seed(0)
    layer = MultivectorDropout(PROJECTIVE, 0.25).train()
    x, s = torch.ones(64, 40, 16), torch.ones(64, 40)
    y, t = on_components(layer, PROJECTIVE, x, s)
    for part in textbook.grades_of(y):
        assert torch.equal(part, part[..., :1].expand_as(part))
        assert len(part.unique()) == 2
    assert abs(float(y.mean()) - 1) < 0.05
    assert abs(float(t.mean()) - 1) < 0.05
    assert torch.equal(on_components(layer.eval(), PROJECTIVE, x, s)[0], x)


@ALGEBRAS
@REFLECTIONS
def test_the_geometric_network_is_that_of_the_formula(algebra, reflections, generator):
    joins = algebra is PROJECTIVE
    mlp = GeometricMLP(algebra, 3, 5, joins=joins, reflections=reflections).double()
    x, s = tokens(generator, 2, 7)
    reference = torch.randn(2, 1, 1, generator=generator, dtype=F64)
    found = on_components(mlp, algebra, x, s, reference)
    for a, b in zip(found, textbook.textbook_mlp(algebra, mlp, x, s, reference[..., None]), strict=True):
        close(a, b)


def test_an_odd_number_of_products_and_joins_is_refused():
    with pytest.raises(SignatureError, match="3 channels of products and joins do not halve"):
        GeometricBilinear(PROJECTIVE, 3, 3, 1, 1)


@pytest.mark.parametrize("scalars", [0, 5])
def test_layers_commute_with_motions(scalars, generator):
    move = motions(generator)
    x, s = tokens(generator, 4, 6)
    s = s[..., :scalars]
    reference = torch.randn(4, 1, 1, generator=generator, dtype=F64)
    pseudoscalar = move(torch.nn.functional.pad(reference, (14, 1)))[..., 14:15]
    bilinear = GeometricMLP(PROJECTIVE, 3, scalars).double()
    for layer, args, moved_args in (
        (MultivectorNorm(PROJECTIVE), (), ()),
        (MultivectorGate(), (), ()),
        (bilinear, (reference,), (pseudoscalar,)),
    ):
        y, t = on_components(layer, PROJECTIVE, x, s, *args)
        moved, t_moved = on_components(layer, PROJECTIVE, move(x), s, *moved_args)
        close(moved, move(y))
        close(t_moved, t)


# -- attention ----------------------------------------------------------------------------------------------------------------------------


def attention(algebra=PROJECTIVE, **settings):
    layer = MultivectorAttention(algebra, 3, 5, heads=2, **settings).double()
    if layer.log_weight is not None:
        torch.nn.init.normal_(layer.log_weight)
    torch.nn.init.normal_(layer.merge.weight)  # not small, so that errors show
    return layer


@pytest.mark.parametrize("multi_query", [True, False])
@pytest.mark.parametrize(
    ("algebra", "logits"),
    [(PROJECTIVE, "distance"), (PROJECTIVE, "inner"), (PROJECTIVE, "join"), (LORENTZ, "inner")],
    ids=["distance", "inner", "join", "lorentz"],
)
@pytest.mark.parametrize("plain", [False, True])
def test_attention_is_that_of_a_loop(algebra, logits, multi_query, plain, generator):
    layer = attention(algebra, logits=logits, multi_query=multi_query)
    x, s = tokens(generator, 2, 5)
    found = on_components(layer, algebra, x, s, visibility(None, like=x, plain=plain))
    for a, b in zip(found, textbook.textbook_attention(algebra, layer, x, s), strict=True):
        close(a, b)


@pytest.mark.parametrize("multi_query", [True, False])
@pytest.mark.parametrize("logits", ["distance", "join"])
def test_attention_with_masks_and_biases_is_that_of_a_loop(multi_query, logits, generator):
    layer = attention(logits=logits, multi_query=multi_query)
    x, s = tokens(generator, 2, 5)
    bias = torch.randn(2, 5, 2, 5, generator=generator, dtype=F64)
    visible = torch.rand(2, 5, 5, generator=generator) < 0.6
    visible[1, 2] = False
    found = on_components(layer, PROJECTIVE, x, s, visibility(visible, bias, like=x))
    for a, b in zip(found, textbook.textbook_attention(PROJECTIVE, layer, x, s, visible, bias), strict=True):
        close(a, b)
    keys = visible[:, :1]
    found = on_components(layer, PROJECTIVE, x, s, visibility(keys, like=x))
    for a, b in zip(found, textbook.textbook_attention(PROJECTIVE, layer, x, s, keys.expand(2, 5, 5)), strict=True):
        close(a, b)


def test_a_query_that_sees_nothing_gathers_nothing(generator):
    layer = attention()
    x, s = (z.requires_grad_() for z in tokens(generator, 2, 5))
    visible = torch.zeros(2, 5, 5, dtype=torch.bool)
    visible[0, 1:] = True
    y, t = layer(PROJECTIVE.to_slots(x), s, visibility(visible, like=x))
    nothing, nothing_s = layer.merge(
        torch.zeros(16, 1, layer.heads * layer.channels, dtype=F64), torch.zeros(1, layer.heads * layer.scalars, dtype=F64)
    )
    assert torch.equal(y[:, 1], nothing.expand(16, 5, 3))
    assert torch.equal(t[0, :1], nothing_s)
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum() + t.sum(), (x, s)))


def test_cross_attention_with_reinserted_channels_is_that_of_a_loop(generator):
    layer = attention(reinserted=3)
    (x, s), (z, u) = tokens(generator, 2, 4), tokens(generator, 2, 6)
    again, again_z = torch.randn(2, 4, 3, 16, generator=generator, dtype=F64), torch.randn(2, 6, 3, 16, generator=generator, dtype=F64)
    slots = PROJECTIVE.to_slots
    found = on_components(layer, PROJECTIVE, x, s, visibility(None, like=x), slots(again), Context(slots(z), u, slots(again_z)))
    expected = textbook.textbook_attention(PROJECTIVE, layer, x, s, again=again, context=(z, u, again_z))
    for a, b in zip(found, expected, strict=True):
        close(a, b)


@pytest.mark.parametrize("logits", ["distance", "inner", "join"])
def test_attention_commutes_with_motions(logits, generator):
    layer, move = attention(logits=logits), motions(generator)
    x, s = tokens(generator, 4, 6)
    if logits != "distance":  # points at infinity have no distance; all others are finite here
        x[..., 14] = 1
    seen = visibility(None, like=x)
    y, t = on_components(layer, PROJECTIVE, x, s, seen)
    moved, t_moved = on_components(layer, PROJECTIVE, move(x), s, seen)
    close(moved, move(y), 1e-11)
    close(t_moved, t, 1e-11)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-9])
def test_features_of_points_give_minus_the_squared_distance(epsilon, generator):
    p, q = torch.randn(2, 20, 3, generator=generator, dtype=F64)
    x, y = (torch.stack((-z[:, 2], z[:, 1], -z[:, 0], torch.ones(20, dtype=F64)), -1) for z in (p, q))
    x, y = (PROJECTIVE.to_slots(torch.nn.functional.pad(z, (11, 1))[:, None]) for z in (x, y))
    found = (point_features(x, epsilon) * key_point_features(y, epsilon)).sum(0)[:, 0]
    expected = -(p - q).square().sum(-1)
    close(found, expected / (1 + epsilon) ** 4)
    if epsilon < 1e-6:
        close(found, expected, 1e-7)


def test_points_at_infinity_have_no_features(generator):
    x = torch.randn(16, 4, 2, generator=generator, dtype=F64)
    x[7] = 0
    x.requires_grad_()
    features = point_features(x)
    assert not features.any()
    assert torch.autograd.grad(features.sum(), x)[0].isfinite().all()


def test_rotary_products_depend_on_the_distance_of_places_alone(generator):
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator, dtype=F64)
    turned = [rotate_by_place(z.expand(1, 9, 1, 8))[0, :, 0] for z in (q, k)]
    products = turned[0] @ turned[1].T
    for shift in range(-8, 9):
        line = products.diagonal(shift)
        close(line, line[:1].expand_as(line))
    close(products[0, 0], (q * k).sum())
    assert (products[0, 1] - products[0, 0]).abs() > 1e-3


def test_distances_in_spacetime_are_refused():
    with pytest.raises(SignatureError, match="logits 'distance' need the points"):
        MultivectorAttention(LORENTZ, 3, 5)
