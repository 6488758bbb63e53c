"""Direct products: tuples of elements, flattened factors, block diagonal matrices."""

import pytest
import torch

from torsor.errors import GroupError, ShapeError
from torsor.groups import SE, SO, C, E, Product, S, T


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
