"""A symmetrised network as a registered model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torsor import groups
from torsor.config import Settings
from torsor.dial.symmetrize.choice import Method, unsettled
from torsor.dial.symmetrize.corrections import Corrections, Signature, registered
from torsor.dial.symmetrize.learned import LearnedConfig
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.straight_through import Relaxation
from torsor.dial.symmetrize.verb import symmetrize
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds
from torsor.symmetry import Symmetry


@dataclass(frozen=True)
class SymmetrizedConfig(Settings):
    """Settings of a symmetrised network.

    Args:
        model: name and settings of the network; a plain one of the family if not given.
        method: where group elements come from, see `symmetrize`.
        group: the group, such as "O(3) x S()"; that of the signature if empty, for particles "SO(3) x S()".
        samples: elements in training mode.
        evaluation_samples: elements in evaluation mode.
        max_batch: items that go through the network at once; all if not given.
        antithetic: uniform draws in pairs g and -g.
        stratified: uniform draws of turned copies of a finite subgroup.
        law: settings of a learned law.
        network: "symdiff": name and settings of the correcting network; the same kind as `model` if not given.
        prior: weight of the penalty that keeps elements near the identity.
        relaxation: "straight-through", or "soft" as a control.
        fixed_noise: hold the noise the same in every call, as a control.
        seed: of the noise of a call that brings none.
    """

    families: ClassVar[tuple[type, ...]] = (PointClouds, Particles, Graphs, FeatureVectors)
    model: dict[str, Any] = field(default_factory=dict)
    method: Method = "auto"
    group: str = ""
    samples: int = 2
    evaluation_samples: int = 10
    max_batch: int | None = None
    antithetic: bool = False
    stratified: bool = False
    law: LearnedConfig = field(default_factory=LearnedConfig)
    network: dict[str, Any] = field(default_factory=dict)
    prior: float = 0.0
    relaxation: Relaxation = "straight-through"
    fixed_noise: bool = False
    seed: int = 0

    def build(self, signature: Signature) -> Symmetrized:
        """The symmetrised network for a task's signature.

        Raises:
            GroupError: the method does not go with the group.
            SignatureError: the network cannot serve the signature.
        """
        base = registered(self.model, signature)
        symmetry = self._contract(signature)
        moving = unsettled(symmetry, getattr(base, "symmetry", None))
        corrects = self.method == "symdiff"
        return symmetrize(
            base,
            symmetry,
            self.method,
            samples=self.samples,
            evaluation_samples=self.evaluation_samples,
            max_batch=self.max_batch,
            antithetic=self.antithetic,
            stratified=self.stratified,
            signature=signature,
            law=self.law,
            network=Corrections(self.network or self.model, signature, symmetry, moving) if corrects else None,
            prior=self.prior,
            relaxation=self.relaxation,
            fixed_noise=self.fixed_noise,
            seed=self.seed,
        )

    def _contract(self, signature: Signature) -> Symmetry:
        """The contract that is wanted."""
        name = self.group or ("SO(3) x S()" if isinstance(signature, Particles) else "")
        return signature.symmetry(groups.parse(name) if name else None)
