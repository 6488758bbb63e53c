"""The plain graph network against messages written out one by one."""

import pytest
import torch
from torch.nn.functional import silu

from torsor.check import equivariance_error
from torsor.errors import ConfigError
from torsor.groups import SO, S
from torsor.models import MessagePassing, MessagePassingConfig
from torsor.signatures import PointClouds

CHARGED = PointClouds("1x1o", "1x1o", edge_features=1, points=5)


def test_the_published_network_has_92103_parameters() -> None:
    assert sum(p.numel() for p in MessagePassingConfig().build(CHARGED).parameters()) == 92_103


def test_messages_are_those_written_out_one_by_one(generator) -> None:
    torch.manual_seed(0)
    model = MessagePassing("1x1o", "2x0e", edge_features=1, width=6, layers=1).double()
    inputs = CHARGED.example(1, 4, generator, torch.float64)
    x, v, e = (inputs[name][0] for name in ("positions", "features", "edge_features"))
    h = model.embed(torch.cat((x - x.mean(0), v), -1))
    layer, updated = model.rounds[0], []
    for i in range(4):
        received = torch.zeros(6, dtype=torch.float64)
        for j in range(4):
            if i != j:
                pair = torch.cat((((x[i] - x[j]) ** 2).sum()[None], e[i, j]))
                received += silu(layer.message(silu(layer.receiver(h[i]) + layer.sender(h[j]) + layer.pair(pair))))
        updated.append(layer.update(torch.cat((h[i], received))))
    expected = model.output(model.readout(torch.stack(updated)))
    torch.testing.assert_close(model(**inputs)[0], expected, rtol=0, atol=1e-12)


def test_without_centring_permutations_alone_are_promised(generator) -> None:
    model = MessagePassingConfig(centre=False).build(CHARGED).double()
    assert model.symmetry.group == S()
    inputs = CHARGED.example(2, 5, generator, torch.float64)
    assert equivariance_error(model, inputs, CHARGED.symmetry(SO(3))).max_relative > 1e-2


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="width is 0 and layers is 4"):
        MessagePassingConfig(width=0)
