import pytest
import torch

from torsor import groups
from torsor.errors import ShapeError
from torsor.representations import Defining, Pairs, Permuted


def test_item_i_goes_to_place_p_i():
    p = torch.tensor([2, 0, 1])
    moved = Permuted(0).apply(groups.S(3), p, torch.tensor([10, 11, 12]))
    assert moved.tolist() == [11, 12, 10]


@pytest.mark.parametrize("batch", [(), (4,), (4, 2)])
def test_permuting_an_axis_is_multiplying_by_the_permutation_matrix(batch, generator):
    group = groups.S(5)
    p = group.sample(*batch, generator=generator)
    x = torch.randn(4, 2, 5, 3, generator=generator, dtype=torch.float64)
    spread = group.matrix(p).reshape(*batch, *(1,) * (2 - len(batch)), 5, 5)
    assert torch.equal(Permuted(2).apply(group, p, x), spread @ x)
    assert torch.equal(Permuted(-2).apply(group, p, x), spread @ x)


def test_pairs_move_both_axes_and_agree_with_the_tensor_product(generator):
    group = groups.S(4)
    p = group.sample(3, generator=generator)
    x = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    moved = Pairs(1, 2).apply(group, p, x)
    assert all(moved[b, p[b, i], p[b, j]] == x[b, i, j] for b in range(3) for i in range(4) for j in range(4))
    assert torch.equal(moved.flatten(1), (Defining() @ Defining()).apply(group, p, x.flatten(1)))
    assert Pairs(1, 2).axes == (1, 2)


def test_masks_and_integers_are_permuted_too():
    mask = torch.tensor([[True, True, False]])
    assert Permuted(1).apply(groups.S(3), torch.tensor([[2, 1, 0]]), mask).tolist() == [[False, True, True]]


def test_actions_of_products_compose(generator):
    group = groups.S(6)
    a, b = group.sample(2, 2, generator=generator)
    x = torch.randn(2, 6, 6, generator=generator)
    for action in (Permuted(1), Pairs(1, 2)):
        assert torch.equal(action.apply(group, a, action.apply(group, b, x)), action.apply(group, group.compose(a, b), x))


@pytest.mark.parametrize(("axis", "shape"), [(1, (2, 4)), (0, (3, 3)), (2, (2, 3)), (-3, (2, 3))])
def test_axes_that_do_not_fit_are_refused(axis, shape):
    with pytest.raises(ShapeError, match="must come after"):
        Permuted(axis).apply(groups.S(3), torch.tensor([[0, 1, 2], [0, 1, 2]]), torch.ones(shape))
