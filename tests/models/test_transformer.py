"""The plain transformer against its formula written as loops, and the symmetries it does not have."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from torsor.check import equivariance_error
from torsor.errors import SignatureError
from torsor.groups import SE, S, T
from torsor.models import Transformer, TransformerConfig
from torsor.signatures import PointClouds
from torsor.symmetry import Symmetry
from torsor.testing import ModelSuite

SIGNATURE = PointClouds("2x0e + 1x2e", "1x1o + 1x0e", edge_features=3)
SMALL = TransformerConfig(width=16, heads=4, layers=2, mlp_ratio=2.0, edge_width=8)


class TestPooledTransformerWithoutCentre(ModelSuite):
    parameters = 4_777

    def make(self, dtype: torch.dtype) -> nn.Module:
        return Transformer(SIGNATURE.rep_in, "1x0e", edge_features=3, pool="mean", config=SMALL, centre=False).to(dtype)

    def inputs(self, dtype: torch.dtype, lengths: Sequence[int]) -> dict[str, Tensor]:
        return SIGNATURE.example(len(lengths), max(lengths), dtype=dtype, lengths=lengths)

    def beyond(self, module: nn.Module) -> Symmetry | None:
        return PointClouds(SIGNATURE.rep_in, "1x0e", 3, "mean").symmetry(SE(3) * S())


def make(**settings: object) -> Transformer:
    torch.manual_seed(0)
    return Transformer(SIGNATURE.rep_in, SIGNATURE.rep_out, edge_features=3, config=SMALL, **settings).double()


def example(points: int = 5) -> dict[str, Tensor]:
    return SIGNATURE.example(2, points, dtype=torch.float64)


def naive(model: Transformer, positions: Tensor, features: Tensor, edges: Tensor) -> Tensor:
    """One cloud, one head and one query at a time."""
    x = model.embed(torch.cat((positions - positions.mean(0), features), -1))
    for block in model.blocks:
        q, k, v = block.query_key_value(block.norm(x)).reshape(len(x), 3, 4, 4).unbind(1)
        bias = block.bias(model.pairs(edges))
        rows = [torch.cat([(k[:, h] @ q[i, h] / 2 + bias[i, :, h]).softmax(0) @ v[:, h] for h in range(4)]) for i in range(len(x))]
        x = x + block.merge(torch.stack(rows))
        x = x + block.mlp(x)
    return model.output(model.norm(x))


def test_model_is_attention_with_a_bias_of_each_head() -> None:
    model, inputs = make(), example()
    for i in range(2):
        expected = naive(model, *(inputs[name][i] for name in ("positions", "features", "edge_features")))
        torch.testing.assert_close(model(**inputs)[i], expected, rtol=1e-11, atol=1e-13)


def test_centred_model_knows_translations_and_the_other_does_not() -> None:
    inputs = example()
    assert make().symmetry.group == T(3) * S()
    bare = make(centre=False)
    assert bare.symmetry.group == S()
    assert equivariance_error(bare, inputs, make().symmetry, samples=2).max_relative > 1e-3


def test_second_derivatives_equal_those_of_first_order_differences() -> None:
    """The fused kernel has none, so the model has to notice that they are wanted."""
    model, inputs = make(), example()
    x = inputs.pop("positions")

    def force(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(model(x, **inputs).square().sum(), x, create_graph=True)[0]

    start = x.detach().requires_grad_()
    gradient = torch.autograd.grad(model(start, **inputs).square().sum(), start, create_graph=True)[0]
    along = torch.autograd.grad(gradient.sum(), start)[0]
    step = 1e-5
    direction = torch.ones_like(x)
    expected = (force(x + step * direction) - force(x - step * direction)) / (2 * step)
    torch.testing.assert_close(along, expected, rtol=1e-5, atol=1e-9)


def test_what_stands_behind_the_mask_has_no_influence() -> None:
    model, inputs = make(), example()
    mask = torch.tensor([[True, True, False, True, False], [False] * 5])
    spoiled = {name: x.clone() for name, x in inputs.items()}
    for name, x in spoiled.items():
        x[~(mask[:, :, None] & mask[:, None]) if name == "edge_features" else ~mask] = float("nan")
    output = model(**spoiled, mask=mask)
    assert torch.equal(output, model(**inputs, mask=mask))
    assert not output[~mask].any()


def test_untrained_output_is_small_but_not_zero() -> None:
    """A zero output would be measured as perfectly symmetric."""
    assert 0 < make()(**example()).std() < 0.1


def test_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(SignatureError, match="width 16 does not divide by 3 heads"):
        make(heads=3)
