from dataclasses import replace

import pytest
import torch

from torsor.check import assert_equivariant, equivariance_error
from torsor.errors import SignatureError
from torsor.groups import SE, E, S
from torsor.models.gatr import BlockSettings, GATr, GATrBlock, GATrConfig
from torsor.nn.multivector_attention import visibility
from torsor.representations import PROJECTIVE
from torsor.signatures import PointClouds

EVERY = "2x0e + 1x0o + 2x1o + 1x1e"
SIGNATURE = PointClouds(EVERY, "1x1e + 1x0e + 1x0o + 2x1o + 1x0e")
SMALL = {"channels": 4, "scalars": 8, "blocks": 2, "heads": 2}


def model(signature=SIGNATURE, **settings):
    torch.manual_seed(0)
    return replace(GATrConfig(**SMALL), **settings).build(signature).eval()


def inputs(generator, dtype=torch.float64, signature=SIGNATURE):
    return signature.example(3, 5, generator, dtype, lengths=(5, 2, 4))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"group": "SE3"},
        {"group": "SE3", "reference": "canonical"},
        {"centre": False, "offsets": False},
        {"reinsert": True, "key_value_heads": "all"},
        {"logits": "join", "nonlinearity": "silu"},
        {"logits": "inner", "joins": False},
    ],
    ids=lambda settings: "-".join(settings) or "default",
)
def test_every_irrep_in_and_out_is_equivariant_under_motions(settings, generator):
    module = model(**settings).double()
    assert module.symmetry.group == SE(3) * S()
    # without centring, far translations cost the digits that the positions lose
    tolerance = 1e-10 if settings.get("centre", True) else 1e-6
    assert_equivariant(module, inputs(generator), tolerance, samples=1)


def test_with_the_mirror_image_reflections_are_exact_and_without_they_are_not(generator):
    module = model(mirror=True).double()
    assert module.symmetry.group == E(3) * S()
    assert_equivariant(module, inputs(generator), samples=1)
    alone = model().double()
    contract = SIGNATURE.symmetry(E(3) * S())
    assert equivariance_error(alone, inputs(generator), contract, 1).max_relative > 1e-3


def test_a_cloud_far_away_has_the_outputs_of_one_near_by(generator):
    module = model(PointClouds("1x0e + 1x1o", "1x0e + 1x1o"))
    # at a million, neighbouring numbers of single precision are 1/16 apart: the shifted positions are exact
    positions = torch.randint(-32, 32, (2, 6, 3), generator=generator) / 16
    features = torch.randn(2, 6, 4, generator=generator)
    near = module(positions, features)
    far = module(positions + 1e6, features)
    assert (far - near).abs().max() < 1e-5 * near.abs().max()


def test_dropout_leaves_evaluation_alone_and_training_equivariant_for_each_draw(generator):
    module = model(dropout=0.3).double()
    given = inputs(generator)
    assert torch.equal(module(**given), module(**given))
    module.train()
    group = SE(3)
    g = group.sample(3, generator=generator, dtype=torch.float64)
    moved = SIGNATURE.symmetry(group).transform(g, given)
    outputs = []
    for batch in (given, moved):
        torch.manual_seed(1)
        outputs.append(module(**batch))
    expected = SIGNATURE.symmetry(group).transform_output(g, outputs[0])
    torch.testing.assert_close(outputs[1], expected, rtol=0, atol=1e-11)
    assert not torch.equal(module(**given), module(**given))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_invariants(dtype, generator):
    module = model(PointClouds("2x0e + 1x1o", "1x0e", pool="mean"))
    given = module.signature.example(4, 6, generator, torch.float32)
    g = SE(3).sample(4, generator=generator, dtype=torch.float32)
    moved = module.signature.symmetry(SE(3)).transform(g, given)
    with torch.autocast("cpu", dtype):
        first, second = module(**given), module(**moved)
    assert first.isfinite().all()
    assert (first - second).abs().max() < 2e-2 * first.abs().max()


def test_features_of_pairs_change_the_attention(generator):
    signature = PointClouds("1x0e", "1x0e", edge_features=2)
    module, given = model(signature).double(), inputs(generator, signature=signature)
    changed = {**given, "edge_features": given["edge_features"] + 1 + torch.randn(3, 5, 5, 2, generator=generator)}
    assert (module(**changed) - module(**given)).abs().max() > 1e-4


def test_what_has_no_place_in_a_multivector_is_refused():
    with pytest.raises(SignatureError, match=r"gatr cannot serve .*it has 0e, 0o, 1o, 1e, not 2e"):
        GATr("1x2e", "1x0e")
    with pytest.raises(SignatureError, match=r"gatr cannot serve .*its algebra is that of space, R\^3"):
        GATrConfig().build(PointClouds("1x0e", "1x0e", dimension=2))


@pytest.mark.compile
def test_a_block_compiles_as_one_graph():
    torch.manual_seed(0)
    block = GATrBlock(PROJECTIVE, BlockSettings(4, 6, 2))
    x, s, reference = torch.randn(16, 2, 5, 4), torch.randn(2, 5, 6), torch.randn(2, 1, 1)
    seen = visibility(torch.rand(2, 5, 5) < 0.7, like=s)
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=False)
    found, expected = compiled(x, s, seen, reference), block(x, s, seen, reference)
    gradients = [torch.autograd.grad(y[0].square().sum() + y[1].square().sum(), tuple(block.parameters())) for y in (found, expected)]
    for a, b in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
