"""Norms of valid places: those of torch on the valid rows, whatever the padding holds."""

import pytest
import torch
from torch import nn
from torch.nn.functional import instance_norm

from torsor.nn.masked_norm import MaskedBatchNorm, MaskedItemNorm, masked_norm

MASK = torch.arange(5) < torch.tensor([[5], [2], [3]])


def padded(generator):
    return torch.randn(3, 5, 4, generator=generator, dtype=torch.float64).masked_fill(~MASK[..., None], float("nan"))


def test_batch_statistics_are_those_of_valid_places(generator):
    x = padded(generator)
    ours, theirs = MaskedBatchNorm(4).double(), nn.BatchNorm1d(4).double()
    assert (ours(x, MASK)[MASK] - theirs(x[MASK])).abs().max() < 1e-13
    assert (ours.mean - theirs.running_mean).abs().max() < 1e-14
    assert (ours.variance - theirs.running_var).abs().max() < 1e-14
    assert (ours.eval()(x, MASK)[MASK] - theirs.eval()(x[MASK])).abs().max() < 1e-13


def test_places_may_have_two_axes(generator):
    x = torch.randn(3, 5, 2, 4, generator=generator, dtype=torch.float64)
    ours, theirs = MaskedBatchNorm(4).double(), nn.BatchNorm1d(4).double()
    assert (ours(x).flatten(0, 2) - theirs(x.flatten(0, 2))).abs().max() < 1e-13


def test_item_statistics_are_those_of_each_item_alone(generator):
    x = padded(generator)
    norm = MaskedItemNorm(4).double()
    for row, k, normed in zip(x, (5, 2, 3), norm(x, MASK), strict=True):
        assert (normed[:k] - instance_norm(row[:k].T[None])[0].T).abs().max() < 1e-13


@pytest.mark.parametrize("statistics", ["batch", "item"])
@pytest.mark.parametrize("valid", [0, 1])
def test_gradients_are_finite_with_one_valid_place_or_none(statistics, valid):
    x = torch.ones(1, 3, 2, requires_grad=True)
    norm = masked_norm(statistics, 2)
    mask = torch.arange(3)[None] < valid
    norm(x, mask).where(mask[..., None], 0).sum().backward()
    assert x.grad.isfinite().all()
    if not valid and statistics == "batch":  # nothing was seen, nothing is learned
        assert torch.equal(norm.mean, torch.zeros(2))
        assert torch.equal(norm.variance, torch.ones(2))


def test_half_precision_is_normalised_in_float32(generator):
    x = 300 * torch.randn(2, 50, 4, generator=generator).half()
    normed = MaskedBatchNorm(4).half()(x)
    assert normed.dtype == torch.float16
    assert (normed.float() - nn.BatchNorm1d(4)(x.float().flatten(0, 1)).unflatten(0, (2, 50))).abs().max() < 2e-3


def test_no_norm_is_the_input(generator):
    x = padded(generator)
    assert masked_norm("none", 4)(x, MASK) is x
