"""The cloned network as an entry of the registry: a model, what imitates it, and how much of its symmetry training may undo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from torsor.config import Settings, named_from_mapping, named_to_mapping
from torsor.dial.clone.anchors import AnchorSettings
from torsor.dial.clone.cloning import remembered_clone, seeded
from torsor.dial.clone.laws import Examples
from torsor.dial.clone.loop import CloneSettings
from torsor.dial.clone.network import PLANS, ClonedNetwork, Regime, layer_laws, layer_teachers
from torsor.dial.clone.students import STUDENTS, StudentConfig
from torsor.errors import ConfigError
from torsor.models import REGISTRY
from torsor.models.equivariant_mlp import EquivariantMLP
from torsor.signatures import FeatureVectors, Particles, PointClouds, check_family

STRICT: Mapping[type, dict[str, Any]] = {
    FeatureVectors: {"name": "equivariant-mlp", "channels": 4},
    PointClouds: {"name": "egnn"},
    Particles: {"name": "lgatr-slim"},
}
"""What is imitated in each family where no model is named. Few channels: a student has to learn every product of an x and a tau."""
PLAIN: Mapping[type, str] = {FeatureVectors: "mlp", PointClouds: "mlp", Particles: "transformer"}
"""The plain network of each family that whole models are distilled into."""

Signature = FeatureVectors | PointClouds | Particles


@dataclass(frozen=True)
class ClonedConfig(Settings):
    """Settings of a cloned network.

    On feature vectors the linear layers of an `EquivariantMLP` are cloned one by one and all regimes are there. Any other model is
    distilled as a whole, with the parameters that it starts with, into a plain model; it has the regimes "exact", "break" and "scratch".

    Args:
        model: name and settings of the equivariant model; that of the family if not given.
        student: name and settings of what imitates it: one of `STUDENTS` for layers, a registered plain model for whole models.
        regime: "exact" trains the equivariant layers themselves; "retain" trains the taus of frozen clones; "break" trains the clones too;
            "anchored" holds them; "scratch" has the same network with random weights; "augment" moves its inputs besides.
        cloning: how the students are trained to imitate.
        anchor: how "anchored" holds.
        rate_factor: learning rate of the clones' weights over that of the taus.
        prior: weight of the prior that keeps the taus where the clones were trained.
        points: places of the random clouds that a model is distilled on, where the signature does not bound them.
        directory: where clones are kept, so that the arms of a study clone once; in memory alone if it is empty.
    """

    families: ClassVar[tuple[type, ...]] = (FeatureVectors, PointClouds, Particles)
    model: dict[str, Any] = field(default_factory=dict)
    student: dict[str, Any] = field(default_factory=dict)
    regime: Regime = "break"
    cloning: CloneSettings = field(default_factory=CloneSettings)
    anchor: AnchorSettings = field(default_factory=AnchorSettings)
    rate_factor: float = 0.1
    prior: float = 0.0
    points: int = 8
    directory: str = ""

    def build(self, signature: Signature) -> nn.Module:
        """The network for a task's signature; clones its layers first, unless that has been done before.

        Raises:
            ConfigError: the regime is not there for whole models.
            SignatureError: the model cannot serve the signature.
        """
        model = _registered(self.model or STRICT[type(signature)], signature).build(signature)
        return self._cloned(model) if isinstance(model, EquivariantMLP) else self._distilled(model, signature)

    def _cloned(self, model: EquivariantMLP) -> ClonedNetwork:
        """The model with clones in the place of its linear layers."""
        teachers, start = layer_teachers(model), PLANS[self.regime].start
        laws = layer_laws(model, teachers, seed=self.cloning.seed) if start == "clone" else {}
        config: StudentConfig = named_from_mapping(STUDENTS, {"name": "mlp", **self.student}, "student")
        # drawn in every regime, so that the taus that follow are the same in all arms of a seed
        seed = int(torch.randint(2**31, ()))
        students: dict[str, nn.Module] = {}
        for place, (slot, teacher) in enumerate(teachers.items() if start != "teacher" else ()):
            build = partial(config.build, teacher.sizes)
            if start == "random":
                students[slot] = seeded(build, seed + place)
                continue
            named = named_to_mapping(STUDENTS, config)
            students[slot] = remembered_clone(teacher, build, named, law=laws[slot], settings=self.cloning, directory=self._directory)
        return ClonedNetwork(
            model, teachers, students, laws, self.regime, rate_factor=self.rate_factor, anchor=self.anchor, prior=self.prior
        )

    def _distilled(self, model: nn.Module, signature: Signature) -> nn.Module:
        """A plain model that imitates the whole model, or one of the two as it is."""
        if self.regime == "exact":
            return model
        if self.regime not in ("break", "scratch"):
            raise ConfigError(f"a whole model has no regime {self.regime!r}: give 'exact', 'break' or 'scratch'")
        plain = self.student or {"name": PLAIN[type(signature)]}
        config = _registered(plain, signature)
        if self.regime == "scratch":
            student: nn.Module = config.build(signature)
            return student
        law = Examples(signature, **self._places(signature))
        return remembered_clone(
            model, partial(config.build, signature), dict(plain), law=law, settings=self.cloning, directory=self._directory
        )

    def _places(self, signature: Signature) -> dict[str, int]:
        """How many points the random clouds have."""
        if isinstance(signature, FeatureVectors):
            return {}
        count = getattr(signature, "points", None) or self.points
        return {"points" if isinstance(signature, PointClouds) else "particles": count}

    @property
    def _directory(self) -> Path | None:
        return Path(self.directory) if self.directory else None


def _registered(mapping: Mapping[str, Any], signature: Signature) -> Any:
    """The settings of a registered model that serves the signature."""
    config = named_from_mapping(REGISTRY, mapping, "cloned model")
    check_family(mapping["name"], config, signature, REGISTRY)
    return config
