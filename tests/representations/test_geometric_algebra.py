from itertools import permutations, product

import numpy as np
import pytest
import torch

from torsor import groups
from torsor.errors import RepresentationError
from torsor.representations import LORENTZ, PROJECTIVE, GeometricAlgebra, Multivectors
from torsor.representations.geometric_algebra import (
    BLADES,
    GRADES,
    dual_table,
    equivariant_maps,
    inner_table,
    join_table,
    outermorphism,
    product_table,
    wedge_table,
)

ALGEBRAS = pytest.mark.parametrize("algebra", [PROJECTIVE, LORENTZ], ids=["projective", "lorentz"])


def versor(algebra: GeometricAlgebra, vectors: torch.Tensor) -> torch.Tensor:
    """The product of vectors `[..., m, 4]`."""
    u = torch.nn.functional.pad(vectors.new_ones(*vectors.shape[:-2], 1), (0, 15))
    for vector in vectors.unbind(-2):
        u = algebra.product(u, torch.nn.functional.pad(vector, (1, 11)))
    return u


def unit_vectors(algebra: GeometricAlgebra, count: int, generator: torch.Generator) -> torch.Tensor:
    """Vectors with square +-1, mild enough that products of them stay well conditioned."""
    metric = torch.tensor([{"0": 0.0, "+": 1.0, "-": -1.0}[sign] for sign in algebra.metric], dtype=torch.float64)
    vectors = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    if algebra is LORENTZ:
        vectors[:, 0] *= 0.2  # far from the light cone
    return vectors / (vectors.square() * metric).sum(-1).abs().sqrt()[:, None]


def test_components_are_the_sixteen_blades_by_grade():
    assert BLADES == ((), (0,), (1,), (2,), (3,), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (0, 1, 2), (0, 1, 3), (0, 2, 3),
                      (1, 2, 3), (0, 1, 2, 3))  # fmt: skip


@ALGEBRAS
def test_the_product_is_associative_on_all_blades(algebra):
    table = product_table(algebra.metric)
    left = np.einsum("mkl,kij->mijl", table, table)
    right = np.einsum("mik,kjl->mijl", table, table)
    assert np.array_equal(left, right)


@ALGEBRAS
def test_generators_anticommute_and_square_to_the_metric(algebra):
    table = product_table(algebra.metric)
    for a, b in product(range(1, 5), repeat=2):
        anticommutator = table[:, a, b] + table[:, b, a]
        expected = np.zeros(16)
        expected[0] = 2 * {"0": 0, "+": 1, "-": -1}[algebra.metric[a - 1]] * (a == b)
        assert np.array_equal(anticommutator, expected)


@ALGEBRAS
def test_the_table_is_that_of_bit_masks(algebra):
    masks = [sum(1 << g for g in blade) for blade in BLADES]
    squares = [{"0": 0, "+": 1, "-": -1}[sign] for sign in algebra.metric]
    expected = np.zeros((16, 16, 16))
    for i, j in product(range(16), repeat=2):
        a, b = masks[i], masks[j]
        swaps = sum((a >> shift & b).bit_count() for shift in range(1, 4))
        sign = (-1) ** swaps * np.prod([squares[g] for g in range(4) if a & b & 1 << g])
        expected[masks.index(a ^ b), i, j] = sign
    assert np.array_equal(product_table(algebra.metric), expected)


def test_numbers_of_entries():
    assert [np.count_nonzero(table) for table in (product_table("0+++"), wedge_table(), join_table())] == [192, 81, 81]
    assert np.count_nonzero(product_table("+---")) == 256


def test_dual_numbers_over_the_algebra_of_space_give_the_same_product():
    table, slots = product_table("0+++"), np.array(PROJECTIVE.slots)
    inner = table[np.ix_(slots[:8], slots[:8], slots[:8])]
    involution = np.array([(-1.0) ** GRADES[slot] for slot in slots[:8]])
    expected = np.zeros((16, 16, 16))
    expected[:8, :8, :8] = expected[8:, 8:, :8] = inner
    expected[8:, :8, 8:] = inner * involution[:, None]
    assert np.array_equal(table[np.ix_(slots, slots, slots)], expected)


def test_the_dual_completes_every_blade_to_the_pseudoscalar():
    assert np.array_equal(np.einsum("ij,ji->i", wedge_table()[15], dual_table()), np.ones(16))
    signs = [1, -1, 1, -1, 1, 1, -1, 1, 1, -1, 1, -1, 1, -1, 1, 1]
    assert np.array_equal(dual_table(), np.fliplr(np.eye(16) * signs))
    assert np.array_equal(dual_table() @ dual_table(), np.diag([(-1.0) ** grade for grade in GRADES]))


def test_signs_of_the_inner_products():
    assert np.flatnonzero(inner_table("0+++")).tolist() == [0, 2, 3, 4, 8, 9, 10, 14]
    assert inner_table("0+++").max() == 1
    assert inner_table("0+++").min() == 0
    assert inner_table("+---").tolist() == [1, 1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, -1, -1]


@ALGEBRAS
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_versor_acts_as_the_outermorphism_of_its_action_on_vectors(algebra, count, generator):
    u = versor(algebra, unit_vectors(algebra, count, generator))
    basis = torch.eye(16, dtype=torch.float64)
    matrix = algebra.sandwich(u.expand(16, 16), basis, odd=count % 2 == 1).mT
    torch.testing.assert_close(outermorphism(matrix[1:5, 1:5]), matrix, rtol=0, atol=1e-11)


@ALGEBRAS
def test_the_inner_product_is_invariant(algebra, generator):
    u = versor(algebra, unit_vectors(algebra, 5, generator))
    x, y = torch.randn(2, 20, 16, generator=generator, dtype=torch.float64)
    moved = algebra.inner(*(algebra.sandwich(u.expand(20, 16), z, odd=True) for z in (x, y)))
    torch.testing.assert_close(moved, algebra.inner(x, y), rtol=1e-11, atol=1e-11)


@ALGEBRAS
@pytest.mark.parametrize("reflections", [False, True])
def test_the_maps_are_all_that_commute_with_versors(algebra, reflections, generator):
    step = 1 if reflections else 2
    matrices = []
    for _ in range(4):
        u = versor(algebra, unit_vectors(algebra, step, generator))
        matrices.append(algebra.sandwich(u.expand(16, 16), torch.eye(16, dtype=torch.float64), odd=reflections).mT.contiguous())
    identity = torch.eye(16, dtype=torch.float64)
    equations = torch.cat([torch.kron(m, identity) - torch.kron(identity, m.T.contiguous()) for m in matrices])
    free = int((torch.linalg.svdvals(equations) < 1e-9).sum())
    maps = torch.tensor(equivariant_maps(algebra.metric, int(reflections)))
    assert (
        free == len(maps) == {("0+++", True): 9, ("0+++", False): 16, ("+---", True): 5, ("+---", False): 10}[algebra.metric, reflections]
    )
    assert torch.linalg.matrix_rank(maps.flatten(1)) == len(maps)
    for matrix in matrices:
        torch.testing.assert_close(maps @ matrix, matrix @ maps, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("name", "dimension"), [("E(3)", 9), ("SE(3)", 16), ("O(3)", 16), ("SO(3)", 32)])
def test_dimension_of_the_commutant(name, dimension, generator):
    group = groups.parse(name)
    matrices = Multivectors().on(group).matrix(group.sample(6, generator=generator, dtype=torch.float64))
    identity = torch.eye(16, dtype=torch.float64)
    equations = torch.cat([torch.kron(m, identity) - torch.kron(identity, m.T.contiguous()) for m in matrices])
    assert int((torch.linalg.svdvals(equations) < 1e-9).sum()) == dimension


@pytest.mark.parametrize("name", ["SO(3)", "O(3)", "SE(3)", "E(3)", "T(3)"])
def test_matrices_of_products_are_products_of_matrices(name, generator):
    group = groups.parse(name)
    rep = Multivectors().on(group)
    a, b = (group.sample(5, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(rep.matrix(group.compose(a, b)), rep.matrix(a) @ rep.matrix(b), rtol=1e-12, atol=1e-12)


def test_motions_are_automorphisms_of_the_product_and_joins_are_odd(generator):
    group = groups.E(3)
    rep = Multivectors().on(group)
    g = group.sample(8, generator=generator, dtype=torch.float64)
    x, y = torch.randn(2, 8, 16, generator=generator, dtype=torch.float64)
    moved = [rep.apply(group, g, z) for z in (x, y)]
    sign = torch.linalg.det(group.linear(g))[:, None]
    assert set(sign.round().flatten().tolist()) == {1.0, -1.0}
    for function, factor in ((PROJECTIVE.product, 1), (PROJECTIVE.wedge, 1), (PROJECTIVE.join, sign)):
        expected = factor * rep.apply(group, g, function(x, y))
        torch.testing.assert_close(function(*moved), expected, rtol=1e-13, atol=1e-13 * float(expected.abs().max()))


def test_joins_without_a_motion_of_the_plane_at_infinity_are_exactly_odd(generator):
    # signed permutations of the axes: no rounding at all
    x, y = torch.randint(-9, 9, (2, 1, 16), generator=generator).double()
    group = groups.O(3)
    for axes in permutations(range(3)):
        g = torch.eye(3, dtype=torch.float64)[list(axes)]
        rep = Multivectors().on(group)
        moved = PROJECTIVE.join(rep.apply(group, g, x), rep.apply(group, g, y))
        assert torch.equal(moved, torch.linalg.det(g).round() * rep.apply(group, g, PROJECTIVE.join(x, y)))


@ALGEBRAS
def test_slots_come_back(algebra, generator):
    x = torch.randn(2, 3, 4, 16, generator=generator)
    assert torch.equal(algebra.from_slots(algebra.to_slots(x)), x)
    assert sorted(algebra.slots) == list(range(16))


def test_bad_metrics_and_groups_are_refused():
    with pytest.raises(RepresentationError, match=r"metric is '\+0--'"):
        GeometricAlgebra("+0--")
    with pytest.raises(RepresentationError, match=r"cannot act under SE\(2\)"):
        Multivectors().on(groups.SE(2))
