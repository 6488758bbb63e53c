"""The Set Transformer against its equations written as loops."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torsor.check import equivariance_error
from torsor.errors import SignatureError
from torsor.groups import S, T
from torsor.models import SetTransformer, SetTransformerConfig
from torsor.models.set_transformer import AttentionBlock
from torsor.signatures import PointClouds
from torsor.testing import ModelSuite

SIGNATURE = PointClouds("3x0e", "6x0e", pool="mean", dimension=2)


class TestInducedSetTransformer(ModelSuite):
    """Everything that the registered defaults leave out: inducing points, several seeds, norms, smooth activations, the plane."""

    parameters = 6_194

    def make(self, dtype: torch.dtype) -> nn.Module:
        settings: dict[str, Any] = {"inducing_points": 3, "seeds": 3, "layer_norm": True, "activation": "gelu"}
        return make(encoder_layers=1, **settings).to(dtype)

    def inputs(self, dtype: torch.dtype, lengths: Sequence[int]) -> dict[str, Tensor]:
        return SIGNATURE.example(len(lengths), max(lengths), dtype=dtype, lengths=lengths)

    def beyond(self, module: nn.Module) -> Any:
        return SIGNATURE.symmetry(T(2) * S())


def make(**settings: Any) -> SetTransformer:
    torch.manual_seed(0)
    return SetTransformerConfig(**{"width": 16, "heads": 4, **settings}).build(SIGNATURE).double()


def naive(block: AttentionBlock, x: Tensor, y: Tensor) -> Tensor:
    """MAB(X, Y) for one cloud, one head and one query at a time."""
    q, k, v = block.query(x), *block.key_value(y).chunk(2, -1)
    size = x.shape[-1] // block.heads
    heads = [slice(h * size, (h + 1) * size) for h in range(block.heads)]
    rows = [torch.cat([(k[:, h] @ q[i, h] / size**0.5).softmax(0) @ v[:, h] for h in heads]) for i in range(len(x))]
    h = block.norms[0](x + block.merge(torch.stack(rows)))
    return block.norms[1](h + block.feed_forward(h))


@pytest.mark.parametrize("layer_norm", [False, True])
def test_model_is_its_equations(layer_norm: bool) -> None:
    model = make(seeds=2, decoder_layers=2, layer_norm=layer_norm)
    inputs = SIGNATURE.example(2, 5, dtype=torch.float64)
    for i in range(2):
        x = model.embed(torch.cat((inputs["positions"][i], inputs["features"][i]), -1))
        for block in model.encoder:
            x = naive(block.attention, x, x)
        pool = model.decoder
        x = naive(pool.attention, pool.seeds.vectors, pool.feed_forward(x))
        for block in pool.blocks:
            x = naive(block.attention, x, x)
        torch.testing.assert_close(model(**inputs)[i], model.output(x).flatten(), rtol=1e-11, atol=1e-13)


def test_inducing_points_stand_between_the_points() -> None:
    model = make(inducing_points=3, encoder_layers=1)
    inputs = SIGNATURE.example(1, 5, dtype=torch.float64)
    block = model.encoder[0]
    x = model.embed(torch.cat((inputs["positions"][0], inputs["features"][0]), -1))
    expected = naive(block.spread, x, naive(block.gather, block.inducing.vectors, x))
    found = block(x[None], None, None, False)[0]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


def test_every_seed_gives_an_equal_part_of_the_output() -> None:
    """With no layers among the seeds, exchanging two of them exchanges their parts."""
    model = make(seeds=3, decoder_layers=0)
    inputs = SIGNATURE.example(2, 5, dtype=torch.float64)
    before = model(**inputs).unflatten(1, (3, 2))
    with torch.no_grad():
        model.decoder.seeds.vectors.copy_(model.decoder.seeds.vectors[[1, 0, 2]].clone())
    torch.testing.assert_close(model(**inputs).unflatten(1, (3, 2)), before[:, [1, 0, 2]], rtol=0, atol=1e-13)


def test_model_knows_permutations_and_nothing_else() -> None:
    model = make()
    inputs = SIGNATURE.example(2, 5, dtype=torch.float64)
    assert model.symmetry.group == S()
    assert equivariance_error(model, inputs, SIGNATURE.symmetry(T(2) * S()), samples=2).max_relative > 1e-3


def test_a_cloud_without_points_has_an_output_that_padding_does_not_change() -> None:
    model = make(inducing_points=2)
    outputs = [
        model(torch.full((1, n, 2), torch.nan).double(), torch.zeros(1, n, 3).double(), mask=torch.zeros(1, n, dtype=torch.bool))
        for n in (1, 4)
    ]
    assert outputs[0].isfinite().all()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-13)


def test_settings_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(SignatureError, match="width 16 does not divide by 3 heads"):
        make(heads=3)
    with pytest.raises(SignatureError, match="6 numbers does not divide among 4 seeds"):
        make(seeds=4)
    with pytest.raises(SignatureError, match=r"inducing points carry no features of pairs.*models of this family"):
        SetTransformer("1x0e", "1x0e", edge_features=2, inducing_points=4)
