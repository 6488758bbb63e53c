"""The arms of a study: ways to have a symmetry, or not, that are trained alike and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from torsor.config import Settings, named_from_mapping
from torsor.dial import Conjugated, squeeze
from torsor.signatures import PointClouds


@dataclass(frozen=True)
class Arm:
    """One way to have a symmetry.

    Args:
        name: what settings and figures call it.
        summary: what it is, for a reader who has not seen the settings.
        model: which of the study's two models it trains.
        augment: whether each training sample is moved by a random group element every time it is seen.
        dial: what is made of that model: "wrong-group", or the registered "symmetrized", "relaxed" or "cloned"; empty for nothing.
        averages: the arm whose weights it uses with an orbit average at test time; empty for an arm that is trained.
    """

    name: str
    summary: str
    model: Literal["strict", "plain"]
    augment: bool = False
    dial: Literal["", "wrong-group", "symmetrized", "relaxed", "cloned"] = ""
    averages: str = ""


ARMS = {
    arm.name: arm
    for arm in (
        Arm("strict", "the symmetry is built into the network", "strict"),
        Arm("relaxed", "as strict, with a way around the symmetry that training may use", "strict", dial="relaxed"),
        Arm("symmetrized", "a plain network, averaged over group elements that are drawn for each sample", "plain", dial="symmetrized"),
        Arm("cloned", "a plain network that has learned to imitate an untrained strict one before it sees data", "strict", dial="cloned"),
        Arm("augmented", "a plain network, trained on randomly moved samples", "plain", augment=True),
        Arm(
            "augmented+tta",
            "the same weights, averaged over random group elements at test time",
            "plain",
            augment=True,
            averages="augmented",
        ),
        Arm("plain", "a plain network, trained on the samples as they are", "plain"),
        Arm("wrong-group", "control: as strict, but about a group the data do not have", "strict", dial="wrong-group"),
    )
}
"""Every arm by name, in the order of figures."""


@dataclass(frozen=True)
class WrongGroupConfig(Settings):
    """Settings of the wrong-group control: a model, conjugated by a squeeze.

    Args:
        model: name and settings of the equivariant model.
        strength: the s of diag(s, 1, 1/s).
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds,)
    model: dict[str, Any]
    strength: float = 1.5

    def build(self, signature: PointClouds) -> nn.Module:
        """Make the model for a signature.

        Raises:
            RepresentationError: the signature has features of degree 2 or more.
        """
        from torsor.models import REGISTRY

        return Conjugated(named_from_mapping(REGISTRY, self.model, "wrong-group model").build(signature), squeeze(self.strength))
