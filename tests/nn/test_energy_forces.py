"""Forces are the gradient of the energy, in every mode of torch."""

import pytest
import torch
from torch import Tensor, nn

from torsor.check import assert_equivariant
from torsor.errors import ShapeError, SignatureError
from torsor.groups import E, S
from torsor.models import EGNN, MLP, Transformer
from torsor.nn.energy_forces import EnergyForces
from torsor.representations import Vectors
from torsor.signatures import PointClouds

SIGNATURE = PointClouds("1x0e", "1x0e", pool="sum", points=5)

SETTINGS = {EGNN: {"hidden": 8}, Transformer: {"width": 8, "heads": 2}, MLP: {"hidden": 16, "points": 5}}


class Springs(nn.Module):
    """E = k / 2 * sum over pairs of |x_i - x_j|^2, whose forces are -k (n x_i - sum_j x_j)."""

    def __init__(self) -> None:
        super().__init__()
        self.symmetry = SIGNATURE.symmetry(E(3) * S())
        self.k = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(
        self, positions: Tensor, features: Tensor | None = None, edge_features: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        x = positions if mask is None else positions.where(mask[..., None], 0)
        valid = torch.ones_like(x[..., 0]) if mask is None else mask.to(x.dtype)
        squares = (x[:, :, None] - x[:, None]).square().sum(-1) * valid[:, :, None] * valid[:, None]
        return self.k / 4 * squares.sum((1, 2))[:, None]


def build(kind: type[nn.Module]) -> EnergyForces:
    torch.manual_seed(0)
    return EnergyForces(kind("1x0e", "1x0e", pool="sum", layers=2, **SETTINGS[kind]).double())


def example(lengths: tuple[int, ...] | None = None) -> dict[str, Tensor]:
    return SIGNATURE.example(2, 5, dtype=torch.float64, lengths=lengths)


def test_forces_of_springs_are_those_of_the_closed_form() -> None:
    inputs = example()
    x = inputs["positions"]
    found = EnergyForces(Springs())(**inputs)
    torch.testing.assert_close(found["forces"], -1.5 * (5 * x - x.sum(1, keepdim=True)))
    torch.testing.assert_close(found["energy"], 0.75 * (x[:, :, None] - x[:, None]).square().sum((1, 2, 3)) / 2)


@pytest.mark.parametrize("kind", [EGNN, Transformer, MLP])
def test_forces_are_those_of_finite_differences(kind: type[nn.Module]) -> None:
    module, inputs = build(kind), example()
    step = 1e-5
    forces = module(**inputs)["forces"]
    for place in ((0, 0, 0), (1, 3, 2)):
        shift = torch.zeros_like(inputs["positions"])
        shift[place] = step
        up, down = (module(**{**inputs, "positions": inputs["positions"] + s * shift})["energy"].sum() for s in (1, -1))
        assert forces[place].item() == pytest.approx(-(up - down).item() / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", [EGNN, Transformer])
def test_contract_is_kept(kind: type[nn.Module]) -> None:
    module = build(kind)
    assert_equivariant(module, example((5, 3)), 1e-10, samples=3)
    forces = module.symmetry.output["forces"]
    assert isinstance(forces[0], Vectors)


def test_forces_need_no_grad_mode() -> None:
    module, inputs = build(EGNN), example()
    expected = module(**inputs)
    assert expected["forces"].requires_grad
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            found = module(**inputs)
            assert not found["forces"].requires_grad
            torch.testing.assert_close(found, {name: y.detach() for name, y in expected.items()}, rtol=0, atol=0)
    assert inputs["positions"].grad is None


def test_a_loss_on_forces_moves_the_parameters() -> None:
    module, inputs = EnergyForces(Springs()), example()
    target = EnergyForces(Springs())(**inputs)["forces"].detach() * 2
    loss = (module(**inputs)["forces"] - target).square().sum()
    loss.backward()
    # forces are k F(x), so the loss is (k - 2 k0)^2 |F|^2 with derivative 2 (k - 2 k0) |F|^2
    assert module.model.k.grad.item() == pytest.approx(-2 * 1.5 * (target / 3).square().sum().item(), rel=1e-12)


def test_padded_points_feel_no_force_whatever_stands_there() -> None:
    module, inputs = build(Transformer), example((5, 3))
    expected = module(**inputs)
    inputs["positions"][1, 3:] = float("nan")
    found = module(**inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not found["forces"][1, 3:].any()


def test_models_that_do_not_pool_to_one_scalar_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[2, 5, 1\].*pool"):
        EnergyForces(EGNN("1x0e", "1x0e").double())(**example())
    with pytest.raises(SignatureError, match="Linear has no contract"):
        EnergyForces(nn.Linear(3, 1))


@pytest.mark.compile
@pytest.mark.parametrize("kind", [EGNN, Transformer])
def test_training_on_forces_is_one_graph(kind: type[nn.Module]) -> None:
    module, inputs = build(kind), example((5, 3))
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    gradients = []
    for run in (module, compiled):
        found = run(**inputs)
        loss = found["energy"].square().sum() + found["forces"].square().sum()
        gradients.append(torch.autograd.grad(loss, tuple(module.parameters()), allow_unused=True, materialize_grads=True))
    for plain, traced in zip(*gradients, strict=True):
        torch.testing.assert_close(traced, plain, rtol=1e-10, atol=1e-12)
