"""Penalties: found in every part, added once, and lowered by training."""

import torch
from torch import nn

from torsor.nn.penalties import total_penalty


class Heavy(nn.Linear):
    """A layer that wants small weights."""

    def penalty(self):
        return self.weight.square().sum()


class Silent(nn.Linear):
    def penalty(self):
        return None


def test_the_penalties_of_all_parts_are_added():
    layers = nn.Sequential(Heavy(2, 3), nn.Sequential(Heavy(3, 1), Silent(1, 1)))
    expected = layers[0].weight.square().sum() + layers[1][0].weight.square().sum()
    assert torch.equal(total_penalty(layers), expected)


def test_a_module_without_penalties_has_none():
    assert total_penalty(nn.Sequential(nn.Linear(2, 2), Silent(1, 1))) is None


def test_a_part_used_twice_counts_once():
    part = Heavy(2, 2)
    assert torch.equal(total_penalty(nn.ModuleList([part, nn.Sequential(part)])), part.penalty())
