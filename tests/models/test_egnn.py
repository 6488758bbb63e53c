"""EGNN against the paper's formula written as loops, and what the paper does not say: padding, channels, digits far from the origin."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from torsor.errors import ShapeError, SignatureError, UnknownNameError
from torsor.groups import E, S
from torsor.models import EGNN, EGNNConfig
from torsor.signatures import PointClouds
from torsor.symmetry import Symmetry
from torsor.testing import ModelSuite

SIGNATURE = PointClouds("2x0e + 2x1o", "1x1o + 2x0e + 1x1o", edge_features=3)
SETTINGS = {
    "paper": {},
    "every option": {"gate": True, "tanh": True, "normalise": True, "aggregate": "mean", "neighbours": 3},
}


class TestEGNNWithEveryOption(ModelSuite):
    parameters = 18_860

    def make(self, dtype: torch.dtype) -> nn.Module:
        return EGNNConfig(hidden=32, layers=2, **SETTINGS["every option"]).build(SIGNATURE).to(dtype)

    def inputs(self, dtype: torch.dtype, lengths: Sequence[int]) -> dict[str, Tensor]:
        return SIGNATURE.example(len(lengths), max(lengths), dtype=dtype, lengths=lengths)

    def beyond(self, module: nn.Module) -> Symmetry | None:
        """Its vectors are not pseudovectors: reflections tell."""
        return PointClouds(SIGNATURE.rep_in, "1x1e + 2x0e + 1x1e", 3).symmetry(E(3) * S())


def make(seed: int = 0, signature: PointClouds = SIGNATURE, **settings: object) -> EGNN:
    torch.manual_seed(seed)
    model = EGNNConfig(hidden=8, layers=3, **settings).build(signature).double()
    for layer in model.layers:
        if layer.move is not None:
            nn.init.normal_(layer.move[-1].weight)  # at the paper's start points hardly move, and errors of coordinates would hide
    return model


def example(batch: int = 2, points: int = 5, signature: PointClouds = SIGNATURE) -> dict[str, Tensor]:
    return signature.example(batch, points, dtype=torch.float64)


def naive(model: EGNN, positions: Tensor, features: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 3 to 7 for one cloud, one pair at a time: scalars h and the displacement of every channel."""
    config, n = model.config, len(positions)
    v = features[:, 2:].reshape(n, 2, 3)
    norms = (v.square().sum(-1) + 1e-8).sqrt()
    h = model.embed(torch.cat((torch.ones(n, 1, dtype=v.dtype), features[:, :2], norms, (v[:, :1] * v[:, 1:]).sum(-1)), -1))
    start = positions[:, None].expand(-1, 2, -1)
    x = start
    for layer in model.layers:
        new_h, new_x = [], []
        for i in range(n):
            distances = (positions - positions[i]).norm(dim=-1)
            near = [j for j in distances.argsort().tolist() if j != i][: config.neighbours or n]
            messages = {j: message(layer, h[i], h[j], x[i] - x[j], edges[i, j]) for j in near}
            moves = [direction(config, x[i] - x[j]) * coefficient(config, layer, m)[:, None] for j, m in messages.items()]
            driven = (layer.drive(h[i]).reshape(2, 2, 1) * v[i]).sum(1)
            new_x.append(x[i] + sum(moves) / len(near) + driven)
            received = sum(messages.values()) / (len(near) if config.aggregate == "mean" else 1)
            new_h.append(h[i] + layer.node(torch.cat((h[i], received))))
        h, x = torch.stack(new_h), torch.stack(new_x)
    return h, x - start


def message(layer: nn.Module, h_i: Tensor, h_j: Tensor, difference: Tensor, edge: Tensor) -> Tensor:
    first = layer.edge(torch.cat((h_i, h_j, difference.square().sum(-1), edge)))
    m = nn.functional.silu(layer.message(nn.functional.silu(first)))
    return m if layer.gate is None else m * layer.gate(m).sigmoid()


def coefficient(config: EGNNConfig, layer: nn.Module, m: Tensor) -> Tensor:
    return layer.move(m).tanh() if config.tanh else layer.move(m)


def direction(config: EGNNConfig, difference: Tensor) -> Tensor:
    return difference / ((difference.square().sum(-1, keepdim=True) + 1e-8).sqrt() + 1) if config.normalise else difference


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_layers_are_the_papers_equations(settings: dict[str, object]) -> None:
    model, inputs = make(**settings), example(batch=1)
    h, moved = naive(model, *(inputs[name][0] for name in ("positions", "features", "edge_features")))
    scalars = model.readout(h)
    expected = torch.cat((moved[:, 0], scalars, moved[:, 1]), -1)
    torch.testing.assert_close(model(**inputs)[0], expected, rtol=1e-11, atol=1e-11)


def test_velocity_variant_with_constant_gate_and_no_messages_is_uniform_motion() -> None:
    model = make(signature=PointClouds("1x1o", "1x1o"))
    for layer in model.layers:
        nn.init.zeros_(layer.move[-1].weight)
        nn.init.zeros_(layer.drive[-1].weight)
        nn.init.constant_(layer.drive[-1].bias, 0.5)
    inputs = example(signature=PointClouds("1x1o", "1x1o"))
    torch.testing.assert_close(model(**inputs), 0.5 * 3 * inputs["features"], rtol=1e-12, atol=1e-12)


def test_all_neighbours_are_all_pairs() -> None:
    inputs = example()
    torch.testing.assert_close(make(neighbours=4)(**inputs), make()(**inputs))
    few = make(neighbours=3)
    assert few.config.neighbours == 3
    assert not torch.allclose(few(**inputs), make()(**inputs))


def test_neighbours_of_padded_clouds_are_valid_points() -> None:
    model, inputs = make(neighbours=2), example()
    alone = model(**{name: x[:, :3, :3] if name == "edge_features" else x[:, :3] for name, x in inputs.items()})
    mask = (torch.arange(5) < 3).expand(2, 5)
    # points behind the mask stand exactly where the valid ones do: the nearest of all, were they not left out
    inputs["positions"][:, 3:] = inputs["positions"][:, :2]
    padded = model(**inputs, mask=mask)
    torch.testing.assert_close(padded[:, :3], alone)
    assert not padded[:, 3:].any()


def test_what_stands_behind_the_mask_has_no_influence() -> None:
    model, inputs = make(), example()
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    spoiled = {name: x.clone() for name, x in inputs.items()}
    spoiled["positions"][0, 3:] = float("nan")
    spoiled["features"][0, 3:] = float("inf")
    spoiled["edge_features"][0, 3:] = float("nan")
    leaves = {name: x.requires_grad_() for name, x in spoiled.items()}
    output = model(**leaves, mask=mask)
    assert torch.equal(output, model(**inputs, mask=mask))
    output.sum().backward()
    assert all(x.grad.isfinite().all() for x in leaves.values())


def test_small_displacements_keep_their_digits_in_float32() -> None:
    """Positions of order one, displacements of order 1e-3: their difference would have lost three digits."""
    torch.manual_seed(0)
    model = EGNN("", "1x1o", hidden=16, layers=2)
    inputs = PointClouds("", "1x1o").example(2, 6, dtype=torch.float64)
    exact = model.double()(**inputs)
    found = model.float()(inputs["positions"].float())
    assert exact.norm() < 0.01 * inputs["positions"].norm()
    assert (found - exact).norm() < 2e-6 * exact.norm()


def test_clouds_without_features_are_served() -> None:
    model = EGNN("", "1x0e", pool="mean", hidden=8, layers=2)
    assert model(torch.zeros(2, 1, 3)).shape == (2, 1)
    assert model(torch.zeros(2, 0, 3)).shape == (2, 1)


@pytest.mark.parametrize(("rep_in", "rep_out"), [("1x0e", "1x0e"), ("1x1o", "1x0e"), ("1x0e", "1x1o"), ("1x1o", "2x1o + 1x0e")])
def test_every_parameter_is_used(rep_in: str, rep_out: str) -> None:
    signature = PointClouds(rep_in, rep_out, edge_features=1)
    model = make(signature=signature)
    model(**example(signature=signature)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_points_stay_where_there_are_no_vectors() -> None:
    model = make(signature=PointClouds("1x0e", "1x0e"))
    assert all(layer.move is None for layer in model.layers)


def test_second_derivatives_are_finite_where_points_and_vectors_vanish() -> None:
    model = make()
    inputs = {name: torch.zeros_like(x).requires_grad_() for name, x in example().items()}
    first = torch.autograd.grad(model(**inputs).square().sum(), tuple(inputs.values()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() + g.sum() for g in first), tuple(inputs.values()))
    assert all(g.isfinite().all() for g in (*first, *second))


def test_nothing_larger_than_a_hidden_feature_of_each_pair_is_built() -> None:
    model, b, n = make(), 2, 12
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            largest = max(
                [largest, *(x.numel() for x in (result if isinstance(result, tuple | list) else [result]) if isinstance(x, Tensor))]
            )
            return result

    with Watch():
        model(**example(b, n))
    assert largest == b * n * n * model.config.hidden


def test_contract_is_that_of_e3_and_permutations() -> None:
    assert make().symmetry.group == E(3) * S()


@pytest.mark.parametrize(("rep_in", "rep_out", "named"), [("1x2e", "1x0e", "2e"), ("1x0e", "1x1e", "1e"), ("1x0o", "1x0e", "0o")])
def test_other_irreps_are_refused_and_models_that_have_them_named(rep_in: str, rep_out: str, named: str) -> None:
    with pytest.raises(SignatureError, match=rf"not {named}.*transformer"):
        EGNNConfig().build(PointClouds(rep_in, rep_out))


def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'hidden'"):
        EGNN("1x0e", "1x0e", hiden=3)


def test_wrong_features_say_what_the_model_was_built_for() -> None:
    model, inputs = make(), example()
    with pytest.raises(ShapeError, match=r"features is \[2, 5, 7\].*\[2, 5, 8\]"):
        model(inputs["positions"], inputs["features"][..., :7], inputs["edge_features"])
    with pytest.raises(ShapeError, match="edge_features is missing"):
        model(inputs["positions"], inputs["features"])
    with pytest.raises(ShapeError, match="leave it out"):
        EGNN("", "1x0e")(inputs["positions"], inputs["features"])
