import pytest
import torch

from torsor import groups
from torsor.errors import RepresentationError
from torsor.groups import Group
from torsor.representations import (
    BinaryForms,
    Commuting,
    Defining,
    Irreps,
    Matrix,
    Regular,
    Representation,
    Trivial,
    Vectors,
    coupling,
    equivariant_basis,
)
from torsor.representations import basis as basis_module
from torsor.representations.basis import is_permuted, part_basis

N = Defining()
COUNTS = [
    # Schur: one map between equal irreps, none between others; parity tells vectors from pseudovectors
    (groups.SO(3), Irreps("1o"), Irreps("1e"), 1),
    (groups.O(3), Irreps("1o"), Irreps("1e"), 0),
    (groups.O(3), Irreps("1o"), Irreps("1o"), 1),
    (groups.SO(3), Irreps("2x1o+3x2e+0e"), Irreps("4x1o+2e+2x3o"), 11),
    (groups.SO(3), Irreps("4e"), Irreps("4e"), 1),
    (groups.SE(3), Irreps("1o+0e"), Irreps("2x1o"), 2),
    # Clebsch-Gordan
    (groups.SO(3), Irreps("2e") @ Irreps("1o"), Irreps("1o+2o+3o+4o"), 3),
    (groups.O(3), Irreps("1o") @ Irreps("1o"), Irreps("1o+1e+0e+2e"), 3),
    (groups.SL2(), BinaryForms(3) @ BinaryForms(2), BinaryForms(1) + BinaryForms(3) + BinaryForms(5), 3),
    (groups.SL2(), BinaryForms(3) @ BinaryForms(2), BinaryForms(2), 0),
    (groups.SL2(), BinaryForms(4) @ BinaryForms(4), Trivial(), 1),
    (groups.SL2(), BinaryForms(1), Vectors(), 1),
    # SO(2): complex numbers; O(2): real numbers
    (groups.SO(2), Vectors(), Vectors(), 2),
    (groups.O(2), Vectors(), Vectors(), 1),
    # permutations: partitions of the axes
    (groups.S(4), N, N, 2),
    (groups.S(4), N @ N, N @ N, 15),
    (groups.S(3), N @ N, N @ N, 14),
    (groups.S(4), N @ N, Trivial(), 2),
    (groups.S(1), N, N, 1),
    # finite groups: as many as the order has elements
    (groups.C(4), Regular(), Regular(), 4),
    (groups.D(3), Regular(), Regular(), 6),
    (groups.C(4), Vectors(), Vectors(), 2),
    (groups.D(4), Vectors(), Vectors(), 1),
    (groups.D(4), Vectors() @ Vectors(), Trivial(), 1),
    (groups.D(2), Vectors() @ Vectors(), Trivial(), 2),
    (groups.C(1), Vectors(), Vectors(), 4),
    # homogeneous coordinates: only multiples of one keep the points and the vectors
    (groups.SE(3), Defining(), Defining(), 1),
    (groups.SE(3), Defining(), Trivial(), 1),
    (groups.SE(3), Trivial(), Defining(), 0),
    (groups.SE(3), Vectors(), Defining(), 1),
    (groups.GL(3), Vectors(), Vectors().dual(), 0),
    (groups.GL(2), Vectors() @ Vectors().dual(), Trivial(), 1),
    (groups.SO(3) * groups.S(3), Trivial(2), Trivial(3), 6),
]


@pytest.mark.parametrize(("group", "rep_in", "rep_out", "count"), COUNTS, ids=lambda value: str(value))
def test_basis_has_as_many_maps_as_theory_says_and_all_are_equivariant(
    group: Group, rep_in: Representation, rep_out: Representation, count: int, generator: torch.Generator
):
    basis = equivariant_basis(rep_in, rep_out, group)
    assert basis.shape == (count, rep_out.on(group).dim, rep_in.on(group).dim)
    g = group.sample(5, generator=generator, dtype=torch.float64)
    out, into = rep_out.on(group).matrix(g).double().unsqueeze(1), rep_in.on(group).matrix(g).double().unsqueeze(1)
    size = out.abs().amax() * into.abs().amax()
    assert (out @ basis - basis @ into).abs().sum() <= 1e-13 * size * basis.numel()
    gram = torch.einsum("koi,loi->kl", basis, basis)
    assert (gram - torch.eye(count)).abs().sum() <= 1e-13 * count**2


def test_a_product_group_acts_through_both_factors(generator):
    group = groups.SO(2) * groups.S(3)
    rep = Matrix(
        lambda g: torch.einsum("...ij,...kl->...ikjl", g[0], groups.S(3).matrix(g[1]).to(g[0].dtype)).flatten(-4, -3).flatten(-2), 6
    )
    basis = equivariant_basis(rep, rep, group)
    assert len(basis) == 2 * 2
    g = group.sample(4, generator=generator, dtype=torch.float64)
    matrix = rep.matrix(g).unsqueeze(1)
    assert (matrix @ basis - basis @ matrix).abs().max() < 1e-12


def test_solving_part_by_part_finds_what_solving_at_once_finds():
    group = groups.SO(3)
    rep = (Vectors() + Trivial(2) + Irreps("2x1o+2e")).on(group)
    at_once, by_parts = part_basis(rep, rep, group), equivariant_basis(rep, rep)
    assert len(at_once) == len(by_parts) == 9 + 4 + 1
    coefficients = torch.einsum("koi,loi->kl", at_once, by_parts)
    assert (coefficients @ coefficients.T - torch.eye(14)).abs().max() < 1e-12


@pytest.mark.parametrize(("l", "k", "j"), [(1, 1, 1), (2, 1, 3), (2, 2, 4), (3, 2, 1)])
def test_clebsch_gordan_tables_lie_in_the_span_of_the_basis(l, k, j):
    product = Irreps([(1, (l, 1))]) @ Irreps([(1, (k, 1))])
    basis = equivariant_basis(product, Irreps([(1, (j, 1))]), groups.SO(3))
    table = coupling(l, k, j).permute(2, 0, 1).flatten(1)
    assert len(basis) == 1
    assert (torch.einsum("koi,oi->k", basis, table).abs() - 1).abs() < 1e-12


def test_basis_of_permutation_representations_consists_of_indicators_of_orbits():
    basis = equivariant_basis(N, N, groups.S(3))
    off = 1 - torch.eye(3, dtype=torch.float64)
    expected = torch.stack([torch.eye(3, dtype=torch.float64) / 3**0.5, off / 6**0.5])
    torch.testing.assert_close(basis, expected, rtol=0, atol=1e-13)


def test_basis_does_not_depend_on_how_the_null_space_was_found(monkeypatch, generator):
    expected = equivariant_basis(N @ N, N @ N, groups.S(4))
    svd, q = torch.linalg.svd, torch.linalg.qr(torch.randn(15, 15, generator=generator, dtype=torch.float64)).Q

    def turned(a, full_matrices):
        u, s, v = svd(a, full_matrices=full_matrices)
        v[-15:] = q @ v[-15:]
        return u, s, v

    monkeypatch.setattr(torch.linalg, "svd", turned)
    torch.testing.assert_close(equivariant_basis(N @ N, N @ N, groups.S(4)), expected, rtol=0, atol=1e-12)


def test_group_must_be_one():
    with pytest.raises(RepresentationError, match="no group"):
        equivariant_basis(Vectors(), Vectors())
    with pytest.raises(RepresentationError, match=r"SO\(2\) and SO\(3\)"):
        equivariant_basis(Vectors().on(groups.SO(2)), Vectors().on(groups.SO(3)))


def test_problems_that_are_too_large_are_refused():
    with pytest.raises(RepresentationError, match="4096"):
        equivariant_basis(Defining() @ Defining(), Defining() @ Defining(), groups.S(9))


PERMUTED = [
    (groups.S(4), N @ N, N),
    (groups.S(3), N @ N, N @ N),
    (groups.C(4), Regular(), Trivial()),
    (groups.D(3), Regular(), Regular()),
    (groups.C(1), Regular(), Trivial(2)),
    (groups.C(3) * groups.S(2), Commuting(Regular() @ Trivial(2), Trivial(3) @ N), Commuting(Regular() @ Trivial(2), Trivial(3) @ N)),
]


@pytest.mark.parametrize(("group", "rep_in", "rep_out"), PERMUTED, ids=lambda value: str(value))
def test_maps_between_permuted_numbers_span_what_solving_finds(
    group: Group, rep_in: Representation, rep_out: Representation, monkeypatch: pytest.MonkeyPatch
):
    bound = rep_in.on(group), rep_out.on(group)
    assert all(is_permuted(rep, group) for rep in bound)
    by_orbits = part_basis(*bound, group).flatten(1)
    assert all(len(row.unique()) <= 2 for row in by_orbits)
    monkeypatch.setattr(basis_module, "is_permuted", lambda rep, group: False)
    solved = part_basis.__wrapped__(*bound, group).flatten(1)
    torch.testing.assert_close(by_orbits.T @ by_orbits, solved.T @ solved, rtol=0, atol=1e-12)


def test_what_is_not_permuted_is_seen() -> None:
    for group, rep in (
        (groups.C(4), Vectors()),  # signs
        (groups.O(3), Trivial()),  # a continuous part
        (groups.O(1), Vectors()),
        (groups.C(3), Regular() + Vectors()),
    ):
        assert not is_permuted(rep.on(group), group)
    assert is_permuted((Regular() + Trivial(2)).on(groups.C(3)), groups.C(3))
