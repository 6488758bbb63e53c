"""The arms of a study: ways to have a symmetry, or not, that are trained alike and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import nn

from torsor.config import Settings, named_from_mapping
from torsor.dial import Conjugated, squeeze
from torsor.errors import ConfigError, unknown_name
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
        settings: what a variant sets differently from the arm that it is one of.
    """

    name: str
    summary: str
    model: Literal["strict", "plain"]
    augment: bool = False
    dial: Literal["", "wrong-group", "symmetrized", "relaxed", "cloned"] = ""
    averages: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def has_table(self) -> bool:
        """Whether the study has a table of settings for it besides its model's: then a variant changes that table and not the model's."""
        return self.dial not in ("", "wrong-group")


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


def with_variants(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, Arm]:
    """All arms, each with its variants behind it.

    Args:
        variants: name -> the arm that it is a variant of, `of`, and what it sets differently.

    Raises:
        ConfigError: a variant has the name of an arm, or does not say what it is a variant of.
        UnknownNameError: there is no such arm that is trained.
    """
    trained = {name: arm for name, arm in ARMS.items() if not arm.averages}
    for name, table in variants.items():
        if name in ARMS or "of" not in table:
            raise ConfigError(
                f'variants has {name} = {dict(table)}: give a name of its own and of = "ARM", the arm that it is a variant of'
            )
        if table["of"] not in trained:
            raise unknown_name("arm", str(table["of"]), trained)
    found: dict[str, Arm] = {}
    for arm in ARMS.values():
        found[arm.name] = arm
        found |= {name: _variant(name, arm, table) for name, table in variants.items() if table["of"] == arm.name}
    return found


def _variant(name: str, arm: Arm, table: Mapping[str, Any]) -> Arm:
    changes = {key: value for key, value in table.items() if key != "of"}
    said = ", ".join(f"{key} {value}" for key, value in changes.items())
    return replace(arm, name=name, summary=f"{arm.name} with {said}" if said else f"{arm.name} again", settings=changes)


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
