"""What a learned motion keeps: its energy, momentum, angular momentum, its contract, and the noise it was given."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torsor.check import assert_equivariant, equivariance_error
from torsor.data.springs import draw_springs, spring_potential, spring_states
from torsor.errors import ShapeError, SignatureError
from torsor.groups import E, S, T
from torsor.models import EGNN, MLP, SetTransformer, Transformer
from torsor.nn.hamiltonian import DirectDynamics, HamiltonianDynamics
from torsor.nn.noise import with_noise
from torsor.representations import Permuted, Points, Trivial, Vectors
from torsor.signatures import PointClouds
from torsor.symmetry import Symmetry

SIGNATURE = PointClouds("2x0e", "1x0e", pool="mean", points=4, dimension=2)
SETTINGS: dict[type, dict[str, Any]] = {
    EGNN: {"hidden": 8, "layers": 2},
    Transformer: {"width": 8, "heads": 2, "layers": 1, "output_scale": 1.0},
    SetTransformer: {"width": 8, "heads": 2, "encoder_layers": 1, "activation": "gelu"},
    MLP: {"hidden": 16, "layers": 1, "points": 4, "output_scale": 1.0},
}
MOTION = E(2) * S()
STATES = {"positions": (Points(), Permuted(2)), "momenta": (Vectors(), Permuted(2))}
INPUTS = {"positions": (Points(), Permuted(1)), "momenta": (Vectors(), Permuted(1)), "features": (Trivial(), Permuted(1))}


class Springs(nn.Module):
    """The true potential."""

    def __init__(self) -> None:
        super().__init__()
        self.symmetry = SIGNATURE.symmetry(E(2) * S())

    def forward(self, positions: Tensor, features: Tensor, edge_features: None = None, mask: None = None) -> Tensor:
        return spring_potential(positions, features)[:, None]


class Shaken(nn.Module):
    """A potential with a random strength, drawn for each particle."""

    def __init__(self) -> None:
        super().__init__()
        contract = SIGNATURE.symmetry(E(2) * S(), "coupled")
        self.symmetry = Symmetry(contract.group, {**contract.inputs, "strength": (Trivial(), Permuted(1))}, contract.output, "coupled")
        self.calls: list[Tensor] = []

    def forward(
        self, positions: Tensor, features: Tensor, edge_features: None = None, mask: None = None, strength: Tensor | None = None
    ) -> Tensor:
        strength = torch.ones_like(positions[..., 0]) if strength is None else strength
        self.calls.append(strength)
        return (strength * positions.square().sum(-1)).sum(-1, keepdim=True)

    def draw(self, inputs: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        assert set(inputs) == {"positions", "features"}
        return {"strength": 1 + torch.rand(inputs["features"].shape[:2], generator=generator, dtype=torch.float64)}


def build(kind: type[nn.Module], direct: bool = False, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    rep_in, rep_out, pool = ("4x0e", "4x0e", None) if direct else ("2x0e", "1x0e", "mean")
    model = kind(rep_in, rep_out, pool=pool, dimension=2, **SETTINGS[kind]).double()
    return (DirectDynamics if direct else HamiltonianDynamics)(model, **settings).double()


def example(duration: float = 0.2, times: int = 2, batch: int = 2) -> dict[str, Tensor]:
    systems = draw_springs(batch, 4, torch.Generator().manual_seed(1))
    grid = torch.linspace(0, duration, times, dtype=torch.float64).expand(batch, -1)
    return {"positions": systems.positions, "momenta": systems.momenta, "features": systems.features, "times": grid}


def angular_momentum(states: Mapping[str, Tensor]) -> Tensor:
    q, p = states["positions"], states["momenta"]
    return (q[..., 0] * p[..., 1] - q[..., 1] * p[..., 0]).sum(-1)


@pytest.mark.parametrize(("method", "error"), [("rk4", 1e-6), ("leapfrog", 1e-3), ("yoshida", 1e-6)])
def test_the_true_potential_moves_particles_as_the_closed_form_does(method: str, error: float) -> None:
    inputs = example(0.2, 3)
    found = HamiltonianDynamics(Springs(), method=method, substeps=40)(**inputs)
    systems = draw_springs(2, 4, torch.Generator().manual_seed(1))
    expected = spring_states(systems, inputs["times"])
    for name, states in zip(("positions", "momenta"), expected, strict=True):
        torch.testing.assert_close(found[name], states, rtol=0, atol=error)


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_learned_energy_does_not_change_along_its_exact_flow(kind: type[nn.Module]) -> None:
    """dH/dt = dH/dq dq/dt + dH/dp dp/dt = 0, and the integrator's drift falls below 1e-10 per unit of time."""
    module, inputs = build(kind, scale=20.0, substeps=25), example(0.05)
    states = module(**inputs)
    energies = [module.energy(states["positions"][:, t], states["momenta"][:, t], inputs["features"]) for t in (0, 1)]
    assert ((energies[1] - energies[0]).abs() / 0.05).max() < 1e-10
    # the potential has done work
    potentials = [module.potential(states["positions"][:, t], inputs["features"]) for t in (0, 1)]
    assert (potentials[1] - potentials[0]).abs().min() > 1e-6


@pytest.mark.parametrize("method", ["rk4", "leapfrog", "yoshida"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_total_momentum_is_conserved_by_every_potential(kind: type[nn.Module], method: str) -> None:
    states = build(kind, scale=20.0, method=method)(**example())
    assert (states["momenta"] - states["momenta"][:, :1]).abs().max() > 1e-3
    assert (states["momenta"].sum(2) - states["momenta"][:, :1].sum(2)).abs().max() < 1e-10


@pytest.mark.parametrize("method", ["leapfrog", "yoshida"])
def test_angular_momentum_is_conserved_by_an_invariant_potential_alone(method: str) -> None:
    """Symplectic steps keep it without error, since it is a bilinear function of the state."""
    for kind, conserved in ((EGNN, True), (Transformer, False)):
        change = angular_momentum(build(kind, scale=100.0, method=method)(**example())).diff(dim=1).abs().max()
        assert change < 1e-10 if conserved else change > 1e-4


def test_angular_momentum_of_the_runge_kutta_method_falls_with_the_step() -> None:
    coarse, fine = (angular_momentum(build(EGNN, scale=100.0, substeps=n)(**example())).diff(dim=1).abs().max() for n in (4, 8))
    assert coarse / fine > 20


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("kind", [EGNN, Transformer, SetTransformer])
def test_contract_is_kept(kind: type[nn.Module], direct: bool) -> None:
    module = build(kind, direct)
    assert_equivariant(module, example(), 1e-10, samples=1)
    if direct:
        assert module.symmetry.group == T(2) * S()


def test_motion_of_an_invariant_potential_turns_with_the_state_and_the_direct_one_does_not() -> None:
    contract = Symmetry(MOTION, INPUTS, STATES)
    assert equivariance_error(build(EGNN), example(), contract, samples=1).max_relative < 1e-10
    assert equivariance_error(build(EGNN, direct=True), example(), contract, samples=1).max_relative > 1e-3


def test_translations_are_kept_by_models_that_do_not_know_them() -> None:
    """The centroid is taken out before the model sees anything."""
    inputs = example()
    for direct in (False, True):
        module = build(MLP, direct)
        moved = module(**{**inputs, "positions": inputs["positions"] + 7.0})
        still = module(**inputs)
        torch.testing.assert_close(moved["positions"], still["positions"] + 7.0, rtol=0, atol=1e-12)
        torch.testing.assert_close(moved["momenta"], still["momenta"], rtol=0, atol=1e-12)


def test_noise_is_drawn_once_and_held_fixed_through_a_rollout() -> None:
    module = HamiltonianDynamics(Shaken(), substeps=40)
    inputs = with_noise(module, example(1.0), torch.Generator().manual_seed(3))
    states = module(**inputs)
    assert len(module.model.calls) == 40 * 4
    assert all(torch.equal(strength, inputs["strength"]) for strength in module.model.calls)
    energies = [
        module.energy(states["positions"][:, t], states["momenta"][:, t], inputs["features"], strength=inputs["strength"]) for t in (0, 1)
    ]
    torch.testing.assert_close(energies[0], energies[-1], rtol=1e-6, atol=0)
    other = module(**with_noise(module, example(1.0), torch.Generator().manual_seed(4)))
    assert (other["positions"] - states["positions"]).abs().max() > 1e-3
    assert_equivariant(HamiltonianDynamics(Shaken()), inputs, 1e-10, samples=2)


def test_direct_motion_feeds_momenta_to_whoever_draws_noise() -> None:
    class Drawing(Transformer):
        def draw(self, inputs: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            assert inputs["features"].shape == (2, 4, 4)
            return {"lift": inputs["features"][..., :1]}

    module = DirectDynamics(Drawing("4x0e", "4x0e", dimension=2, width=8, heads=2, layers=1).double())
    assert set(with_noise(module, example(), torch.Generator())) == {"positions", "momenta", "features", "times", "lift"}


def test_evaluation_may_take_finer_steps_than_training() -> None:
    module, inputs = build(Transformer, scale=100.0, substeps=1, evaluation_substeps=50), example()
    fine = build(Transformer, scale=100.0, substeps=50)(**inputs)["positions"]
    coarse = module.train()(**inputs)["positions"]
    torch.testing.assert_close(module.eval()(**inputs)["positions"], fine, rtol=0, atol=1e-13)
    assert (coarse - fine).abs().max() > 1e-9


def test_motion_needs_no_grad_mode_and_trains_its_parameters() -> None:
    module, inputs = build(Transformer), example()
    expected = module(**inputs)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            found = module(**inputs)
            assert not found["momenta"].requires_grad
            torch.testing.assert_close(found, {name: x.detach() for name, x in expected.items()}, rtol=0, atol=1e-14)
    weight = module.model.output.weight
    (gradient,) = torch.autograd.grad(expected["positions"].square().sum(), weight)
    step, sides = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0] += sign * step
            sides.append(module(**inputs)["positions"].square().sum().item())
            weight[0, 0] -= sign * step
    assert gradient[0, 0].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("direct", [False, True])
def test_particles_that_are_not_there_change_nothing(direct: bool) -> None:
    module, inputs = build(Transformer, direct), example()
    expected = module(**inputs)
    padded = {name: x if name == "times" else torch.cat((x, torch.zeros_like(x[:, :1])), 1) for name, x in inputs.items()}
    found = module(**padded, mask=torch.tensor([[True] * 4 + [False]] * 2))
    torch.testing.assert_close({name: x[:, :, :4] for name, x in found.items()}, expected, rtol=0, atol=1e-12)
    assert all(x.isfinite().all() for x in found.values())


def test_models_of_the_wrong_form_are_refused() -> None:
    with pytest.raises(SignatureError, match="Linear has no contract"):
        HamiltonianDynamics(nn.Linear(2, 1))
    with pytest.raises(ShapeError, match=r"\[2, 4, 1\].*pool"):
        HamiltonianDynamics(Transformer("2x0e", "1x0e", dimension=2).double())(**example())
    with pytest.raises(ShapeError, match=r"\[2, 4, 3\].*4 scalars a point"):
        DirectDynamics(Transformer("4x0e", "3x0e", dimension=2).double())(**example())


@pytest.mark.compile
def test_training_on_a_motion_is_one_graph() -> None:
    module, inputs = build(Transformer), example()
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    gradients = []
    for run in (module, compiled):
        loss = run(**inputs)["positions"].square().sum()
        gradients.append(torch.autograd.grad(loss, tuple(module.parameters()), allow_unused=True, materialize_grads=True))
    for plain, traced in zip(*gradients, strict=True):
        torch.testing.assert_close(traced, plain, rtol=1e-10, atol=1e-12)
