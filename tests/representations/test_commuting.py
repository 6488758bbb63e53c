"""Representations of products on one axis: shifts of a flattened picture."""

import pytest
import torch

from torsor.errors import RepresentationError
from torsor.groups import SO, C, S
from torsor.representations import Commuting, Defining, Regular, Trivial, Vectors, equivariant_basis
from torsor.representations.commuting import for_each_factor
from torsor.symmetry import Symmetry

GRID = C(3) * C(4)
SHIFTED = Commuting(Regular() @ Trivial(4), Trivial(3) @ Regular())


def test_shifts_of_rows_and_columns_are_those_of_the_picture(generator) -> None:
    rep = SHIFTED.on(GRID)
    image = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    for down, right in ((1, 0), (0, 1), (2, 3)):
        g = (torch.tensor([down, 0]), torch.tensor([right, 0]))
        assert torch.equal((rep.matrix(g) @ image.flatten()).view(3, 4), image.roll((down, right), (0, 1)))
        assert torch.equal(rep.apply(GRID, g, image.flatten()).view(3, 4), image.roll((down, right), (0, 1)))


def test_matrices_multiply_as_the_elements_do(generator) -> None:
    rep = SHIFTED.on(GRID)
    a, b = GRID.sample(5, generator=generator), GRID.sample(5, generator=generator)
    assert torch.equal(rep.matrix(GRID.compose(a, b)), rep.matrix(a) @ rep.matrix(b))


def test_maps_that_commute_with_all_shifts_are_the_convolutions() -> None:
    """As many as there are shifts, and each is a circulant matrix of circulant blocks."""
    rep = SHIFTED.on(GRID)
    basis = equivariant_basis(rep, rep)
    assert len(basis) == 12
    kernel = basis[:, :, 0].view(12, 3, 4)
    expected = torch.stack([kernel.roll((i, j), (1, 2)).flatten(1) for i in range(3) for j in range(4)], -1)
    torch.testing.assert_close(basis, expected, rtol=0, atol=1e-12)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RepresentationError, match="has 2 parts but C\\(3\\) has 1 factors"):
        SHIFTED.on(C(3))
    with pytest.raises(RepresentationError, match=r"dimensions \[3, 4\]: they share one axis"):
        Commuting(Vectors(), Defining()).on(SO(3) * S(4))


def test_a_single_factor_is_its_own_representation() -> None:
    rep = Commuting(Vectors()).on(SO(3))
    g = SO(3).sample(2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(rep.matrix(g), g)


def test_sums_say_what_each_factor_does(generator) -> None:
    rep = (2 * SHIFTED + Trivial(3)).on(GRID)
    rows, columns = for_each_factor(rep, GRID)
    x, g = torch.randn(6, rep.dim, generator=generator, dtype=torch.float64), GRID.sample(6, generator=generator)
    expected = rep.apply(GRID, g, x)
    assert torch.equal(columns.apply(C(4), g[1], rows.apply(C(3), g[0], x)), expected)
    assert torch.equal(Symmetry(GRID, {"x": (rows, columns)}, (rows, columns)).transform_output(g, x), expected)
    assert not torch.equal(expected, x)


def test_a_group_that_is_no_product_has_one_action() -> None:
    rep = for_each_factor(2 * Vectors(), SO(3))
    assert rep == (2 * Vectors()).on(SO(3))
    assert rep.group == SO(3)


def test_what_does_not_say_what_each_factor_does_is_refused() -> None:
    with pytest.raises(RepresentationError, match=r"does not say what each factor of C\(3\) x C\(4\) does: give Commuting"):
        for_each_factor(SHIFTED @ Trivial(2), GRID)
