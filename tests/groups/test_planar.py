"""C(n) and D(n): their matrices, and the law of their draws."""

from math import pi

import pytest
import scipy.stats
import torch

from torsor.groups import SO, C, D, O

SIZES = (1, 2, 3, 4, 5, 6, 8, 12)


@pytest.mark.parametrize("n", SIZES)
def test_a_turn_is_the_rotation_by_an_nth_of_the_circle(n):
    turns = C(n).embed(C(n).elements())
    expected = SO(2).exp(torch.arange(n, dtype=torch.float64)[:, None] * 2 * pi / n)
    assert (turns - expected).abs().max() < 2e-15


@pytest.mark.parametrize("group", [C(4), C(8), C(12), D(4)], ids=str)
def test_quarter_turns_are_exact(group):
    quarter = group.embed(group.probes(1)["quarter turn"])[0]
    assert torch.equal(quarter, torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("n", SIZES)
def test_a_flipped_element_flips_the_second_axis_and_then_turns(n):
    for turns, flip in D(n).elements().tolist():
        matrix = D(n).embed(torch.tensor([turns, flip]))
        expected = SO(2).exp(torch.tensor([2 * pi * turns / n], dtype=torch.float64)) @ torch.diag(
            torch.tensor([1.0, 1 - 2 * flip]).double()
        )
        assert (matrix - expected).abs().max() < 2e-15


@pytest.mark.parametrize("n", SIZES)
def test_the_dihedral_group_keeps_the_regular_polygon(n, generator):
    corners = C(n).embed(C(n).elements())[:, :, 0]
    moved = D(n).act(D(n).sample(20, generator=generator), corners.expand(20, n, 2))
    gaps = (moved[:, :, None] - corners).norm(dim=-1)
    assert gaps.amin(-1).max() < 1e-14


@pytest.mark.parametrize("group", [C(5), D(3)], ids=str)
def test_every_element_is_drawn_equally_often(group, generator):
    drawn = group.sample(3000, generator=generator)
    counts = (drawn[:, None] == group.elements()[None]).all(-1).sum(0)
    assert counts.sum() == 3000
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("n", SIZES)
def test_reflections_reverse_orientation(n, generator):
    probe = D(n).probes(6, generator)["reflection"]
    assert (torch.linalg.det(O(2).matrix(D(n).embed(probe))) + 1).abs().max() < 1e-14
    assert torch.equal(D(n).compose(probe, probe), D(n).identity(6))


def test_elements_are_int64_and_matrices_have_the_dtype_asked_for(generator):
    g = D(5).sample(2, generator=generator, dtype=torch.float32)
    assert g.dtype == torch.int64
    assert D(5).embed(g).dtype == torch.float64
    assert D(5).linear(g, torch.float32).dtype == torch.float32
    assert D(5).act(g, torch.zeros(2, 2)).dtype == torch.float32
