"""Lifts, pairs and whole networks: what is exact, what is coupled, and what is so in distribution alone."""

import math
from dataclasses import replace

import pytest
import torch

from torsor.check import assert_equivariant, equivariance_error
from torsor.errors import ConfigError, GroupError, ShapeError, SignatureError, UnknownNameError
from torsor.groups import SE, SO, S, parse
from torsor.models.lie_transformer import LieTransformer, LieTransformerConfig, published_kernel
from torsor.models.lie_transformer.lifts import lift_of
from torsor.models.lie_transformer.local_frames import local_frames
from torsor.models.lie_transformer.pairs import Pairs
from torsor.nn.noise import with_noise
from torsor.signatures import PointClouds
from torsor.testing import ModelSuite

PLANE = ("T(2)", "SO(2)", "O(2)", "SE(2)", "E(2)", "TC(1)", "TC(4)", "TC(5)")
FLOWS = ("Scale(2)", "ScaleRotation", "ScaleSqueeze", "Squeeze", "Tx", "Ty", "Trivial(2)", "Trivial(1)", "T(1)")
SPACE = ("T(3)", "SO(3)", "O(3)", "SE(3)", "E(3)", "Scale(3)", "Trivial(3)")
EVERY = (*PLANE, *FLOWS, *SPACE)
TURNING = ("SO(3)", "SE(2)", "SE(3)")
SMALL = {"hidden": 8, "heads": 2, "layers": 2, "kernel_dim": 3, "content_dim": 2}
LENGTHS = (5, 3, 4)


def model_of(group, rep_in="2x0e", rep_out="3x0e", **settings):
    torch.manual_seed(0)
    return LieTransformer(group, rep_in, rep_out, edge_features=1, **(SMALL | settings)).double()


def inputs_of(model, lengths=LENGTHS, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return model.signature.example(len(lengths), max(lengths), generator, torch.float64, lengths=lengths)


# -- pairs -----------------------------------------------------------------------------------------------------------------------------

COORDINATES = [
    *((group, "matrix") for group in ("T(2)", "SO(2)", "SO(3)", "O(3)", "SE(2)", "SE(3)", "E(2)", "E(3)", "ScaleRotation", "Squeeze")),
    *((group, "log") for group in ("SO(2)", "SO(3)", "SE(2)", "SE(3)")),
    *((group, "pseudo") for group in ("SO(2)", "SO(3)", "SE(2)", "SE(3)")),
    ("SO(3)", "quaternion"),
    ("SE(3)", "quaternion"),
    ("SE(3)", "dual_quaternion"),
]


@pytest.mark.parametrize(("name", "kind"), COORDINATES)
def test_coordinates_and_distances_of_pairs_are_invariant_and_equal_the_naive_ones(name, kind, generator):
    group = parse(name)
    config = LieTransformerConfig(group=name, pairs=kind, lift="sampled", samples=2)
    lift, pairs = lift_of(group, config), Pairs(group, config)
    points = torch.randn(4, 5, group.space_dim, generator=generator, dtype=torch.float64)
    u = group.sample(4, generator=generator, dtype=torch.float64)
    frames = lift.draw(points, generator) if lift.draws else None
    moved = None if frames is None else frames @ group.linear(u).mT[:, None, None]
    here, there = lift.lift(points, None, frames), lift.lift(group.act(u, points), None, moved)
    if not (frames is None and lift.framed and getattr(lift, "mirrors", False)):  # mirrored frames change places
        assert (pairs.coordinates(here) - pairs.coordinates(there)).abs().max() < 1e-10
    assert (pairs.distance(here) - pairs.distance(there)).abs().max() < 1e-10
    assert (pairs.coordinates(here) - pairs.naive_coordinates(here)).abs().max() < 1e-10
    assert pairs.coordinates(here).shape[-1] == pairs.dim(lift.orbits, lift.places)
    assert pairs.distance(here).diagonal(dim1=1, dim2=2).abs().max() < 1e-7


def test_quaternions_of_pairs_flip_unless_their_sign_is_fixed_after_the_pair_is_formed(generator):
    """With the sign of lifts fixed, as published, a rotation of the cloud flips 1/3 + 1/pi^2 of the pairs."""
    q, u = torch.randn(2, 20000, 2, 4, generator=generator, dtype=torch.float64)
    q, u = q / q.norm(dim=-1, keepdim=True), (u / u.norm(dim=-1, keepdim=True))[:, :1]
    first, second = (positive(lifts) for lifts in (q, hamilton(u, q)))  # the sign of every lift is fixed, as published
    here, there = (hamilton(lifts[:, 0] * CONJUGATE, lifts[:, 1]) for lifts in (first, second))
    flipped = (here + there).abs().amax(-1) < 1e-12
    assert torch.equal(flipped, (here - there).abs().amax(-1) > 1e-12)
    assert float(flipped.double().mean()) == pytest.approx(1 / 3 + 1 / math.pi**2, abs=0.015)
    assert (positive(here) - positive(there)).abs().max() < 1e-12  # ours


CONJUGATE = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)


def positive(q):
    return q * q[..., :1].sign()


def hamilton(p, q):
    real = p[..., :1] * q[..., :1] - (p[..., 1:] * q[..., 1:]).sum(-1, keepdim=True)
    p, q = torch.broadcast_tensors(p, q)
    return torch.cat((real, p[..., :1] * q[..., 1:] + q[..., :1] * p[..., 1:] + torch.linalg.cross(p[..., 1:], q[..., 1:])), -1)


def test_the_pair_is_that_of_key_relative_to_query(generator):
    """g_i^-1 g_j with i the query: row i holds what i sees."""
    group, config = SE(3), LieTransformerConfig(lift="sampled", pairs="log")
    points = torch.randn(1, 4, 3, generator=generator, dtype=torch.float64)
    lift = lift_of(group, config)
    frames = lift.draw(points, generator)
    found = Pairs(group, config).coordinates(lift.lift(points, None, frames))
    g = group.assemble(frames[0, :, 0].mT, points[0])
    assert (found[0, 1, 2] - group.log(group.compose(group.inverse(g[1]), g[2]))).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("name", "kind"), [("SE(2)", "log"), ("SE(3)", "log"), ("SE(3)", "matrix"), ("SO(3)", "quaternion"), ("SE(3)", "dual_quaternion")]
)
@pytest.mark.parametrize("conditioning", ["none", "tanh"])
def test_gradients_of_pairs_are_finite_at_coincident_points(name, kind, conditioning):
    group = parse(name)
    config = LieTransformerConfig(group=name, pairs=kind, conditioning=conditioning)
    points = torch.zeros(1, 3, group.space_dim, dtype=torch.float64).requires_grad_()
    pairs = Pairs(group, config).coordinates(lift_of(group, config).lift(points, None, None))
    (slope,) = torch.autograd.grad(pairs.sum(), points)
    assert slope.isfinite().all()


def test_conditioning_bounds_coordinates_and_keeps_their_direction(generator):
    group = SE(3)
    free, bounded = (LieTransformerConfig(pairs="log", conditioning=kind) for kind in ("none", "tanh"))
    elements = lift_of(group, free).lift(20 * torch.randn(1, 5, 3, generator=generator, dtype=torch.float64), None, None)
    raw, short = (Pairs(group, config).coordinates(elements) for config in (free, bounded))
    size = raw.norm(dim=-1, keepdim=True)
    assert short.norm(dim=-1).max() < 1
    assert (short - raw * torch.tanh(size / 7) / (size + 1e-6)).abs().max() < 1e-14


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("E(3)", "log", "pairs that reflect"),
        ("SE(2)", "quaternion", "rotations of space"),
        ("SO(3)", "dual_quaternion", "has no translations"),
    ],
)
def test_coordinates_that_a_group_lacks_are_refused(name, kind, message):
    with pytest.raises(GroupError, match=message):
        LieTransformer(name, 1, 1, pairs=kind)


# -- lifts -----------------------------------------------------------------------------------------------------------------------------


def test_local_frames_turn_with_the_cloud_and_know_no_order(generator):
    points = torch.randn(6, 7, 3, generator=generator, dtype=torch.float64)
    u, shift = SO(3).sample(6, generator=generator, dtype=torch.float64), torch.randn(6, 1, 3, generator=generator, dtype=torch.float64)
    frames = local_frames(points, None)
    eye = torch.eye(3, dtype=torch.float64)
    assert (frames @ frames.mT - eye).abs().max() < 1e-12
    assert (torch.linalg.det(frames) - 1).abs().max() < 1e-12
    assert (local_frames(points @ u.mT + shift, None) - frames @ u.mT[:, None]).abs().max() < 1e-10
    order = torch.randperm(7, generator=generator)
    assert (local_frames(points[:, order], None) - frames[:, order]).abs().max() < 1e-11
    assert (local_frames(5 * points, None) - frames).abs().max() < 1e-11


def test_degenerate_clouds_have_frames_that_are_orthonormal_but_do_not_turn(generator):
    """The declared limit: a line has no frame of its own."""
    line = torch.linspace(-1, 1, 5, dtype=torch.float64)[None, :, None] * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    u = SO(3).sample(1, generator=generator, dtype=torch.float64)
    frames, moved = local_frames(line, None), local_frames(line @ u.mT, None)
    assert (frames @ frames.mT - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-12
    assert (moved - frames @ u.mT[:, None]).abs().max() > 0.1


@pytest.mark.parametrize("lift", ["sampled", "rotated", "shared"])
@pytest.mark.parametrize(("name", "samples"), [("SE(2)", 3), ("SE(3)", 12), ("E(3)", 8)])
def test_drawn_frames_are_orthonormal_and_lie_as_the_lift_says(name, samples, lift, generator):
    group = parse(name)
    points = torch.randn(2, 4, group.space_dim, generator=generator, dtype=torch.float64)
    made = lift_of(group, LieTransformerConfig(lift=lift, samples=samples))
    frames = made.draw(points, generator)
    eye = torch.eye(group.space_dim, dtype=torch.float64)
    assert frames.shape == (2, 4, samples, *eye.shape)
    assert (frames @ frames.mT - eye).abs().max() < 1e-12
    same = (frames[:, 0] - frames[:, 1]).abs().max() == 0
    assert bool(same) == (lift == "shared")
    if lift != "sampled" and not made.mirrors:  # the relative turns of a point are those of a finite group
        relative = frames[0, 0] @ frames[0, 0, 0].T
        products = relative[:, None] @ relative[None]
        assert (products[:, :, None] - relative).abs().amax((-1, -2)).amin(-1).max() < 1e-12


def test_rotated_finite_groups_vary_less_than_independent_frames(generator):
    """Twelve frames a point: the spread of the output over draws, for a turned tetrahedral group and for independent rotations."""
    spread = {}
    for lift in ("sampled", "rotated"):
        model = model_of("SE(3)", lift=lift, samples=12, pool="mean", layers=1, normalisation="constant")
        inputs = inputs_of(model, (4,))
        outputs = torch.stack([model(**with_noise(model, inputs, generator)) for _ in range(12)]).detach()
        spread[lift] = float(outputs.std(0).norm())
    assert spread["rotated"] < 0.7 * spread["sampled"]


def test_frames_are_redrawn_until_pairs_are_short_enough(generator):
    model = model_of("SE(2)", lift="sampled", pairs="log", max_sample_norm=4.0)
    inputs = inputs_of(model, (3,))
    inputs["positions"] = 0.1 * inputs["positions"]
    for _ in range(5):
        lifts = model.draw(inputs, generator)["lifts"]
        assert model.pairs.coordinates(model.lift.lift(inputs["positions"], None, lifts)).norm(dim=-1).max() < 4.0
    with pytest.raises(ConfigError, match="max_sample_norm = 1e-06"):
        model_of("SE(2)", lift="sampled", pairs="log", max_sample_norm=1e-6).draw(inputs, generator)


# -- whole networks --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_exact_lifts_are_exact(name):
    vectors = name in ("SO(3)", "O(3)", "SE(3)", "E(3)")
    model = model_of(name, "1x0e + 1x1o" if vectors else "2x0e", "1x0e + 2x1o" if vectors else "3x0e")
    assert model.symmetry.exactness == "exact"
    assert_equivariant(model, inputs_of(model), samples=2)


@pytest.mark.parametrize("name", ["T(2)", "SO(2)", "SE(2)"])
@pytest.mark.parametrize("code", ["1111", "1112", "1211", "1222", "1231", "2232", "2121"])
def test_every_normalisation_and_combination_is_invariant(name, code):
    kernel = published_kernel(code) if code[1] == "2" else published_kernel("mlp", "dot_product" if code[0] == "2" else "norm_exp")
    model = model_of(name, pool="mean", **kernel)
    assert_equivariant(model, inputs_of(model), samples=1)


def test_the_trivial_group_is_not_invariant():
    model = model_of("Trivial(2)", pool="mean")
    for group in ("T(2)", "SO(2)", "Scale(2)"):
        contract = model.signature.symmetry(parse(group) * S())
        assert equivariance_error(model, inputs_of(model), contract, 1).max_relative > 1e-3


@pytest.mark.parametrize("name", ["T(2)", "TC(4)"])
def test_translations_alone_are_not_rotations(name):
    model = model_of(name, pool="mean")
    assert equivariance_error(model, inputs_of(model), model.signature.symmetry(SE(2) * S()), 1).max_relative > 1e-6


@pytest.mark.parametrize("name", TURNING)
@pytest.mark.parametrize("lift", ["sampled", "rotated", "shared"])
def test_drawn_frames_are_coupled(name, lift):
    if name == "SO(3)" and lift == "shared":
        with pytest.raises(GroupError, match="moves every point to every other"):
            model_of(name, lift=lift)
        return
    model = model_of(name, lift=lift, samples=2, pool="mean")
    assert model.symmetry.exactness == "coupled"
    inputs = inputs_of(model)
    with_frames = {**inputs, **model.draw(inputs, torch.Generator().manual_seed(1))}
    assert_equivariant(model, with_frames, samples=2)
    # without noise it falls back on frames of the data, and is exact
    assert_equivariant(lambda **x: model(**x), inputs, symmetry=replace(model.symmetry, exactness="exact"), samples=1)


@pytest.mark.parametrize("name", TURNING)
def test_over_independent_draws_the_mean_is_equivariant(name):
    model = model_of(name, lift="sampled", pool="mean", layers=1)
    report = equivariance_error(model, inputs_of(model, (4,)), samples=3)
    assert report.max_relative < 1e-10
    assert report.means[-1].draws == 192
    for mean in report.means:
        assert mean.error < 4 * mean.standard_error
    assert report.means[-1].standard_error < 0.4 * report.means[0].standard_error
    assert report.means[-1].standard_error > 0


def test_the_error_of_a_sampled_lift_falls_with_the_samples(generator):
    """The invariance diagnostic of the paper: SE(2), one layer, width 8, two heads, constant features and normalisation, no norms."""
    medians = []
    for samples in (1, 4, 16, 64):
        torch.manual_seed(0)
        settings = {"hidden": 8, "heads": 2, "layers": 1, "kernel_dim": 2, "norm": "none", "lift": "sampled", "pairs": "log"}
        model = LieTransformer("SE(2)", 1, 1, pool="mean", samples=samples, **settings, **published_kernel("mlp", "dot_product")).double()
        points = torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        still, errors = {"positions": points, "features": torch.ones(1, 6, 1, dtype=torch.float64)}, []
        for _ in range(16):
            turned = {**still, "positions": points @ SO(2).sample(generator=generator, dtype=torch.float64).mT}
            here, there = (model(**with_noise(model, x, generator)) for x in (still, turned))
            errors.append(float((here - there).detach().abs().max()))
        medians.append(float(torch.tensor(errors).median()))
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] < 0.2 * medians[0]


# -- sets ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["T(2)", "SE(2)", "TC(2)", "SE(3)"])
@pytest.mark.parametrize("kernel", ["mlp", "2232"])
def test_padding_changes_nothing(name, kernel):
    model = model_of(name, pool="mean", **published_kernel(kernel))
    short = inputs_of(model, (4, 3))
    long = {
        k: torch.nn.functional.pad(x, (0, 0, 0, 3, 0, 3) if k == "edge_features" else (0, 3) if k == "mask" else (0, 0, 0, 3))
        for k, x in short.items()
    }
    assert (model(**short) - model(**long)).abs().max() < 1e-14


@pytest.mark.parametrize("name", ["T(2)", "SO(2)", "SE(2)", "TC(4)", "SE(3)", "SO(3)", "ScaleRotation"])
@pytest.mark.parametrize("points", ["one", "none", "equal", "on a line"])
def test_degenerate_clouds_give_finite_outputs_and_gradients(name, points):
    model = model_of(name, pool="mean", pairs="matrix")
    inputs = inputs_of(model, {"one": (1,), "none": (0, 3)}.get(points, (4,)))
    if points in ("equal", "on a line"):
        inputs["positions"] = inputs["positions"] * 0 + (torch.arange(4.0).double()[None, :, None] if points == "on a line" else 1)
    inputs["positions"].requires_grad_()
    y = model(**inputs)
    assert y.isfinite().all()
    assert torch.autograd.grad(y.sum(), inputs["positions"])[0].isfinite().all()


# -- refusals --------------------------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_named(generator):
    with pytest.raises(
        SignatureError, match=r"acts on R\^3 but the points are in R\^2: give a group of that space, for instance group 'SE\(2\)'"
    ):
        LieTransformerConfig(group="SE(3)").build(PointClouds("", "1x0e", dimension=2))
    with pytest.raises(SignatureError, match="scalars and vectors"):
        LieTransformer("SE(3)", "1x2e", 1)
    with pytest.raises(SignatureError, match="head 'pooled' has no frames left"):
        LieTransformer("SE(3)", 1, "1x1o", head="pooled")
    with pytest.raises(GroupError, match=r"S\(3\) does not lift points: give one of Trivial"):
        LieTransformer("S(3)", 1, 1)
    with pytest.raises(ConfigError, match="give an even number"):
        LieTransformer("E(3)", 1, 1, samples=3)
    with pytest.raises(UnknownNameError, match="setting of LieTransformerConfig 'head_dim'"):
        LieTransformer("T(2)", 1, 1, head_dim=3)
    model = model_of("SE(2)")
    with pytest.raises(ShapeError, match=r"lifts is \[3, 5, 2, 2, 2\]: give \[3, 5, 1, 2, 2\]"):
        model(**inputs_of(model), lifts=torch.zeros(3, 5, 2, 2, 2, dtype=torch.float64))
    flat = model_of("T(2)")
    with pytest.raises(ConfigError, match="determined by the points"):
        flat(**inputs_of(flat), lifts=torch.zeros(3, 5, 1, 2, 2, dtype=torch.float64))


def test_a_family_of_groups_takes_the_dimension_of_the_points():
    assert str(LieTransformerConfig().build(PointClouds("", "1x0e", dimension=2)).group) == "SE(2)"
    assert str(LieTransformerConfig(group="T").build(PointClouds("", "1x0e")).group) == "T(3)"


# -- the suite of all models -----------------------------------------------------------------------------------------------------------


class TestSampledMotions(ModelSuite):
    """Drawn frames are an input: with them given, the model is a deterministic one like any other."""

    parameters = 1224

    def make(self, dtype):
        torch.manual_seed(0)
        return LieTransformer("SE(3)", "1x0e + 1x1o", "1x0e + 1x1o", lift="sampled", samples=2, **SMALL).to(dtype)

    def inputs(self, dtype, lengths):
        model, generator = self.make(dtype), torch.Generator().manual_seed(5)
        inputs = model.signature.example(len(lengths), max(lengths), generator, dtype, lengths=lengths)
        return inputs | model.draw(inputs, generator)

    def beyond(self, module):
        kept = {name: actions for name, actions in module.symmetry.inputs.items() if name != "lifts"}
        return replace(module.symmetry, inputs=kept)
