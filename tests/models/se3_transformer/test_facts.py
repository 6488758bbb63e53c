"""What the paper's layers must do beyond what every model must: attention, limits, degenerate clouds, forces, and the paths."""

from math import pi, sqrt

import pytest
import torch
from torch import Tensor, nn

from torsor.check import assert_equivariant, equivariance_error
from torsor.errors import CheckpointError, RepresentationError, ShapeError, SignatureError, UnknownNameError
from torsor.groups import SO, E, S
from torsor.models.se3_transformer import (
    IterativeSE3Transformer,
    SE3Transformer,
    heights,
    load_so2_state,
    published_nbody,
    published_qm9,
    published_tfn,
    so2_state,
)
from torsor.nn.edges import Edges, dense_edges
from torsor.nn.frames import EdgeFrames, SpaceFrames
from torsor.representations import wigner_blocks

IN, OUT, EDGE = "3x0e + 2x1o", "2x0e + 1x1o + 1x2e", 2
SMALL = {"channels": 4, "heads": 2, "radial_width": 8, "edge_features": EDGE}
VARIANTS = {
    "default": {},
    "degrees to 4": {"degrees": 5, "depth": 1},
    "sum": {"skip": "sum", "relative_position": "add"},
    "attentive": {"interaction": "attentive", "last_interaction": "attentive"},
    "free attentive": {"interaction": "attentive", "interaction_weights": "none", "div": 2},
    "norm": {"nonlinearity": "norm", "norm": "none"},
    "bias": {"nonlinearity": "norm_bias", "norm": "none"},
    "unequal": {"channels": (6, 4, 2), "relative_position": "cat"},
    "tensor field": {"block": "tfn", "final": "tfn", "self_term": "message"},
    "tensor field, skip": {"block": "tfn", "final": "tfn", "self_term": "skip", "channels": (6, 4, 2)},
    "depthwise tensor field": {"kernel": "depthwise", "final": "tfn"},
    "per degree": {"attention": "per_degree"},
    "one key": {"key_value_heads": "one"},
    "tied": {"keys": "tied"},
    "linear keys": {"keys": "linear"},
    "published": {"trunk": "per_pair", "radial": "published", "basis": "distance", "cut": "sharp", "neighbours": 3},
    "radius": {"radius": 1.8, "basis": "bessel"},
    "neighbours": {"neighbours": 3},
    "low orders": {"orders": 1},
    "parity": {"parity": True},
    "depthwise": {"kernel": "depthwise", "relative_position": "cat"},
}


def make(dtype: torch.dtype = torch.float64, rep_in: str = IN, rep_out: str = OUT, **settings: object) -> SE3Transformer:
    torch.manual_seed(0)
    return SE3Transformer(rep_in, rep_out, **(SMALL | settings)).to(dtype)


def clouds(kind: str, generator: torch.Generator) -> Tensor:
    """Clouds whose symmetry or position makes directions, norms or features vanish."""
    x = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    if kind == "collinear":
        x[..., 1:] = 0
    if kind == "along the pole":
        x[..., ::2] = 0
    if kind == "planar":
        x[..., 2] = 0
    if kind == "centrosymmetric":
        x[:, 3:] = -x[:, :3]
    if kind == "polar edges":
        x[:, 1] = x[:, 0] + torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
        x[:, 2] = x[:, 0] - torch.tensor([1e-9, 1.3, 0.0], dtype=torch.float64)
    return x


def inputs(model: nn.Module, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return model.signature.example(points=6, dtype=dtype)


def same_weights(model: SE3Transformer, path: str) -> SE3Transformer:
    s = model.signature
    twin = SE3Transformer(s.rep_in, s.rep_out, edge_features=s.edge_features, pool=s.pool, config=model.config, path=path).double()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_equivariant(variant: str) -> None:
    model = make(**VARIANTS[variant])
    assert_equivariant(model, inputs(model), samples=2)


@pytest.mark.parametrize("kind", ["collinear", "along the pole", "planar", "centrosymmetric", "polar edges"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_degenerate_clouds_turn_like_any_other(kind: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    for settings in ({}, {"nonlinearity": "norm", "degrees": 5, "depth": 1}):
        model = make(dtype, rep_in="3x0e", **settings)
        batch = inputs(model, dtype) | {"positions": clouds(kind, generator).to(dtype)}
        batch["features"] = torch.ones_like(batch["features"])  # nothing but the positions breaks their symmetry
        assert_equivariant(model, batch, samples=2)


def test_outputs_do_not_see_translations_and_follow_permutations() -> None:
    model = make()
    batch = inputs(model)
    moved = batch | {"positions": batch["positions"] + torch.tensor([3.0, -2.0, 5.0], dtype=torch.float64)}
    torch.testing.assert_close(model(**moved), model(**batch), atol=1e-11, rtol=0)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = {name: x[:, order] for name, x in batch.items()}
    shuffled["edge_features"] = shuffled["edge_features"][:, :, order]
    torch.testing.assert_close(model(**shuffled), model(**batch)[:, order], atol=1e-11, rtol=0)


@pytest.mark.parametrize("kernel", ["full", "depthwise"])
def test_reflections_are_a_symmetry_with_parity_and_none_without(kernel: str) -> None:
    for parity in (True, False):
        model = make(parity=parity, kernel=kernel)
        batch = inputs(model)
        error = equivariance_error(model, batch, model.signature.symmetry(E(3) * S()), samples=2).max_relative
        assert error < 1e-10 if parity else error > 1e-2


def frames_of(model: SE3Transformer, batch: dict[str, Tensor]) -> EdgeFrames:
    return EdgeFrames(dense_edges(batch["positions"], batch.get("mask"), batch.get("edge_features")), model.l_max)


def test_attention_weights_are_invariant_and_sum_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Edges, Tensor]] = []
    softmax = Edges.softmax
    monkeypatch.setattr(Edges, "softmax", lambda edges, logits: seen.append((edges, softmax(edges, logits))) or seen[-1][1])
    model = make(neighbours=3)
    batch = model.signature.example(points=6, dtype=torch.float64, lengths=(6, 4))
    rotation = SO(3).sample(generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turned = batch | {
        "positions": batch["positions"] @ rotation.T,
        "features": batch["features"] @ model.signature.rep_in.matrix(rotation).T,
    }
    model(**batch)
    first = list(seen)
    model(**turned)
    valid = batch["mask"].flatten()
    for (edges, weights), (_, others) in zip(first, seen[len(first) :], strict=True):
        torch.testing.assert_close(others, weights, atol=1e-12, rtol=0)
        sums = edges.total(weights)
        torch.testing.assert_close(sums[valid], torch.ones_like(sums[valid]))
        assert not sums[~valid].any()


def test_an_isolated_point_keeps_its_self_interaction_alone() -> None:
    for settings in ({"radius": 1.0}, {"radius": 1.0, "final": "tfn"}):
        model = make(**settings)
        batch = model.signature.example(batch=1, points=3, dtype=torch.float64)
        batch["positions"] = torch.tensor([[[0.0, 0, 0], [0.3, 0, 0], [50.0, 0, 0]]], dtype=torch.float64)
        alone = model(**{name: x[:, 2:, 2:] if name == "edge_features" else x[:, 2:] for name, x in batch.items()})
        assert alone.isfinite().all()
        assert alone.abs().max() > 0
        torch.testing.assert_close(model(**batch)[:, 2:], alone)


def test_one_head_is_the_closed_formula() -> None:
    model = make(heads=1, depth=0, final="attention", last_channels=3, path="cg")
    batch = inputs(model)
    block, edges = model.last, dense_edges(batch["positions"], None, batch["edge_features"])
    x = model.layout_in.dense(batch["features"].flatten(0, 1))
    key, value = block.messages(x, SpaceFrames(edges, model.l_max))
    query = block.query(x)
    size = 3 * (1 + 3)
    outputs = []
    for i in range(12):
        mine = slice(5 * i, 5 * i + 5)
        weights = ((query[i] * key[mine]).sum((1, 2)) / sqrt(size)).softmax(0)
        outputs.append((weights[:, None, None] * value[mine]).sum(0))
    expected = model.layout_out.flat(block.interaction(torch.stack(outputs), x))
    torch.testing.assert_close(model(**batch).flatten(0, 1), expected, atol=1e-12, rtol=0)


def test_scalars_alone_are_plain_edge_conditioned_attention() -> None:
    model = make(rep_in="3x0e", rep_out="2x0e", degrees=1, depth=0, heads=1, last_channels=4)
    batch = inputs(model)
    block, n = model.last, 6
    x = batch["features"]
    edges = dense_edges(batch["positions"], None, batch["edge_features"])
    hidden = block.messages.kernel.trunk(edges)[..., 0].unflatten(0, (2, n, n - 1))
    senders = x.flatten(0, 1)[edges.source].unflatten(0, (2, n, n - 1))
    key, value = (
        torch.einsum("bnkh,hco,bnkc->bnko", hidden, block.messages.kernel.weights[f"{p}_0_0"][0], senders) / (4 * pi) ** 0.5 for p in (0, 1)
    )
    query = x @ block.query.weights["0"]
    weights = (torch.einsum("bno,bnko->bnk", query, key) / 2).softmax(-1)
    mixed = torch.cat([torch.einsum("bnk,bnko->bno", weights, value), x], -1) @ block.interaction.weights["0"]
    torch.testing.assert_close(model(**batch), mixed, atol=1e-12, rtol=0)


def test_constant_radial_networks_on_scalars_are_attention_without_positions() -> None:
    model = make(rep_in="3x0e", rep_out="2x0e", degrees=1, depth=1, edge_features=0)
    batch = inputs(model)
    for block in (*model.blocks, model.last):
        for p in block.messages.kernel.trunk.parameters():
            p.data = torch.ones_like(p) * (p.ndim == 2)  # biases alone
    moved = batch | {"positions": torch.randn_like(batch["positions"])}
    torch.testing.assert_close(model(**moved), model(**batch), atol=1e-12, rtol=0)


def test_uniform_attention_is_the_tensor_field_layer_without_self_term() -> None:
    model = make(depth=0, final="attention", heads=1, last_channels=2, keys="linear")
    field = make(depth=0, final="tfn", rep_out="2x0e + 2x1o + 2x2e", self_term="message")
    with torch.no_grad():
        for p in model.last.query.parameters():
            p.zero_()
    field.last.messages.load_state_dict(model.last.messages.state_dict())
    batch = inputs(model)
    frames = frames_of(model, batch)
    x = model.layout_in.dense(batch["features"].flatten(0, 1))
    identity = nn.ParameterDict({str(l): torch.eye(2, dtype=torch.float64) for l in range(3)})
    field.last.mix.weights = identity
    (message,) = model.last.messages(x, frames)
    weights = model.last._attend(x, message, frames)
    torch.testing.assert_close(frames.total(message * weights.repeat_interleave(2, -1)), field.last(x, frames), atol=1e-12, rtol=0)


@pytest.mark.parametrize("path", ["cg", "so2", "sender"])
def test_points_in_the_same_place_exchange_only_the_isotropic_term(path: str) -> None:
    model = make(depth=0, final="tfn", rep_in="2x0e + 2x1o + 2x2e", rep_out="2x0e + 2x1o + 2x2e", edge_features=0, path=path)
    batch = model.signature.example(batch=1, points=2, dtype=torch.float64)
    x = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    output = model(x, batch["features"])
    own = model.layout_out.flat(model.last.own(model.layout_in.dense(batch["features"])))
    kernel = model.last.messages.kernel
    hidden = kernel.trunk(dense_edges(torch.zeros(1, 2, 3, dtype=torch.float64)))[0, :, 0]
    sent = model.layout_in.dense(batch["features"].flip(1))
    parts = {
        l: model.layout_in.fiber.take(sent, l)
        @ torch.einsum("h,hco->co", hidden, kernel.weights[f"0_{l}_{l}"][0])
        / sqrt(4 * pi * (2 * l + 1))
        for l in range(3)
    }
    torch.testing.assert_close(output - own, model.layout_out.flat(model.layout_out.fiber.join(parts)), atol=1e-12, rtol=0)
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("path", ["cg", "so2", "sender"])
@pytest.mark.parametrize("kind", ["generic", "polar edges", "collinear"])
def test_forces_are_those_of_finite_differences(path: str, kind: str, generator: torch.Generator) -> None:
    model = make(rep_out="1x0e", pool="sum", path=path)
    batch = inputs(model) | {"positions": clouds(kind, generator)}
    x = batch["positions"].clone().requires_grad_()
    (forces,) = torch.autograd.grad(-model(**(batch | {"positions": x})).sum(), x, create_graph=True)
    direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    with torch.no_grad():
        ahead, behind = (model(**(batch | {"positions": x + h * direction})).sum() for h in (1e-5, -1e-5))
    expected = -(ahead - behind) / 2e-5
    assert ((forces * direction).sum() - expected).abs() < 1e-6 * expected.abs().clamp(min=1e-2)
    (second,) = torch.autograd.grad(forces.square().sum(), x)
    assert second.isfinite().all()


def test_forces_near_the_pole_keep_their_digits_in_single_precision(generator: torch.Generator) -> None:
    model = make(rep_out="1x0e", pool="sum")
    single = make(torch.float32, rep_out="1x0e", pool="sum")
    batch = inputs(model) | {"positions": clouds("polar edges", generator).float().double()}
    gradients = []
    for network, dtype in ((model, torch.float64), (single, torch.float32)):
        x = batch["positions"].to(dtype).requires_grad_()
        others = {name: value.to(dtype) for name, value in batch.items() if name != "positions"}
        gradients.append(torch.autograd.grad(network(x, **others).sum(), x)[0].double())
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()


def test_published_networks_have_the_published_numbers_of_parameters() -> None:
    assert sum(p.numel() for p in published_nbody().parameters()) == 293_920
    assert sum(p.numel() for p in published_qm9().parameters()) == 9_828_193


@pytest.mark.parametrize("build", [published_nbody, published_tfn])
def test_published_networks_are_equivariant(build: object) -> None:
    torch.manual_seed(0)
    model = build().double()
    batch = model.signature.example(batch=1, points=5, dtype=torch.float64)
    assert_equivariant(model, batch, samples=2)


def test_published_molecule_network_runs_on_bonds() -> None:
    torch.manual_seed(0)
    model = published_qm9(depth=1, channels=8, heads=4)
    bonds = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    kinds = torch.eye(4)[[0, 0, 1, 1, 2, 2]]
    batch = torch.tensor([0, 0, 0, 1, 1])
    generator = torch.Generator().manual_seed(0)
    x, atoms = torch.randn(5, 3, generator=generator), torch.randn(5, 6, generator=generator)
    together = model.forward_edges(x, bonds, atoms, kinds, batch)
    alone = model.forward_edges(x[:3], bonds[:, :4], atoms[:3], kinds[:4])
    assert together.shape == (2, 1)
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("other", ["cg", "sender"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_paths_have_equal_outputs_and_gradients(variant: str, other: str) -> None:
    model = make(**VARIANTS[variant], path="so2")
    twin = same_weights(model, other)
    batch, found = inputs(model), []
    for network in (model, twin):
        x, f = batch["positions"].clone().requires_grad_(), batch["features"].clone().requires_grad_()
        output = network(**(batch | {"positions": x, "features": f}))
        leaves = [x, f, *network.parameters()]
        found.append([output, *torch.autograd.grad(output.square().sum(), leaves, allow_unused=True, materialize_grads=True)])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= 1e-10 * a.norm() + 1e-13


@pytest.mark.parametrize("variant", ["default", "unequal", "parity", "depthwise", "published"])
def test_weights_convert_to_frames_of_edges_and_back(variant: str) -> None:
    model = make(**VARIANTS[variant])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = so2_state(model)
    assert any((state[name] - before[name]).abs().max() > 1e-3 for name in before)
    load_so2_state(model, state)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-12, rtol=0)


def pairs_of(points: int) -> Edges:
    return dense_edges(torch.randn(1, points, 3, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("path", "points", "settings"),
    [
        ("cg", 3, {"degrees": 1}),
        ("cg", 3, {"degrees": 2, "channels": 8}),
        ("so2", 3, {"degrees": 2, "channels": 16}),
        ("so2", 3, {"degrees": 3, "channels": 8}),
        ("so2", 40, {"degrees": 3, "channels": 8, "kernel": "depthwise"}),
        ("so2", 40, {"degrees": 3, "channels": 16, "relative_position": "add"}),
        ("sender", 40, {"degrees": 3, "channels": 16}),
        ("sender", 9, {"degrees": 2, "channels": 16}),
        ("so2", 9, {"degrees": 3, "channels": 16}),
    ],
)
def test_the_path_is_chosen_by_degree_width_and_edges(path: str, points: int, settings: dict) -> None:
    assert SE3Transformer("1x0e", "1x0e", **settings).path(pairs_of(points)) == path


def test_the_path_of_published_networks_can_be_chosen() -> None:
    assert published_nbody().path(pairs_of(5)) == "cg"
    assert published_nbody(path="so2").path(pairs_of(5)) == "so2"


def test_a_state_of_other_settings_is_refused() -> None:
    with pytest.raises(CheckpointError, match="same settings"):
        load_so2_state(make(depth=1), so2_state(make(depth=2)))


@pytest.mark.parametrize("pool", [None, "mean", "max", "sum"])
def test_edges_that_are_listed_give_the_dense_result(pool: str | None) -> None:
    model = make(rep_out="2x0e" if pool else OUT, pool=pool, radius=2.0)
    batch = inputs(model)
    pairs = torch.tensor([(6 * b + j, 6 * b + i) for b in range(2) for i in range(6) for j in range(6)]).T
    edge_features = batch["edge_features"].flatten(0, 2)
    found = model.forward_edges(
        batch["positions"].flatten(0, 1), pairs, batch["features"].flatten(0, 1), edge_features, torch.arange(2).repeat_interleave(6)
    )
    expected = model(**batch)
    torch.testing.assert_close(found, expected if pool else expected.flatten(0, 1), atol=1e-12, rtol=0)


def test_points_without_features_carry_a_constant() -> None:
    model = SE3Transformer("", "1x1o", channels=4, heads=2).double()
    batch = model.signature.example(dtype=torch.float64)
    assert model(**batch).abs().max() > 0
    assert_equivariant(model, batch, samples=2)


@pytest.mark.parametrize("passes", [2, 4])
def test_passes_that_move_the_points_are_equivariant(passes: int) -> None:
    torch.manual_seed(0)
    model = IterativeSE3Transformer("2x0e", "1x0e + 1x1o", passes=passes, carry="4x0e + 2x1o", channels=4, heads=2, depth=1).double()
    batch = model.last.signature.example(dtype=torch.float64) | {"features": torch.ones(2, 5, 2, dtype=torch.float64)}
    assert_equivariant(model, batch, samples=2)
    x = batch["positions"].requires_grad_()
    assert torch.autograd.grad(model(x, batch["features"]).sum(), x)[0].abs().max() > 0


def test_heights_leave_turns_about_the_vertical_axis_alone() -> None:
    model = make(rep_in="1x0e", rep_out="1x1o", edge_features=1)
    x = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    about = {axis: wigner_blocks(1, SO(3).exp(torch.eye(3, dtype=torch.float64)[axis]))[1] for axis in (0, 2)}
    errors = {axis: (model(x @ r.T, *heights(x @ r.T)) - model(x, *heights(x)) @ r.T).norm() for axis, r in about.items()}
    assert errors[2] < 1e-12
    assert errors[0] > 1e-3


@pytest.mark.parametrize(
    ("error", "message", "build"),
    [
        (UnknownNameError, "did you mean 'channels'", lambda: SE3Transformer("1x0e", "1x0e", chanels=8)),
        (RepresentationError, "do not divide by 3 heads", lambda: SE3Transformer("1x0e", "1x0e", heads=3)),
        (SignatureError, "natural parity", lambda: SE3Transformer("1x1e", "1x0e", parity=True)),
        (SignatureError, "raise `degrees`", lambda: SE3Transformer("1x4e", "1x0e")),
        (SignatureError, "give one number, or 3", lambda: SE3Transformer("1x0e", "1x0e", channels=(8, 8))),
        (SignatureError, "pooled scalars", lambda: SE3Transformer("1x0e", "1x1o", pool="sum", readout=4)),
        (
            ShapeError,
            "senders and receivers",
            lambda: SE3Transformer("", "1x0e").forward_edges(torch.zeros(2, 3), torch.zeros(3, 4).long()),
        ),
    ],
)
def test_bad_settings_are_refused_with_the_remedy(error: type, message: str, build: object) -> None:
    with pytest.raises(error, match=message):
        build()
