"""Orders of scores: always permutations, moved with the nodes, and the soft matrices that carry their gradients."""

import math

import pytest
import torch
from scipy.stats import entropy

from torsor.dial.symmetrize.permutations import descending_order, normalised_scores, order_entropy, soft_order
from torsor.groups import S
from torsor.representations import Permuted

MASK = torch.tensor([[True] * 6, [True, False, True, True, False, True], [False] * 6, [False, True] + [False] * 4])


def drawn(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def scored(generator, *shape, mask=None):
    return normalised_scores(drawn(generator, *shape), mask)


def matrix(order):
    return S().matrix(order)


# -- the hard order --------------------------------------------------------------------------------------------------------------------


def test_inverse_of_the_order_sorts_the_scores(generator):
    scores = scored(generator, 3, 6)
    order = descending_order(scores)
    ordered = Permuted(1).apply(S(6), S(6).inverse(order), scores)
    assert torch.equal(ordered, scores.sort(-1, descending=True).values)


@pytest.mark.parametrize(("dtype", "score"), [(torch.bfloat16, 0.5), (torch.float32, 33.0)], ids=str)
def test_noise_added_to_scores_leaves_ties_to_the_order_of_nodes_and_a_second_key_does_not(dtype, score, generator):
    ties = torch.rand(6000, 4, generator=generator)
    places = torch.arange(4)
    # as published: uniform noise of 1e-6, which these numbers have no digits for
    added = (torch.full((6000, 4), score, dtype=dtype) + (1e-6 * ties).to(dtype)).argsort(dim=-1, descending=True, stable=True)
    assert (added == places).all()
    order = descending_order(normalised_scores(torch.full((6000, 4), score, dtype=dtype)), ties)
    counts = torch.unique(order, dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert (counts - 250).abs().max() < 5 * 250**0.5


@pytest.mark.parametrize("kind", ["random", "equal", "zero", "huge", "tiny", "two values"])
def test_order_is_a_permutation_for_every_score_vector(kind, generator):
    scores = {
        "random": drawn(generator, 4, 6),
        "equal": torch.ones(4, 6),
        "zero": torch.zeros(4, 6),
        "huge": 1e38 * torch.randn(4, 6, generator=generator),
        "tiny": 1e-40 * torch.randn(4, 6, generator=generator),
        "two values": (drawn(generator, 4, 6) > 0).double(),
    }[kind]
    ties = torch.rand(4, 6, generator=generator)
    for mask in (None, MASK):
        normal = normalised_scores(scores, mask)
        assert normal.isfinite().all()
        order = descending_order(normal, ties, mask)
        assert order.dtype == torch.int64
        assert torch.equal(order.sort(-1).values, torch.arange(6).expand(4, 6))


def test_places_behind_the_mask_stay(generator):
    order = descending_order(scored(generator, 4, 6, mask=MASK), drawn(generator, 4, 6), MASK)
    assert torch.equal(order[~MASK], torch.arange(6).expand(4, 6)[~MASK])
    assert (order[1] != torch.arange(6)).any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("equal", [False, True])
def test_order_moves_with_the_nodes(masked, equal, generator):
    """q(h x, h noise) = h q(x, noise), integer for integer, also where scores are equal."""
    mask = MASK if masked else None
    raw = (drawn(generator, 4, 6) > 0).double() if equal else drawn(generator, 4, 6)
    ties = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    h = S(6).sample(4, generator=generator) if mask is None else S(6).sample(4, generator=generator, mask=mask)
    order = descending_order(normalised_scores(raw, mask), ties, mask)
    moved = [Permuted(1).apply(S(6), h, x) for x in (raw, ties)]
    assert torch.equal(descending_order(normalised_scores(moved[0], mask), moved[1], mask), S(6).compose(h, order))


def test_rounding_does_not_decide_between_equal_scores(generator):
    ties = torch.tensor([[0.1, 0.9, 0.5]], dtype=torch.float64)
    scores = torch.full((1, 3), 3**-0.5, dtype=torch.float64)
    nudged = scores + torch.tensor([[1e-16, -1e-16, 0.0]], dtype=torch.float64)
    assert torch.equal(descending_order(nudged, ties), torch.tensor([[1, 2, 0]]))


def test_equal_scores_are_ordered_uniformly(generator):
    """Chi-square over the 24 orders of four equal scores, 23 degrees of freedom: 99.9 % below 49.7."""
    ties = torch.rand(12_000, 4, generator=generator)
    order = descending_order(torch.zeros(12_000, 4), ties)
    counts = (order @ torch.tensor([64, 16, 4, 1])).unique(return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 500).double().square() / 500).sum() < 49.7


def test_scores_have_norm_one_over_valid_nodes(generator):
    scores = normalised_scores(drawn(generator, 4, 6).masked_fill(~MASK, torch.nan), MASK)
    assert torch.equal(scores[~MASK], torch.zeros(int((~MASK).sum()), dtype=torch.float64))
    assert (scores.norm(dim=-1) - torch.tensor([1.0, 1, 0, 1])).abs().max() < 1e-15
    assert normalised_scores(torch.ones(1, 3).half()).dtype == torch.float32


# -- the soft order --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "temperature"), [(5, 0.1), (8, 0.1), (64, 0.01), (188, 0.01)])
def test_columns_of_the_soft_order_sum_to_one_and_rows_nearly(nodes, temperature, generator):
    scores = scored(generator, 8, nodes)
    soft = soft_order(scores, descending_order(scores), temperature)
    assert (soft.sum(-2) - 1).abs().max() < 1e-12
    assert (soft.sum(-1) - 1).abs().max() < 0.05
    assert soft.min() >= 0


def test_rows_sum_to_one_when_iterated_to_convergence(generator):
    scores = scored(generator, 8, 8)
    soft = soft_order(scores, descending_order(scores), 0.1, rounds=2000)
    assert (soft.sum(-1) - 1).abs().max() < 1e-6


def test_soft_order_becomes_the_hard_one_as_temperature_falls(generator):
    scores = scored(generator, 8, 5)
    order = descending_order(scores)
    errors = [(soft_order(scores, order, t) - matrix(order)).abs().max() for t in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)]
    assert errors[-1] < 1e-9
    assert errors[0] > errors[2] > errors[4]
    assert order_entropy(soft_order(scores, order, 1e-5)).max() < 1e-8


def test_soft_order_is_sinkhorn_of_the_score_differences(generator):
    """The plain definition, without logarithms."""
    scores = scored(generator, 1, 4)[0]
    order = descending_order(scores)
    expected = torch.exp(-(scores[:, None] - scores[order][None]).abs() / 0.3)
    for _ in range(20):
        expected = expected / expected.sum(1, keepdim=True)
        expected = expected / expected.sum(0, keepdim=True)
    assert (soft_order(scores, order, 0.3) - expected).abs().max() < 1e-13


def test_soft_order_moves_with_the_nodes(generator):
    """Rows are nodes and columns ranks: moving the nodes moves rows alone."""
    scores, h = scored(generator, 2, 5), S(5).sample(2, generator=generator)
    soft = soft_order(scores, descending_order(scores), 0.1)
    moved = Permuted(1).apply(S(5), h, scores)
    assert (soft_order(moved, descending_order(moved), 0.1) - Permuted(1).apply(S(5), h, soft)).abs().max() < 1e-14


def test_padding_changes_no_soft_order(generator):
    raw = drawn(generator, 4, 6)
    scores = normalised_scores(raw, MASK)
    soft = soft_order(scores, descending_order(scores, mask=MASK), 0.1, mask=MASK)
    for i, row in enumerate(MASK):
        alone = normalised_scores(raw[i, row])
        if len(alone):
            expected = soft_order(alone, descending_order(alone), 0.1)
            assert (soft[i][row][:, row] - expected).abs().max() < 1e-13
            assert abs(order_entropy(soft, MASK)[i] - order_entropy(expected)) < 1e-13
        assert torch.equal(soft[i][~row], torch.eye(6, dtype=torch.float64)[~row])
    assert order_entropy(soft, MASK)[2] == 0


def test_entropy_is_that_of_rows_and_columns(generator):
    soft = torch.rand(4, 4, generator=generator, dtype=torch.float64)
    expected = (entropy(soft.numpy(), axis=1) + entropy(soft.numpy(), axis=0)).mean()
    assert abs(order_entropy(soft).item() - expected) < 1e-13
    assert abs(order_entropy(torch.full((5, 5), 0.2)).item() - 2 * math.log(5)) < 1e-5
    assert order_entropy(torch.eye(5)) == 0


@pytest.mark.parametrize("kind", ["random", "equal", "zero"])
def test_gradients_of_soft_orders_are_finite(kind, generator):
    raw = {"random": drawn(generator, 4, 6), "equal": torch.ones(4, 6), "zero": torch.zeros(4, 6)}[kind].requires_grad_()
    scores = normalised_scores(raw, MASK)
    soft = soft_order(scores, descending_order(scores, mask=MASK), 0.01, mask=MASK)
    (order_entropy(soft, MASK).sum() + soft[..., 0].sum()).backward()
    assert raw.grad.isfinite().all()
    assert not raw.grad[~MASK].any()


def test_gradient_of_the_soft_order_is_that_of_finite_differences(generator):
    raw = drawn(generator, 3).requires_grad_()

    def path(raw):
        scores = normalised_scores(raw)
        return soft_order(scores, descending_order(scores), 0.1, rounds=5)

    assert torch.autograd.gradcheck(path, raw)
    assert torch.autograd.gradgradcheck(path, raw, fast_mode=True)
