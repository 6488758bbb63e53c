"""Numbers spread by a random walk: powers of its matrix, permutations, padding, and graphs on which nothing is left to spread."""

from itertools import pairwise

import pytest
import torch

from torsor.nn.random_walk import spread


def lazy_walk(adjacency):
    """The matrix of one step, written out."""
    n = len(adjacency)
    walk = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        weights = [float(adjacency[i, j].abs() + adjacency[j, i].abs()) for j in range(n)]
        walk[i, i] += 0.5 if sum(weights) else 1.0
        for j in range(n):
            walk[i, j] += 0.5 * weights[j] / sum(weights) if sum(weights) else 0.0
    return walk


def random_graph(generator, n=7):
    adjacency = torch.randn(n, n, generator=generator, dtype=torch.float64) * (torch.rand(n, n, generator=generator) < 0.3)
    adjacency[0], adjacency[:, 0] = 0, 0
    return adjacency


@pytest.mark.parametrize("steps", [0, 1, 5, 40])
def test_spread_numbers_are_powers_of_the_walk_standardised(steps, generator):
    adjacency, x = random_graph(generator), torch.randn(7, 3, generator=generator, dtype=torch.float64)
    expected = torch.linalg.matrix_power(lazy_walk(adjacency), steps) @ x
    expected = (expected - expected.mean(0)) / expected.std(0, correction=0)
    assert (spread(x[None], adjacency[None], steps)[0] - expected).abs().max() < 1e-12


def test_near_nodes_get_near_numbers(generator):
    path = torch.diag(torch.ones(19, dtype=torch.float64), 1)
    x = torch.randn(1, 20, 50, generator=generator, dtype=torch.float64)
    jumps = [spread(x, (path + path.T)[None], steps).diff(dim=1).square().mean() for steps in (0, 4, 16, 64)]
    assert all(later < 0.6 * before for before, later in pairwise(jumps))


def test_graphs_without_slow_modes_keep_no_rounding(generator):
    x = torch.randn(1, 2, 3, generator=generator)
    assert torch.equal(spread(x, 1 - torch.eye(2)[None], 8), torch.zeros(1, 2, 3))
    assert torch.equal(spread(x[:, :1], torch.zeros(1, 1, 1), 8), torch.zeros(1, 1, 3))
    assert torch.equal(spread(torch.full((1, 5, 1), 0.1), torch.ones(1, 5, 5), 8), torch.zeros(1, 5, 1))


def test_complete_graphs_move_with_their_nodes_after_many_steps(generator):
    adjacency, x = 1 - torch.eye(6, dtype=torch.float64)[None], torch.randn(1, 6, 2, generator=generator, dtype=torch.float64)
    order = torch.randperm(6, generator=generator)
    assert (spread(x[:, order], adjacency, 200) - spread(x, adjacency, 200)[:, order]).abs().max() < 1e-12


def test_padding_has_no_influence(generator):
    adjacency, x = random_graph(generator, 6)[None], torch.randn(1, 6, 2, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, True, False]])
    expected = spread(x[:, mask[0]], adjacency[:, mask[0]][:, :, mask[0]], 9)
    pairs = mask[:, :, None] & mask[:, None]
    spoiled = spread(x.masked_fill(~mask[..., None], torch.nan), adjacency.masked_fill(~pairs, torch.inf), 9, mask)
    assert (spoiled[:, mask[0]] - expected).abs().max() < 1e-13
    assert not spoiled[~mask].any()
