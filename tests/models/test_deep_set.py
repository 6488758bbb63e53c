"""Deep Sets against sums written as loops."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torsor.check import equivariance_error
from torsor.errors import ConfigError, UnknownNameError
from torsor.groups import S, T
from torsor.models import DeepSet, DeepSetConfig
from torsor.signatures import PointClouds
from torsor.testing import ModelSuite

SIGNATURE = PointClouds("3x0e", "6x0e", edge_features=2, pool="max", dimension=2)


class TestSumsInThePlane(ModelSuite):
    """What the registered defaults leave out: sums as context, smooth activations, no readout, the largest output as pooling, the plane."""

    parameters = 966

    def make(self, dtype: torch.dtype) -> nn.Module:
        return DeepSetConfig(width=16, layers=2, context="sum", activation="tanh", readout=0).build(SIGNATURE).to(dtype)

    def inputs(self, dtype: torch.dtype, lengths: Sequence[int]) -> dict[str, Tensor]:
        return SIGNATURE.example(len(lengths), max(lengths), dtype=dtype, lengths=lengths)

    def beyond(self, module: nn.Module) -> Any:
        return SIGNATURE.symmetry(T(2) * S())


def loops(model: DeepSet, positions: Tensor, features: Tensor) -> Tensor:
    """One cloud without features of pairs, point by point: x_i' = activation(A x_i + B mean_j x_j + b)."""
    x = [torch.cat((p, f)) for p, f in zip(positions, features, strict=True)]
    for layer in (model.embed, *model.layers):
        carried, pooled = layer.weights["carry_n"], layer.weights["carry"]
        mean = torch.stack(x).mean(0)
        x = [model.activation(carried @ point + pooled @ mean + layer.bias) for point in x]
    return torch.stack(x)


@pytest.mark.parametrize("pool", [None, "sum", "mean", "max"])
def test_model_is_its_equation(pool: Any) -> None:
    torch.manual_seed(0)
    signature = PointClouds("3x0e", "2x0e", pool=pool)
    model = DeepSetConfig(width=8, layers=3).build(signature).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)  # biases too
    inputs = signature.example(2, 5, dtype=torch.float64)
    for i in range(2):
        x = loops(model, inputs["positions"][i], inputs["features"][i])
        if pool is None:
            carried, pooled = (model.readout.weights[name] for name in ("carry_n", "carry"))
            expected = x @ carried.T + pooled @ x.mean(0) + model.readout.bias
        else:
            expected = model.readout({"sum": x.sum(0), "mean": x.mean(0), "max": x.amax(0)}[pool])
        torch.testing.assert_close(model(**inputs)[i], expected, rtol=1e-12, atol=1e-13)


def test_pairs_are_seen_by_row_by_column_and_on_the_diagonal() -> None:
    """What a point is told of the pairs differs from what it is told of them transposed, and of their diagonal alone."""
    torch.manual_seed(0)
    signature = PointClouds("", "2x0e", edge_features=1)
    model = DeepSetConfig(width=8, layers=1).build(signature).double()
    inputs = signature.example(1, 4, dtype=torch.float64)
    pairs = inputs["edge_features"]
    transposed, without = pairs.transpose(1, 2), pairs * (1 - torch.eye(4, dtype=torch.float64)).unsqueeze(-1)
    given, *others = (model(inputs["positions"], edge_features=x) for x in (pairs, transposed, without))
    assert all((given - other).abs().max() > 1e-3 for other in others)


def test_model_knows_permutations_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = DeepSetConfig(width=16).build(SIGNATURE).double()
    assert model.symmetry.group == S()
    assert equivariance_error(model, SIGNATURE.example(2, 5, dtype=torch.float64), SIGNATURE.symmetry(T(2) * S()), 2).max_relative > 1e-3


def test_a_cloud_without_points_has_an_output_that_padding_does_not_change() -> None:
    torch.manual_seed(0)
    model = DeepSet("", "2x0e", pool="mean").double()
    outputs = [model(torch.full((1, n, 3), torch.nan).double(), mask=torch.zeros(1, n, dtype=torch.bool)) for n in (1, 4)]
    assert outputs[0].isfinite().all()
    assert torch.equal(outputs[0], outputs[1])


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="layers is 0: give 1 or more"):
        DeepSetConfig(layers=0)
    with pytest.raises(UnknownNameError, match="setting of DeepSetConfig 'widht'"):
        DeepSet("", "1x0e", widht=3)
