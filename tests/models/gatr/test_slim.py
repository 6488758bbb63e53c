"""The slim GATr: its layers under O(n), far clouds, reflections, and what it does not carry."""

import pytest
import torch

from torsor.check import assert_equivariant
from torsor.errors import ConfigError, SignatureError
from torsor.groups import E, O, S
from torsor.models.gatr import GATr, GATrConfig, GATrSlim, GATrSlimConfig
from torsor.nn.slim_layers import SlimAttention, SlimBlock, SlimMLP
from torsor.signatures import PointClouds

SMALL = GATrSlimConfig(vectors=4, scalars=8, blocks=2, heads=2)


def build(signature, config=SMALL):
    torch.manual_seed(0)
    return config.build(signature).double()


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
@pytest.mark.parametrize("part", [SlimAttention, SlimMLP, SlimBlock])
def test_every_part_commutes_with_rotations_and_reflections_of_any_space(part, dimension, generator):
    torch.manual_seed(0)
    layer = part(SMALL.block_settings(dimension)).double()
    v, s = (torch.randn(4, 6, *shape, generator=generator, dtype=torch.float64) for shape in ((dimension, 4), (8,)))
    element = O(dimension).sample(4, generator=generator, dtype=torch.float64)[:, None]
    extra = () if part is SlimMLP else (None, False)
    moved, invariant = layer(element @ v, s, *extra)
    still, same = layer(v, s, *extra)
    assert (moved - element @ still).norm() < 1e-13 * moved.norm()
    assert (invariant - same).norm() < 1e-13 * same.norm()


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_networks_of_other_spaces_keep_reflections_and_translations(dimension, generator):
    signature = PointClouds("2x0e", "1x0e", edge_features=1, pool="sum", dimension=dimension)
    module = build(signature)
    assert module.symmetry.group == E(dimension) * S()
    assert_equivariant(module, signature.example(2, 4, generator, torch.float64, lengths=(4, 3)), samples=1)


def test_a_cloud_far_away_has_the_outputs_of_one_near_by(generator):
    module = build(PointClouds("1x0e + 1x1o", "1x0e + 1x1o")).float()
    # at a million, neighbouring numbers of single precision are 1/16 apart: the shifted positions are exact
    positions, features = torch.randint(-32, 32, (2, 6, 3), generator=generator) / 16, torch.randn(2, 6, 4, generator=generator)
    near = module(positions, features)
    assert (module(positions + 1e6, features) - near).abs().max() < 1e-5 * near.abs().max()


def test_outputs_stand_in_the_order_of_their_irreps(generator):
    signature = PointClouds("1x1o + 1x0e + 1x1o", "1x1o + 2x0e + 2x1o + 1x0e")
    module, given = build(signature), signature.example(2, 4, generator, torch.float64)
    assert_equivariant(module, given, samples=1)
    swapped = torch.cat((given["features"][..., 4:], given["features"][..., 3:4], given["features"][..., :3]), -1)
    assert (module(given["positions"], swapped) - module(**given)).abs().max() > 1e-4


def test_a_channel_costs_a_fraction_of_one_of_multivectors():
    signature = PointClouds("1x1o", "1x1o")
    slim = build(signature, GATrSlimConfig(vectors=16, scalars=32, blocks=2, heads=4))
    whole = build(signature, GATrConfig(channels=16, scalars=32, blocks=2, heads=4))
    assert isinstance(slim, GATrSlim)
    assert isinstance(whole, GATr)
    assert 2 * sum(p.numel() for p in slim.parameters()) < sum(p.numel() for p in whole.parameters())


def test_what_it_does_not_carry_is_refused():
    with pytest.raises(
        SignatureError, match=r"gatr-slim cannot serve .*scalars \(0e\) and vectors \(1o\), not 1e, 2e; models of this family"
    ):
        build(PointClouds("1x1e + 1x2e", "1x0e"))
    with pytest.raises(ConfigError, match="vectors 6 do not divide by 4 heads"):
        GATrSlimConfig(vectors=6, heads=4)
    with pytest.raises(ConfigError, match="blocks is 0: give 1 or more"):
        GATrSlimConfig(blocks=0)
