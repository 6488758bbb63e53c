"""Particles that move as a learned energy, or a learned field, tells them to.

Greydanus, Dzamba, Yosinski: Hamiltonian Neural Networks (2019); with a network for the potential alone, and trained through the integrator,
as in Finzi, Stanton, Izmailov, Wilson: LieConv (2020), section 6.3, and Hutchinson et al.: LieTransformer (2021), section 5.3.

Axes: b batch, n particles, d dimension of space, t times, f features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from torsor.errors import ShapeError, SignatureError
from torsor.groups import S, T
from torsor.nn.integrators import YOSHIDA, Method, State, Step, integrate, leapfrog, runge_kutta
from torsor.nn.noise import draw_noise
from torsor.nn.pooling import centroid
from torsor.representations import Permuted, Points, Trivial, Vectors
from torsor.symmetry import Actions, Symmetry


class Dynamics(nn.Module, ABC):
    """{"positions": q(t), "momenta": p(t)} from the state at the first time: what both ways to learn a motion share.

    The model sees positions relative to their centroid, so that every one conserves what follows from translations. Noise that it takes is
    drawn once and held fixed from the first time to the last: the field is then one field, whatever the number of steps.

    Args:
        model: a model over point clouds.
        substeps: integration steps from one time to the next, in training.
        evaluation_substeps: the same in evaluation mode, as many as in training if not given.
    """

    def __init__(self, model: nn.Module, substeps: int = 1, evaluation_substeps: int | None = None) -> None:
        super().__init__()
        contract = getattr(model, "symmetry", None)
        if not isinstance(contract, Symmetry):
            raise SignatureError(f"{type(model).__name__} has no contract: give a model with an attribute `symmetry`")
        self.model = model
        self.symmetry = self.contract(contract)
        self.substeps = (substeps, substeps if evaluation_substeps is None else evaluation_substeps)

    def forward(
        self,
        positions: Float[Tensor, "b n d"],
        momenta: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"],
        times: Float[Tensor, "b t"],
        mask: Bool[Tensor, "b n"] | None = None,
        **noise: Tensor,
    ) -> dict[str, Float[Tensor, "b t n d"]]:
        """The states at all times.

        Args:
            positions: at the first time.
            momenta: at the first time.
            features: of the particles; the first is the mass.
            times: increasing.
            mask: particles that are there.
            **noise: of the model.
        """
        substeps = self.substeps[0 if self.training else 1]
        q, p = integrate(self.step(features, mask, noise), positions, momenta, times, substeps)
        return {"positions": q, "momenta": p}

    @abstractmethod
    def step(self, features: Tensor, mask: Tensor | None, noise: Mapping[str, Tensor]) -> Step:
        """One step of the integrator, for these particles."""

    @abstractmethod
    def contract(self, symmetry: Symmetry) -> Symmetry:
        """The contract of the motion, from that of the model."""

    def draw(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The noise of the model."""
        cloud = {name: inputs[name] for name in ("positions", "features", "mask") if inputs.get(name) is not None}
        return draw_noise(self.model, cloud, generator)


class HamiltonianDynamics(Dynamics):
    """The flow of H(q, p) = sum_i |p_i|^2 / 2 m_i + V(q - centroid; features), with a model for V.

    dq/dt = p / m,  dp/dt = -dV/dq.

    H is conserved but for the error of the integrator. The total momentum is conserved whatever the model is, angular momentum where the
    model is exactly invariant under rotations.

    Args:
        model: a model over point clouds with one pooled output, `[b, 1]`.
        scale: what the model's output is multiplied by, so that V has its size where the output is about 1.
        method: "rk4" (order 4, four evaluations of the force a step), or one of the symplectic "leapfrog" (order 2, one evaluation) and
            "yoshida" (order 4, three evaluations), whose energy does not drift over long times.
        substeps: integration steps from one time to the next, in training.
        evaluation_substeps: the same in evaluation mode, as many as in training if not given.

    Raises:
        SignatureError: the model has no contract.
    """

    def __init__(
        self, model: nn.Module, scale: float = 1.0, method: Method = "rk4", substeps: int = 1, evaluation_substeps: int | None = None
    ) -> None:
        super().__init__(model, substeps, evaluation_substeps)
        self.scale, self.method = scale, method

    def contract(self, symmetry: Symmetry) -> Symmetry:
        """What moves points turns momenta, what permutes points permutes both."""
        actions = _each(symmetry.inputs["positions"])
        momenta = tuple(Vectors() if isinstance(action, Points) else action for action in actions)
        return _flow(symmetry, actions, momenta, symmetry.inputs["features"])

    def potential(
        self,
        positions: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"],
        mask: Bool[Tensor, "b n"] | None = None,
        **noise: Tensor,
    ) -> Float[Tensor, "b"]:
        """The learned V."""
        energy = self.model(positions - centroid(positions, mask), features, None, mask, **noise)
        if energy.shape != (len(positions), 1):
            raise ShapeError(f"the model returned {list(energy.shape)}: build it with rep_out='1x0e' and a pool, which gives [b, 1]")
        potential: Tensor = self.scale * energy.squeeze(-1)
        return potential

    def energy(
        self,
        positions: Float[Tensor, "b n d"],
        momenta: Float[Tensor, "b n d"],
        features: Float[Tensor, "b n f"],
        mask: Bool[Tensor, "b n"] | None = None,
        **noise: Tensor,
    ) -> Float[Tensor, "b"]:
        """The learned H."""
        kinetic: Tensor = (momenta.square() / (2 * _masses(features, mask))).sum((1, 2))
        return kinetic + self.potential(positions, features, mask, **noise)

    def step(self, features: Tensor, mask: Tensor | None, noise: Mapping[str, Tensor]) -> Step:
        """One step of the chosen method."""
        inverse_masses = 1 / _masses(features, mask)

        def velocity(p: Tensor) -> Tensor:
            return p * inverse_masses

        # torch.func takes the gradient whatever the grad mode outside is, and leaves it differentiable where that mode is on
        gradient = torch.func.grad(lambda q: self.potential(q, features, mask, **noise).sum())

        def force(q: Tensor) -> Tensor:
            return torch.neg(gradient(q))

        if self.method == "rk4":
            return runge_kutta(lambda q, p: (velocity(p), force(q)))
        return leapfrog(velocity, force, YOSHIDA if self.method == "yoshida" else (1.0,))


class DirectDynamics(Dynamics):
    """The flow of a field that a model returns as it is, without an energy: the control that tells what the Hamiltonian form is worth.

    (dq_i/dt, dp_i/dt) = f_i(q - centroid; features, p), integrated by the Runge-Kutta method of order 4.

    Translations and permutations are kept whatever the model promises about rotations: momenta are fed, and derivatives read, component by
    component.

    Args:
        model: a model over point clouds with features (features, p) and 2 d scalars for every point.
        scales: what the two derivatives are multiplied by, so that they have their size where the output is about 1.
        substeps: integration steps from one time to the next, in training.
        evaluation_substeps: the same in evaluation mode, as many as in training if not given.
        dimension: d.

    Raises:
        SignatureError: the model has no contract.
    """

    def __init__(
        self,
        model: nn.Module,
        scales: tuple[float, float] = (1.0, 1.0),
        substeps: int = 1,
        evaluation_substeps: int | None = None,
        dimension: int = 2,
    ) -> None:
        self.scales, self.dimension = scales, dimension
        super().__init__(model, substeps, evaluation_substeps)

    def contract(self, symmetry: Symmetry) -> Symmetry:
        """Translations, which the centroid takes out, and the model's permutations."""
        i = next((i for i, factor in enumerate(symmetry.factors) if isinstance(factor, S)), None)
        if i is None:
            alone = replace(symmetry, group=T(self.dimension), inputs=dict.fromkeys(symmetry.inputs, Trivial()), output=Trivial())
            return _flow(alone, (Points(),), (Vectors(),), Trivial())
        places = {name: (Trivial(), _each(actions)[i]) for name, actions in symmetry.inputs.items()}
        group = T(self.dimension) * symmetry.factors[i]
        permuting = replace(symmetry, group=group, inputs=places, output=(Trivial(), Trivial()))
        return _flow(permuting, (Points(), places["positions"][1]), (Vectors(), places["positions"][1]), places["features"])

    def step(self, features: Tensor, mask: Tensor | None, noise: Mapping[str, Tensor]) -> Step:
        """One step of the Runge-Kutta method."""

        def field(q: Tensor, p: Tensor) -> State:
            output = self.model(q - centroid(q, mask), torch.cat((features, p), -1), None, mask, **noise)
            if output.shape != (*q.shape[:2], 2 * q.shape[2]):
                raise ShapeError(f"the model returned {list(output.shape)}: build it for {2 * q.shape[2]} scalars a point, without a pool")
            velocity, force = output.chunk(2, -1)
            return self.scales[0] * velocity, self.scales[1] * force

        return runge_kutta(field)

    def draw(self, inputs: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The noise of the model."""
        return super().draw({**inputs, "features": torch.cat((inputs["features"], inputs["momenta"]), -1)}, generator)


def _masses(features: Tensor, mask: Tensor | None) -> Float[Tensor, "b n 1"]:
    """The first feature; 1 where there is no particle."""
    masses = features[..., :1]
    return masses if mask is None else masses.where(mask[..., None], 1)


def _flow(symmetry: Symmetry, positions: tuple[Any, ...], momenta: tuple[Any, ...], features: Actions) -> Symmetry:
    """The contract with these actions on what goes in, and the same on trajectories, which have times before places."""
    later = {"positions": tuple(map(_after_times, positions)), "momenta": tuple(map(_after_times, momenta))}
    inputs = {**symmetry.inputs, "positions": _one(positions), "momenta": _one(momenta), "features": features}
    return replace(symmetry, inputs=inputs, output={name: _one(actions) for name, actions in later.items()})


def _after_times(action: Any) -> Any:
    return Permuted(2) if isinstance(action, Permuted) else action


def _each(actions: Actions) -> tuple[Any, ...]:
    return actions if isinstance(actions, tuple) else (actions,)


def _one(actions: tuple[Any, ...]) -> Actions:
    return actions if len(actions) > 1 else actions[0]
