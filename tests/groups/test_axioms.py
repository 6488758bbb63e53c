"""What holds for every group: the axioms, the matrices, the strings, the probes, and acting on space."""

import pytest
import torch

from torsor import groups
from torsor.errors import GroupError, ShapeError
from torsor.groups import (
    GL,
    SE,
    SL2,
    SO,
    TC,
    ActsOnSpace,
    C,
    D,
    E,
    FiniteGroup,
    Group,
    LieGroup,
    Lorentz,
    O,
    RestrictedLorentz,
    S,
    Scale,
    ScaleRotation,
    ScaleSqueeze,
    Squeeze,
    T,
    Trivial,
    Tx,
    Ty,
)
from torsor.groups.base import check_size

LIE = (T(1), T(3), SO(1), SO(2), SO(3), SO(4), O(1), O(2), O(3), O(5), SE(1), SE(2), SE(3), SE(4), E(1), E(2), E(3), SL2(), GL(1), GL(3))
LIE += (Lorentz(), RestrictedLorentz())
LIE += (Trivial(3), Scale(1), Scale(3), Squeeze(), ScaleSqueeze(), ScaleRotation(), Tx(), Ty())
FINITE = (S(1), S(2), S(5), C(1), C(4), C(5), D(1), D(2), D(5))
PRODUCTS = (SE(3) * S(5), C(4) * S(3) * E(2), T(1) * S(2), SO(2) * SO(2))
EVERY = (*LIE, *FINITE, TC(1), TC(4), TC(5), *PRODUCTS)
SPATIAL = tuple(group for group in EVERY if isinstance(group, ActsOnSpace))

every = pytest.mark.parametrize("group", EVERY, ids=str)
spatial = pytest.mark.parametrize("group", SPATIAL, ids=str)


def draw(group: Group, generator: torch.Generator, *batch: int) -> groups.Element:
    return group.sample(*batch, generator=generator, dtype=torch.float64)


def close(a: torch.Tensor, b: torch.Tensor, bound: float = 1e-12) -> bool:
    return bool(((a - b).abs() <= bound).all())


@every
def test_the_product_is_associative(group, generator):
    a, b, c = (draw(group, generator, 4) for _ in range(3))
    left, right = group.compose(group.compose(a, b), c), group.compose(a, group.compose(b, c))
    assert close(group.distance(left, right), torch.zeros(4))


@every
def test_the_matrix_of_a_product_is_the_product_of_the_matrices(group, generator):
    a, b = draw(group, generator, 4), draw(group, generator, 4)
    assert close(group.matrix(group.compose(a, b)), group.matrix(a) @ group.matrix(b))


@every
def test_identity_and_inverse(group, generator):
    a = draw(group, generator, 4)
    one = group.identity(4, dtype=torch.float64)
    eye = torch.eye(group.matrix(one).shape[-1], dtype=torch.float64)
    assert close(group.matrix(one), eye.expand(4, -1, -1))
    assert close(group.matrix(group.compose(one, a)), group.matrix(a))
    assert close(group.matrix(group.compose(a, group.inverse(a))), eye)
    assert close(group.matrix(group.compose(group.inverse(a), a)), eye)


@every
def test_the_distance_is_left_invariant_and_vanishes_only_on_the_diagonal(group, generator):
    a, b, u = (draw(group, generator, 8) for _ in range(3))
    there, moved = group.distance(a, b), group.distance(group.compose(u, a), group.compose(u, b))
    assert close(there, moved, 1e-10)
    assert close(group.distance(a, a), torch.zeros(8), 1e-13)
    different = (group.matrix(a) - group.matrix(b)).abs().flatten(1).amax(-1) > 1e-6
    assert bool((there[different] > 1e-6).all())


@every
def test_a_group_without_batch_axes_works(group, generator):
    a = draw(group, generator)
    matrix = group.matrix(group.compose(group.inverse(a), group.compose(a, group.identity(dtype=torch.float64))))
    assert matrix.ndim == 2
    assert close(matrix, torch.eye(len(matrix), dtype=torch.float64))


@every
def test_composing_broadcasts_the_batch_axes(group, generator):
    a, b = draw(group, generator, 3, 1), draw(group, generator, 2)
    product = group.matrix(group.compose(a, b))
    assert product.shape[:2] == (3, 2)
    assert close(product, group.matrix(a) @ group.matrix(b))


@every
def test_a_seed_gives_the_same_elements_in_every_dtype(group):
    double, single = (
        group.matrix(group.sample(6, generator=torch.Generator().manual_seed(3), dtype=d)) for d in (torch.float64, torch.float32)
    )
    assert close(double.float(), single.float(), 1e-5)


@every
def test_probes_are_elements_of_the_group(group, generator):
    probes = group.probes(3, generator, torch.float64)
    assert list(probes)[:2] == ["identity", "generic"]
    for elements in probes.values():
        matrix = group.matrix(elements)
        assert matrix.shape[0] == 3
        eye = torch.eye(matrix.shape[-1], dtype=torch.float64).expand_as(matrix)
        assert close(group.matrix(group.compose(elements, group.inverse(elements))), eye, 1e-10)
    assert close(group.matrix(probes["identity"]), group.matrix(group.identity(3, dtype=torch.float64)))


@every
def test_the_string_parses_back(group):
    again = groups.parse(str(group))
    assert again == group
    assert hash(again) == hash(group)
    assert type(again) is type(group)


@pytest.mark.parametrize("group", LIE, ids=str)
def test_the_generators_are_tangent_to_the_one_parameter_subgroups(group):
    algebra = group.algebra()
    assert algebra.shape[0] == group.dim
    for direction, basis in zip(torch.eye(group.dim, dtype=torch.float64), algebra, strict=True):
        element = group.matrix(group.exp(0.3 * direction))
        assert close(element, torch.linalg.matrix_exp(0.3 * basis), 1e-13)


@pytest.mark.parametrize("group", FINITE, ids=str)
def test_the_elements_of_a_finite_group_are_listed_once_and_closed(group):
    matrices = group.matrix(group.elements())
    assert len(matrices) == group.order
    assert close(matrices[0], torch.eye(matrices.shape[-1], dtype=torch.float64))
    products = (matrices[:, None] @ matrices[None]).flatten(0, 1).flatten(1)
    gaps = torch.cdist(products, matrices.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert bool(((gaps < 1e-12).sum(-1) == 1).all())


@pytest.mark.parametrize("group", [*FINITE, C(3) * S(3)], ids=str)
def test_the_discrete_generators_reach_every_element(group):
    generators = group.matrix(group.discrete_generators())
    frontier, reached = [torch.eye(generators.shape[-1], dtype=torch.float64)], {}
    while frontier:
        matrix = frontier.pop()
        key = tuple(matrix.mul(1e6).round().long().flatten().tolist())
        if key not in reached:
            reached[key] = matrix
            frontier.extend(generators @ matrix)
    order = group.order if isinstance(group, FiniteGroup) else 18
    assert len(reached) == order


@pytest.mark.parametrize("group", [O(1), O(2), O(3), O(4), E(2), E(3), GL(2), GL(3)], ids=str)
def test_the_discrete_generator_leaves_the_identity_component(group):
    assert torch.linalg.det(group.matrix(group.discrete_generators()))[0] < 0


@pytest.mark.parametrize("group", [T(2), SO(2), SO(3), SE(2), SE(3), SL2(), RestrictedLorentz(), SE(3) * T(1)], ids=str)
def test_connected_groups_need_no_discrete_generator(group):
    assert group.discrete_generators() is None


@pytest.mark.parametrize("group", [*FINITE, S(3) * C(2)], ids=str)
def test_finite_groups_have_an_empty_algebra(group):
    assert group.algebra().shape[0] == 0


@spatial
def test_acting_twice_is_acting_with_the_product(group, generator):
    a, b = draw(group, generator, 3), draw(group, generator, 3)
    points = torch.randn(3, 5, 2, group.space_dim, generator=generator, dtype=torch.float64)
    assert close(group.act(group.compose(a, b), points), group.act(a, group.act(b, points)))
    assert close(group.act(group.inverse(a), group.act(a, points)), points, 1e-10)


@spatial
def test_each_cloud_of_a_batch_moves_by_its_own_element(group, generator):
    a = draw(group, generator, 3)
    points = torch.randn(3, 4, group.space_dim, generator=generator, dtype=torch.float64)
    linear, shift = group.linear(a), group.shift(a)
    expected = torch.stack([points[i] @ linear[i].T + shift[i] for i in range(3)])
    assert close(group.act(a, points), expected)
    assert close(group.act(a, points[:, 0]), expected[:, 0])
    assert group.act(a, points.float()).dtype == torch.float32
    assert group.act(a, points[:, :0]).shape == (3, 0, group.space_dim)


@spatial
def test_points_of_the_wrong_dimension_are_named(group):
    n = group.space_dim
    with pytest.raises(ShapeError, match=rf"points are \[7, {n + 1}\] but .* give \[\.\.\., {n}\]"):
        group.act(group.identity(), torch.zeros(7, n + 1))


@pytest.mark.parametrize("group", [g for g in SPATIAL if not isinstance(g, SL2 | GL)], ids=str)
def test_orbits_are_invariant(group, generator):
    points = torch.randn(40, group.space_dim, generator=generator, dtype=torch.float64)
    moved = group.act(draw(group, generator, 40), points)
    assert group.orbit(points).shape[0] == 40
    assert close(group.orbit(moved), group.orbit(points), 1e-12)


@pytest.mark.parametrize("family", [T, SO, O, SE, E, S, C, D, GL])
@pytest.mark.parametrize("n", [0, -1, True])
def test_a_family_refuses_what_is_no_size(family, n):
    with pytest.raises(GroupError, match="whole number"):
        family(n)


@pytest.mark.parametrize("n", [2.0, "3", None])
def test_a_size_is_a_whole_number(n):
    with pytest.raises(GroupError, match=r"SO\(n\) needs a whole number n >= 1, not"):
        check_size("SO", n)


@pytest.mark.parametrize("group", [g for g in LIE if isinstance(g, LieGroup)], ids=str)
def test_coordinates_of_the_wrong_length_are_named(group):
    with pytest.raises(ShapeError, match=rf"dimension {group.dim}: give \[\.\.\., {group.dim}\]"):
        group.exp(torch.zeros(2, group.dim + 1))


def test_groups_without_a_lift_say_which_have_one():
    with pytest.raises(GroupError, match="SL2 has no lift"):
        SL2().lift(torch.zeros(3, 2))


@spatial
def test_vmap_over_elements_is_a_batch_of_elements(group, generator):
    a = draw(group, generator, 3)
    points = torch.randn(3, 4, group.space_dim, generator=generator, dtype=torch.float64)
    assert close(torch.func.vmap(group.act)(a, points), group.act(a, points))
    assert close(torch.func.vmap(group.orbit)(points), group.orbit(points))


@pytest.mark.compile
@pytest.mark.parametrize(
    "group", [T(3), SO(2), SO(3), O(3), SE(2), SE(3), E(3), C(4), D(5), SL2(), GL(3), S(5), Lorentz(), SE(3) * S(5)], ids=str
)
def test_the_operations_compile_into_one_graph(group, generator):
    a, b = draw(group, generator, 3), draw(group, generator, 3)
    points = torch.randn(3, 4, getattr(group, "space_dim", 1), generator=generator, dtype=torch.float64)

    def operations(a, b, points):
        product = group.compose(group.inverse(a), b)
        moved = (group.act(product, points), group.orbit(points)) if isinstance(group, ActsOnSpace) else ()
        return group.matrix(product), group.distance(a, b), *moved

    torch.compiler.reset()
    compiled = torch.compile(operations, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(compiled(a, b, points), operations(a, b, points), strict=True):
        assert close(ours, eager)
