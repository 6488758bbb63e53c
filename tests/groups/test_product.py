"""Direct products: tuples of elements, flattened factors, block diagonal matrices."""

import pytest
import torch

from torsor.errors import GroupError, ShapeError
from torsor.groups import SE, SO, C, D, E, Group, Product, S, T
from torsor.groups.numerics import block_diagonal


def test_products_are_flat_and_associative():
    group = SE(3) * S(5) * C(4)
    assert group.factors == (SE(3), S(5), C(4))
    assert group == SE(3) * (S(5) * C(4)) == Product(SE(3), S(5), C(4))
    assert str(group) == "SE(3) x S(5) x C(4)"
    assert repr(group) == "groups.SE(3) * groups.S(5) * groups.C(4)"


def test_elements_are_tuples_of_the_factors_elements(generator):
    a = (SE(3) * S(5) * C(4)).sample(7, generator=generator, dtype=torch.float64)
    assert [(tuple(x.shape), x.dtype) for x in a] == [((7, 4, 4), torch.float64), ((7, 5), torch.int64), ((7, 2), torch.int64)]


def test_matrices_are_block_diagonal(generator):
    group = SO(2) * S(3)
    r, p = group.sample(4, generator=generator, dtype=torch.float64)
    for matrix, turn, order in zip(group.matrix((r, p)), r, S(3).matrix(p), strict=True):
        assert torch.equal(matrix, torch.block_diag(turn, order))


def test_the_batch_axes_of_the_factors_broadcast(generator):
    group = SO(2) * T(3)
    element = (SO(2).sample(4, 1, generator=generator, dtype=torch.float64), T(3).sample(5, generator=generator, dtype=torch.float64))
    assert group.matrix(element).shape == (4, 5, 6, 6)
    assert group.distance(element, element).shape == (4, 5)


def test_the_algebra_has_the_factors_in_their_blocks():
    algebra = (SO(3) * S(2) * T(1)).algebra()
    assert algebra.shape == (4, 7, 7)
    assert torch.equal(algebra[:3, :3, :3], SO(3).algebra())
    assert torch.equal(algebra[3:, 5:, 5:], T(1).algebra())
    assert algebra.abs().sum() == SO(3).algebra().abs().sum() + T(1).algebra().abs().sum()


def test_the_distance_is_pythagorean(generator):
    group = SE(2) * S(4)
    a, b = (group.sample(6, generator=generator, dtype=torch.float32) for _ in range(2))
    squares = SE(2).distance(a[0], b[0]) ** 2 + S(4).distance(a[1], b[1]) ** 2
    assert (group.distance(a, b) ** 2 - squares).abs().max() < 1e-5


def test_discrete_generators_move_one_factor_at_a_time():
    group = E(2) * S(4) * SO(3)
    motions, orders, turns = group.discrete_generators()
    assert torch.equal(motions[:1], E(2).discrete_generators())
    assert torch.equal(motions[1:], E(2).identity(2, dtype=torch.float64))
    assert torch.equal(orders, torch.cat((S(4).identity(1), S(4).discrete_generators())))
    assert torch.equal(turns, SO(3).identity(3, dtype=torch.float64))


def test_probes_mix_the_kinds_of_the_factors(generator):
    probes = (E(3) * S(5)).probes(2, generator, torch.float64)
    assert set(probes) == {
        "identity",
        "generic",
        "half turn",
        "quarter turn",
        "reflection",
        "inversion",
        "far translation",
        "transposition",
    }
    motion, order = probes["reflection"]
    assert (torch.linalg.det(motion) < 0).all()
    assert (order != torch.arange(5)).any()
    motion, order = probes["transposition"]
    assert ((order != torch.arange(5)).sum(-1) == 2).all()
    assert (motion - E(3).identity(dtype=torch.float64)).abs().max() > 0.1


def test_a_product_is_compact_where_all_factors_are():
    assert (SO(3) * S(4)).compact
    assert not (SO(3) * T(1)).compact


@pytest.mark.parametrize("element", [torch.zeros(3), (torch.eye(2),)])
def test_what_is_no_tuple_of_elements_is_named(element):
    with pytest.raises(ShapeError, match=r"an element of SO\(2\) x S\(3\) is a tuple of 2 elements, not a"):
        (SO(2) * S(3)).inverse(element)


def test_a_product_of_one_group_is_refused():
    with pytest.raises(GroupError, match="at least two groups, not 1"):
        Product(SO(2))


MOVING = (SE(3) * S(5), SO(2) * T(3) * SO(3), C(4) * SE(2) * S(3), S(2) * C(3))


@pytest.mark.parametrize("group", MOVING, ids=str)
def test_exp_follows_the_one_parameter_subgroup_of_its_generators(group, generator):
    v = torch.randn(4, group.dim, generator=generator, dtype=torch.float64)
    expected = torch.linalg.matrix_exp(torch.einsum("bk,kij->bij", v, group.generators()))
    assert (group.matrix(group.exp(v)) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("group", MOVING, ids=str)
def test_log_undoes_exp(group, generator):
    v = 0.5 * torch.randn(4, 1, group.dim, generator=generator, dtype=torch.float64)
    assert group.log(group.exp(v)).shape == v.shape
    assert ((group.log(group.exp(v)) - v).abs() < 1e-12).all()


def test_log_is_nan_exactly_where_a_finite_factor_is_not_at_rest(generator):
    group = SE(3) * S(3)
    motion = SE(3).sample(2, 1, generator=generator, dtype=torch.float64)
    orders = torch.tensor([[0, 1, 2], [1, 0, 2], [0, 1, 2]])
    log = group.log((motion, orders))
    assert log.shape == (2, 3, 6)
    assert log[:, 1].isnan().all()
    assert torch.equal(log[:, ::2], SE(3).log(motion).expand(2, 2, 6))


def test_a_product_without_a_size_has_no_exponential():
    with pytest.raises(GroupError, match=r"give their number, S\(n\)"):
        (SE(3) * S()).exp(torch.zeros(6))


def test_coordinates_of_a_product_are_those_of_its_factors_together():
    with pytest.raises(ShapeError, match=r"SE\(3\) x SO\(2\) has dimension 7: give \[\.\.\., 7\]"):
        (SE(3) * SO(2)).exp(torch.zeros(6))


def test_elements_of_a_finite_product_are_all_pairs_once_identity_first():
    group = D(3) * S(3)
    elements = group.elements()
    matrices = group.matrix(elements)
    assert len(matrices) == group.order == 36
    assert torch.equal(matrices[0], torch.eye(5, dtype=torch.float64))
    assert len(torch.unique((matrices * 1e6).round().flatten(1), dim=0)) == 36
    product = group.matrix(group.compose(tuple(x[:, None] for x in elements), elements)).flatten(0, 1)
    assert ((product[:, None] - matrices[None]).abs().amax((-2, -1)) < 1e-12).sum(1).eq(1).all()


def test_what_cannot_be_listed_is_named():
    with pytest.raises(GroupError, match=r"S\(5\) x SO\(3\) has no list of elements: SO\(3\) is not finite"):
        (S(5) * SO(3)).elements()
    with pytest.raises(GroupError, match=r"SE\(2\) is not finite"):
        _ = (SE(2) * C(4)).order
    with pytest.raises(GroupError, match="1625702400 elements, too many to list"):
        (S(8) * S(8)).elements()


def test_a_factor_that_is_neither_lie_nor_finite_is_named():
    class Adic(Group):
        name, compact = "Z_p", True
        identity = compose = inverse = sample = matrix = algebra = discrete_generators = None

    with pytest.raises(GroupError, match=r"SO\(2\) x Z_p has no exponential: Z_p is neither a Lie group nor finite"):
        Product(SO(2), Adic()).exp(torch.zeros(1))


def test_blocks_of_different_batches_and_types_are_joined():
    left, right = torch.ones(4, 1, 1, 1, dtype=torch.float64), 2 * torch.ones(3, 2, 2)
    joined = block_diagonal([left, right])
    assert joined.shape == (4, 3, 3, 3)
    assert joined.dtype == torch.float64
    assert torch.equal(joined[0, 0], torch.tensor([[1, 0, 0], [0, 2, 2], [0, 2, 2]], dtype=torch.float64))
