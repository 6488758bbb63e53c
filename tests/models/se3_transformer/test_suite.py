"""Everything that every model has to prove, for variants that share no path through the code."""

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from torsor.groups import SE, E, S
from torsor.models import SE3Transformer
from torsor.signatures import PointClouds
from torsor.symmetry import Symmetry
from torsor.testing import ModelSuite

SIGNATURE = PointClouds("3x0e + 2x1o", "2x0e + 1x1o + 1x2e", edge_features=2)
SMALL = {"channels": 4, "heads": 2, "radial_width": 8}


class Suite(ModelSuite):
    settings: ClassVar[dict[str, object]]
    signature = SIGNATURE
    backend = "eager"

    def make(self, dtype: torch.dtype) -> nn.Module:
        s = self.signature
        return SE3Transformer(s.rep_in, s.rep_out, edge_features=s.edge_features, pool=s.pool, **(SMALL | self.settings)).to(dtype)

    def inputs(self, dtype: torch.dtype, lengths: Sequence[int]) -> dict[str, Tensor]:
        return self.signature.example(len(lengths), max(lengths), dtype=dtype, lengths=lengths)

    def beyond(self, module: nn.Module) -> Symmetry | None:
        """The kernels contain couplings that tell a cloud from its mirror image."""
        return None if module.config.parity else self.signature.symmetry(E(3) * S())


class TestDefaults(Suite):
    parameters = 11_816
    backend = "aot_eager"
    settings: ClassVar[dict[str, object]] = {}


class TestNearestNeighboursInSpace(Suite):
    settings: ClassVar[dict[str, object]] = {"neighbours": 2, "path": "cg", "keys": "tied", "attention": "per_degree"}


class TestContractedAtTheSender(Suite):
    settings: ClassVar[dict[str, object]] = {"neighbours": 2, "path": "sender", "attention": "per_degree"}


class TestRadiusWithSparseOptions(Suite):
    settings: ClassVar[dict[str, object]] = {
        "radius": 2.5,
        "basis": "bessel",
        "key_value_heads": "one",
        "relative_position": "cat",
        "channels": (4, 2, 2),
        "orders": 1,
    }


class TestDepthwise(Suite):
    settings: ClassVar[dict[str, object]] = {"kernel": "depthwise", "neighbours": 2, "channels": (4, 2, 2), "keys": "linear"}


class TestParity(Suite):
    settings: ClassVar[dict[str, object]] = {"parity": True, "nonlinearity": "norm", "skip": "sum", "final": "tfn", "degrees": 4}


class TestPooledAndPublishedParts(Suite):
    signature = PointClouds("3x0e + 2x1o", "3x0e", edge_features=2, pool="max")
    settings: ClassVar[dict[str, object]] = {
        "trunk": "per_pair",
        "path": "so2",
        "radial": "published",
        "basis": "distance",
        "nonlinearity": "norm_bias",
        "norm": "none",
        "interaction": "attentive",
        "relative_position": "add",
        "degrees": 2,
        "readout": 8,
    }

    def beyond(self, module: nn.Module) -> Symmetry | None:
        return None

    def test_derivatives_of_gradients_are_those_of_finite_differences(self) -> None:
        pytest.skip("the published ReLUs have kinks, between which second derivatives jump")


def test_the_contract_is_that_of_the_group_that_the_parity_allows() -> None:
    assert SE3Transformer("1x0e", "1x1o").symmetry.group == SE(3) * S()
    assert SE3Transformer("1x0e", "1x1o", parity=True).symmetry.group == E(3) * S()
