import pytest
import torch

from torsor import groups
from torsor.errors import RepresentationError, ShapeError
from torsor.groups import Group
from torsor.representations import BinaryForms, Defining, Irreps, Matrix, Points, Regular, Representation, Shifted, Trivial, Vectors

HOMOMORPHISMS = [
    (groups.SO(3), Vectors()),
    (groups.SE(2), Vectors()),
    (groups.E(3), Defining()),
    (groups.T(2), Defining()),
    (groups.D(5), Vectors()),
    (groups.C(4), Regular()),
    (groups.D(3), Regular()),
    (groups.S(4), Regular()),
    (groups.S(5), Defining()),
    (groups.GL(3), Vectors().dual()),
    (groups.SL2(), BinaryForms(5)),
    (groups.SL2(), Vectors() @ BinaryForms(2)),
    (groups.O(3), Irreps("2x1e+0o") + 2 * Vectors() + Trivial(3)),
    (groups.S(3) * groups.SO(2), Trivial(2)),
    (groups.SL2(), Matrix(lambda g: torch.linalg.inv(g).mT, 2)),
]


@pytest.mark.parametrize(("group", "rep"), HOMOMORPHISMS, ids=lambda value: str(value))
def test_matrices_of_products_are_products_of_matrices(group: Group, rep: Representation, generator):
    rep = rep.on(group)
    a, b = (group.sample(3, generator=generator, dtype=torch.float64) for _ in range(2))
    product = rep.matrix(a) @ rep.matrix(b)
    assert product.shape == (3, rep.dim, rep.dim)
    assert (rep.matrix(group.compose(a, b)) - product).abs().max() < 1e-12 * product.abs().max()
    one = rep.matrix(group.identity(dtype=torch.float64)).double()
    assert (one - torch.eye(rep.dim)).abs().max() < 1e-15


def test_vectors_know_the_dimension_of_their_space():
    assert [Vectors().on(g).dim for g in (groups.SE(2), groups.SO(3), groups.C(7), groups.SL2(), groups.T(1))] == [2, 3, 2, 2, 1]
    assert Defining().on(groups.SE(2)).dim == 3
    assert Regular().on(groups.D(4)).dim == 8


def test_points_are_translated_and_vectors_are_not(generator):
    group = groups.SE(3)
    g = group.sample(2, generator=generator, dtype=torch.float64)
    x, y = torch.randn(2, 2, 5, 3, generator=generator, dtype=torch.float64)
    moved = Points().apply(group, g, x)
    assert torch.allclose(moved - Points().apply(group, g, y), Vectors().apply(group, g, x - y), atol=1e-14)
    assert torch.allclose(Points().apply(group, g, torch.zeros_like(x)), group.shift(g)[:, None].expand(2, 5, 3), atol=0)


def test_shifted_adds_one_time_to_each_item_of_the_batch():
    x = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(Shifted().apply(groups.T(1), torch.tensor([[1.0], [-2.0]]), x), x + torch.tensor([[1.0], [-2.0]]))
    assert torch.equal(Shifted().apply(groups.T(1), torch.tensor([5.0]), x), x + 5)
    with pytest.raises(ShapeError, match=r"T\(1\)"):
        Shifted().apply(groups.T(2), torch.ones(2, 2), x)


def test_trivial_leaves_tensors_of_any_shape_and_kind_alone():
    x = torch.tensor([[True, False]])
    assert Trivial().apply(groups.SO(3), torch.eye(3), x) is x


def test_left_multiplication_moves_the_regular_representation(generator):
    group = groups.D(3)
    elements = group.elements()
    g = group.sample(generator=generator)
    place = int(Regular().on(group).matrix(g)[:, 2].argmax())
    assert torch.equal(elements[place], group.compose(g, elements[2]))


def test_actions_are_values():
    assert Vectors() == Vectors().on(groups.SO(3))
    assert hash(Vectors()) == hash(Vectors().on(groups.SO(3)))
    assert Trivial(2) != Trivial(3)
    assert Points() != Vectors()
    assert BinaryForms(2) @ Trivial(2) == BinaryForms(2) @ Trivial(2)
    assert 2 * Vectors() == Vectors() + Vectors()
    assert (Vectors() + Trivial(2) + Irreps("2x1e")).parts() == ((1, Vectors()), (2, Trivial()), (2, Irreps("1e")))
    assert Vectors().dual().dual() == Vectors()


def test_binding_does_not_change_the_original():
    vectors = Vectors()
    vectors.on(groups.SO(3))
    assert vectors.group is None
    with pytest.raises(RepresentationError, match=r"Vectors\(\)\.on\(group\)"):
        _ = vectors.dim


@pytest.mark.parametrize(
    ("rep", "group"), [(Vectors(), groups.S(3)), (Regular(), groups.SO(2)), (BinaryForms(2), groups.SO(3)), (Irreps("1o"), groups.SL2())]
)
def test_groups_that_have_no_such_representation_are_refused(rep, group):
    with pytest.raises(RepresentationError, match=r"give one of|use one of|give a finite group"):
        rep.on(group)
    with pytest.raises(RepresentationError):
        (2 * rep).on(group)


def test_wrong_arguments_are_refused():
    with pytest.raises(RepresentationError, match="-1"):
        Trivial(-1)
    with pytest.raises(RepresentationError, match="-2"):
        BinaryForms(-2)
    with pytest.raises(ShapeError, match=r"\[\*batch, 3, 3\]"):
        Matrix(lambda g: g, 3).on(groups.SL2()).matrix(torch.eye(2))
    with pytest.raises(RepresentationError):
        _ = 0 * Vectors()
    with pytest.raises(RepresentationError, match="does not act"):
        Points().apply(groups.S(3), torch.arange(3), torch.ones(3, 3))
