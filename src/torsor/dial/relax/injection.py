"""How fixed inputs enter a model: beside its features, or added to them, through its contract and for every family of signatures.

The *joint* statement holds exactly, pi(g x; g t) = g pi(x; t): a model is equivariant in data and fixed inputs together. Since the fixed
inputs stay where they are when the data move, it is not in the data alone. `WithFixedInputs.joint` is the contract of that statement.

Axes: b batch, t fixed inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torsor.dial.relax.base import Relaxed, beside
from torsor.dial.relax.fixed_inputs import FixedSource
from torsor.errors import ConfigError, SignatureError
from torsor.representations import Action, Irreps, Representation, Trivial
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds
from torsor.symmetry import Actions, Symmetry

Injection = Literal["concat", "add"]
Signature = PointClouds | Particles | Graphs | FeatureVectors


@dataclass(frozen=True)
class Port:
    """Where fixed inputs enter a model.

    Args:
        places: the argument of `forward` that says where the places are.
        into: the argument that the fixed inputs join.
        axis: the axis of channels of that argument.
    """

    places: str
    into: str
    axis: int = -1


PORTS: Mapping[type, Port] = {
    PointClouds: Port("positions", "features"),
    Particles: Port("momenta", "scalars"),
    Graphs: Port("adjacency", "features"),
    FeatureVectors: Port("x", "x"),
}
"""The port of each family of signatures."""


class WithFixedInputs(Relaxed):
    """pi(x; t): a model that is fed fixed inputs t besides its data x.

    "concat": the model was built for features with the fixed inputs behind them; the strict branch sees zeros there. "add": the model is
    fed features + t, and the strict branch is the model itself, bit by bit.

    Args:
        module: the model.
        source: the fixed inputs.
        port: where they enter.
        injection: how.
        rep_own: how the features of the relaxed model transform; None where there are none.
        rep_fixed: how the fixed inputs transform in the joint statement.
        penalty: weight of the mean square of the fixed inputs in the loss.

    Raises:
        GroupError: the model has no contract.
    """

    def __init__(
        self,
        module: nn.Module,
        source: FixedSource,
        port: Port,
        injection: Injection,
        rep_own: Representation | None,
        rep_fixed: Representation,
        penalty: float = 0.0,
    ) -> None:
        contract: Symmetry = module.symmetry  # type: ignore[assignment]
        full = contract.inputs.get(port.into)
        inputs = dict(contract.inputs)
        if injection == "concat" and full is not None:
            inputs[port.into] = _acting(full, rep_own or Trivial(0))
        if rep_own is None and port.into != port.places:
            inputs.pop(port.into, None)
        super().__init__(module, source.strength, replace(contract, inputs=inputs), ("keep",))
        self.source = beside(module, source)
        self.port, self.injection, self.penalty_weight = port, injection, penalty
        self._fixed_actions = None if full is None else _acting(full, rep_fixed)
        self._size: Tensor | None = None

    @property
    def joint(self) -> Symmetry:
        """The contract of the joint statement: as exact as the model, in data and in the values `fixed` of the fixed inputs together."""
        actions: dict[str, Actions] = {} if self._fixed_actions is None else {"fixed": self._fixed_actions}
        return replace(self.kept, inputs={**self.kept.inputs, **actions})

    def forward(
        self, *args: Any, fixed: Float[Tensor, "b *_rest"] | None = None, keep: Float[Tensor, "b"] | None = None, **kwargs: Any
    ) -> Any:
        """The output of the model.

        Args:
            args: arguments of the model.
            fixed: values of the fixed inputs at the places, in the stead of those that belong there.
            keep: 0 for the items of the batch that get none; None keeps all.
            kwargs: arguments of the model.
        """
        inputs = self.named(args, kwargs)
        values = self.fixed(inputs, keep) if fixed is None else fixed
        if self.training and self.penalty_weight and self.freedom:
            self._size = values.square().mean()
        return self.module(**self._injected(inputs, values))

    def fixed(self, inputs: Mapping[str, Any], keep: Float[Tensor, "b"] | None = None) -> Float[Tensor, "b *_rest"]:
        """Values of the fixed inputs at the places of these inputs.

        Args:
            inputs: arguments of the model by name.
            keep: 0 for the items of the batch that get none; None keeps all.
        """
        found: Tensor = self.source(inputs[self.port.places], keep, inputs.get("mask"))
        return found

    def penalty(self) -> Float[Tensor, ""] | None:
        """The weighted mean square of the fixed inputs of the last call in training mode, asked once."""
        size, self._size = self._size, None
        return None if size is None else self.penalty_weight * size

    def fed(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inputs with the fixed ones among them."""
        with torch.no_grad():
            return self._injected(inputs, self.fixed(inputs))

    def draw_own(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """Which items of the batch keep their fixed inputs."""
        return {"keep": self.source.draw(inputs[self.port.places], generator)} if self.source.dropout else {}

    def _injected(self, inputs: Mapping[str, Any], values: Tensor) -> dict[str, Any]:
        """The inputs of the model."""
        given = inputs.get(self.port.into)
        if self.injection == "add":
            return dict(inputs) if self.freedom == 0 or given is None else {**inputs, self.port.into: given + values}
        joined = values if given is None else torch.cat((given, values), self.port.axis)
        return {**inputs, self.port.into: joined}


def _acting(actions: Actions, rep: Representation) -> Actions:
    """The actions with another representation where they are linear; what moves places stays."""
    if isinstance(actions, tuple):
        return tuple(_one_acting(action, rep) for action in actions)
    return _one_acting(actions, rep)


def _one_acting(action: Action, rep: Representation) -> Action:
    if isinstance(action, Trivial):
        return Trivial(rep.dim)
    return rep if isinstance(action, Representation) else action


def fixed_representation(signature: Signature, inputs: int | None = None, vectors: int = 0, parity: str = "o") -> Representation:
    """How fixed inputs beside the features of a signature transform in the joint statement.

    Args:
        signature: what the relaxed model is fed.
        inputs: invariant fixed inputs of a place, 8 if not given; for feature vectors copies of `rep_in`, 1 if not given.
        vectors: fixed vectors of a place, for point clouds in space.
        parity: "o" for vectors that reflections turn, "e" for axes.

    Raises:
        SignatureError: the family has no vectors.
    """
    if vectors and not (isinstance(signature, PointClouds) and signature.dimension == 3):
        raise SignatureError(f"{signature} has no fixed vectors: give vectors=0")
    if inputs is None:
        inputs = 1 if isinstance(signature, FeatureVectors) else 8
    if isinstance(signature, PointClouds):
        return Irreps([(count, irrep) for count, irrep in ((inputs, "0e"), (vectors, f"1{parity}")) if count])
    return (inputs * signature.rep_in).on(signature.group) if isinstance(signature, FeatureVectors) and inputs else Trivial(inputs)


def extended(signature: Signature, fixed: Representation) -> Signature:
    """The signature of the model inside: with fixed inputs behind the features.

    Args:
        signature: what the relaxed model is fed.
        fixed: how the fixed inputs transform, see `fixed_representation`.
    """
    if fixed.dim == 0:
        return signature
    if isinstance(signature, PointClouds):
        assert isinstance(fixed, Irreps)
        return replace(signature, rep_in=Irreps((*signature.rep_in, *fixed)))
    if isinstance(signature, Particles):
        return replace(signature, scalars_in=signature.scalars_in + fixed.dim)
    if isinstance(signature, Graphs):
        return replace(signature, node_features=signature.node_features + fixed.dim)
    return replace(signature, rep_in=signature.rep_in + fixed)


def own_representation(signature: Signature) -> Representation | None:
    """How the features of a signature transform; None where there are none."""
    if isinstance(signature, Particles):
        return Trivial(signature.scalars_in) if signature.scalars_in else None
    if isinstance(signature, Graphs):
        return Trivial(signature.node_features) if signature.node_features else None
    return signature.rep_in if signature.rep_in.dim else None


def port_of(signature: object) -> Port:
    """Where fixed inputs enter models of a signature.

    Raises:
        ConfigError: its family has no place for them.
    """
    if type(signature) not in PORTS:
        raise ConfigError(f"{signature} has no place for fixed inputs: give a module of {', '.join(kind.__name__ for kind in PORTS)}")
    return PORTS[type(signature)]
