"""Permutations: what they do to an axis, their law, and masks."""

import pytest
import scipy.stats
import torch

from torsor.errors import GroupError, ShapeError
from torsor.groups import SE, S


def move(p: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    moved = torch.empty_like(x)
    for i, place in enumerate(p.tolist()):
        moved[place] = x[i]
    return moved


def test_item_i_goes_to_place_p_of_i(generator):
    a, b = S(6).sample(2, generator=generator)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    assert torch.equal(S(6).matrix(a) @ x, move(a, x))
    assert torch.equal(move(S(6).compose(a, b), x), move(a, move(b, x)))
    assert torch.equal(move(S(6).inverse(a), move(a, x)), x)


@pytest.mark.parametrize("n", [3, 4])
def test_every_permutation_is_drawn_equally_often(n, generator):
    drawn = S(n).sample(6000, generator=generator)
    elements = S(n).elements()
    counts = (drawn[:, None] == elements[None]).all(-1).sum(0)
    assert counts.sum() == 6000
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_masked_places_stay_and_the_others_are_drawn_equally_often(generator):
    mask = torch.tensor([True, False, True, False, True]).expand(6000, 5)
    drawn = S(5).sample(6000, generator=generator, mask=mask)
    assert (drawn[:, 1] == 1).all()
    assert (drawn[:, 3] == 3).all()
    assert torch.equal(drawn.sort(-1).values, torch.arange(5).expand(6000, 5))
    _, counts = drawn.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_each_row_has_its_own_mask(generator):
    mask = torch.rand(3, 40, 7, generator=generator) < 0.6
    drawn = S(7).sample(3, 40, generator=generator, mask=mask)
    places = torch.arange(7).expand_as(drawn)
    assert torch.equal(drawn[~mask], places[~mask])
    assert torch.equal(drawn.sort(-1).values, places)
    assert (drawn != places)[mask].any()


@pytest.mark.parametrize("flag", [True, False])
def test_a_full_mask_changes_nothing_and_an_empty_one_everything(flag, generator):
    drawn = S(9).sample(5, generator=generator, mask=torch.full((5, 9), flag))
    unmasked = S(9).sample(5, generator=torch.Generator().manual_seed(generator.initial_seed()))
    assert torch.equal(drawn, unmasked if flag else S(9).identity(5))


def test_a_mask_of_the_wrong_shape_is_named():
    with pytest.raises(ShapeError, match=r"mask is \[2, 4\] but the permutations are \[2, 5\]"):
        S(5).sample(2, mask=torch.ones(2, 4, dtype=torch.bool))


def test_a_transposition_exchanges_two_items(generator):
    p = S(6).probes(50, generator)["transposition"]
    assert ((p != torch.arange(6)).sum(-1) == 2).all()
    assert torch.equal(S(6).compose(p, p), S(6).identity(50))
    assert len(p.unique(dim=0)) > 10


def test_elements_are_int64_whatever_dtype_is_asked_for(generator):
    assert S(3).identity(dtype=torch.float32).dtype == torch.int64
    assert S(3).sample(dtype=torch.float64, generator=generator).dtype == torch.int64
    assert S(3).matrix(S(3).identity()).dtype == torch.float64
    assert S(3).matrix(S(3).identity(), torch.float32).dtype == torch.float32


def test_groups_too_large_to_list_say_so():
    assert S(9).order == 362880
    with pytest.raises(GroupError, match=r"S\(9\) has 362880 elements, too many to list"):
        S(9).elements()


@pytest.mark.parametrize("what", ["sample", "identity", "elements", "algebra", "discrete_generators"])
def test_without_a_size_it_asks_for_one(what):
    with pytest.raises(GroupError, match=r"give their number, S\(n\)"):
        getattr(S(), what)()
    with pytest.raises(GroupError, match=r"give their number, S\(n\)"):
        (SE(3) * S()).sample()


def test_without_a_size_it_composes_what_others_drew(generator):
    a, b = S(4).sample(2, generator=generator)
    assert S().size is None
    assert torch.equal(S().compose(a, b), S(4).compose(a, b))
    assert torch.equal(S().matrix(S().inverse(a)), S(4).matrix(a).mT)
