"""Pools see the valid points alone."""

import pytest
import torch

from torsor.nn.pooling import centroid, pool_points

HOW = {"sum": lambda x: x.sum(0), "mean": lambda x: x.mean(0), "max": lambda x: x.amax(0)}


@pytest.mark.parametrize("how", HOW)
def test_pool_is_that_of_the_valid_points(how: str, generator: torch.Generator) -> None:
    x = torch.randn(3, 5, 2, generator=generator, dtype=torch.float64) - 2
    mask = torch.arange(5) < torch.tensor([5, 2, 1])[:, None]
    expected = torch.stack([HOW[how](row[:k]) for row, k in zip(x, (5, 2, 1), strict=True)])
    torch.testing.assert_close(pool_points(x.masked_fill(~mask[..., None], float("nan")), mask, how), expected)
    torch.testing.assert_close(pool_points(x, None, how), torch.stack([HOW[how](row) for row in x]))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("points", [0, 3])
def test_cloud_without_points_pools_to_zero_with_zero_gradient(how: str, points: int) -> None:
    x = torch.ones(2, points, 4, requires_grad=True)
    pooled = pool_points(x, torch.zeros(2, points, dtype=torch.bool), how)
    assert torch.equal(pooled, torch.zeros(2, 4))
    pooled.sum().backward()
    assert not x.grad.any()


def test_centroid_moves_with_the_cloud(generator: torch.Generator) -> None:
    x, shift = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64), torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(centroid(x + shift, None), centroid(x, None) + shift)
