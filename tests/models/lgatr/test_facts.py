"""L-GATr: boosts, parity, time reversal, commutants, what spurions leave of the symmetry, and the parts of the slim version."""

import math

import pytest
import torch

from torsor.check import assert_equivariant, equivariance_error
from torsor.cli.looking import regrouped
from torsor.errors import ConfigError, GroupError, ShapeError
from torsor.groups import SE, SO, Lorentz, RestrictedLorentz, S
from torsor.groups.lorentz import METRIC, boost
from torsor.groups.numerics import unit
from torsor.models.lgatr import LGATrConfig, LGATrSlimConfig
from torsor.models.lgatr.spurions import as_multivectors, spurion_multivectors
from torsor.nn.multivector_attention import MultivectorAttention, visibility
from torsor.nn.multivector_layers import GeometricMLP, MultivectorNorm
from torsor.nn.multivector_linear import MultivectorLinear
from torsor.nn.slim_layers import SlimAttention, SlimBlock, SlimMLP, inner, joint_norm
from torsor.representations import LORENTZ, Matrix, equivariant_basis
from torsor.representations.geometric_algebra import equivariant_maps, outermorphism
from torsor.signatures import Particles

SIGNATURE = Particles(2, 1, 2)
SMALL = LGATrConfig(channels=4, scalars=8, blocks=2, heads=2, mlp_factor=2)
SLIM = LGATrSlimConfig(vectors=4, scalars=8, blocks=2, heads=2)
FULL = LGATrConfig(channels=4, scalars=8, blocks=2, heads=2, mlp_factor=2, group="Lorentz")
EVERY = pytest.mark.parametrize("config", [SMALL, FULL, SLIM], ids=["ten maps", "five maps", "slim"])
multivectors = Matrix(outermorphism, 16)


def build(config, signature=SIGNATURE):
    torch.manual_seed(0)
    return config.build(signature).double().eval()


def inputs(generator, dtype=torch.float64):
    return SIGNATURE.example(3, 6, generator, dtype, lengths=(6, 4, 5))


def moves(generator, discrete=False):
    """Elements of SO+(1, 3), or of O(1, 3)."""
    return (Lorentz() if discrete else RestrictedLorentz()).sample(5, generator=generator, dtype=torch.float64)


# -- the algebra ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "dimension", "reflections"), [(RestrictedLorentz(), 10, 0), (Lorentz(), 5, 1)], ids=str)
def test_the_linear_maps_are_the_whole_commutant(group, dimension, reflections):
    """The dimension and the space, from the Lie algebra and the discrete generators alone."""
    basis = equivariant_basis(multivectors.on(group), multivectors.on(group), group).flatten(1)
    ours = torch.tensor(equivariant_maps("+---", reflections)).flatten(1)
    assert len(basis) == len(ours) == dimension
    assert (ours - ours @ basis.T @ basis).abs().max() < 1e-10
    assert torch.linalg.matrix_rank(ours) == dimension


def test_four_momenta_are_the_grade_that_turns_as_vectors(generator):
    element = moves(generator, discrete=True)
    momenta = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    moved = (outermorphism(element) @ as_multivectors(momenta).unsqueeze(-1)).squeeze(-1)
    assert (moved - as_multivectors(Lorentz().act(element, momenta))).abs().max() < 1e-12


def test_the_square_of_a_momentum_is_its_squared_mass(generator):
    momenta = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    square = LORENTZ.product(as_multivectors(momenta), as_multivectors(momenta))
    assert (square[:, 0] - momenta.square() @ torch.tensor(METRIC, dtype=torch.float64)).abs().max() < 1e-13
    assert not square[:, 1:].abs().gt(1e-14).any()


# -- the layers ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True], ids=["ten maps", "five maps"])
@pytest.mark.parametrize("kind", ["linear", "norm", "mlp", "attention"])
def test_every_layer_commutes_with_the_group(kind, full, generator):
    torch.manual_seed(1)
    layer = {
        "linear": lambda: MultivectorLinear(LORENTZ, 3, 3, 2, 2, reflections=full),
        "norm": lambda: MultivectorNorm(LORENTZ),
        "mlp": lambda: GeometricMLP(LORENTZ, 3, 2, factor=4, joins=False, reflections=full),
        "attention": lambda: MultivectorAttention(LORENTZ, 3, 2, heads=2, factor=1, logits="inner", reflections=full),
    }[kind]().double()
    x, s = (torch.randn(5, 7, *shape, generator=generator, dtype=torch.float64) for shape in ((3, 16), (2,)))
    element = moves(generator, discrete=full)
    matrix = outermorphism(element)[:, None, None]
    extra = (visibility(None, like=x),) if kind == "attention" else ()
    moved, invariant = layer(LORENTZ.to_slots((matrix @ x.unsqueeze(-1)).squeeze(-1)), s, *extra)
    still, same = layer(LORENTZ.to_slots(x), s, *extra)
    expected = (matrix @ LORENTZ.from_slots(still).unsqueeze(-1)).squeeze(-1)
    bound = 1e-12 * float(torch.linalg.cond(element).max()) ** 2
    assert ((LORENTZ.from_slots(moved) - expected).norm() / expected.norm()) < bound
    assert (invariant - same).norm() < bound * (1 + same.norm())


@torch.no_grad()
def test_ten_maps_know_parity_and_five_do_not(generator):
    """The duals change sign under reflections: what a layer with ten maps does there is not the group's doing."""
    x = torch.randn(4, 2, 16, generator=generator, dtype=torch.float64)
    parity = outermorphism(Lorentz().discrete_generators()[0])
    errors = []
    for full in (False, True):
        torch.manual_seed(0)
        layer = MultivectorLinear(LORENTZ, 2, 2, reflections=full).double()
        moved, still = (LORENTZ.from_slots(layer(LORENTZ.to_slots(y))[0]) for y in (x @ parity.T, x))
        errors.append(float((moved - still @ parity.T).norm() / still.norm()))
    assert errors[0] > 0.1
    assert errors[1] < 1e-14


# -- the networks --------------------------------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("rapidity", [0.1, 0.5, 1.0, 2.0])
def test_networks_commute_with_boosts_up_to_rapidity_two(config, rapidity, generator):
    """The bound grows with the condition number of the boost, e^(2 r)."""
    module, given = build(config), inputs(generator)
    pushes = boost(rapidity * unit(torch.randn(3, 3, generator=generator, dtype=torch.float64)))
    moved = module(**(given | {"momenta": Lorentz().act(pushes, given["momenta"])}))
    scalars, vectors = module(**given).split((1, 8), -1)
    expected = torch.cat((scalars, Lorentz().act(pushes, vectors.unflatten(-1, (2, 4))).flatten(-2)), -1)
    assert ((moved - expected).norm() / expected.norm()) < 1e-13 * math.exp(4 * rapidity)


@pytest.mark.parametrize("config", [FULL, SLIM], ids=["five maps", "slim"])
def test_networks_of_the_full_group_commute_with_parity_and_time_reversal(config, generator):
    module, given = build(config), inputs(generator)
    assert str(module.symmetry.group) == "Lorentz x S()"
    report = assert_equivariant(module, given, samples=2)
    assert {"parity", "time reversal", "boost"} <= {row.kind for row in report.rows}
    assert report.max_relative < 1e-11


def test_a_network_with_ten_maps_does_not_commute_with_parity(generator):
    """The negative control, and that ten maps are more than five."""
    module, given = build(SMALL), inputs(generator)
    report = equivariance_error(module, given, SIGNATURE.symmetry(Lorentz() * S()), 2)
    errors = {row.kind: row.max_relative for row in report.rows if row.factor == "Lorentz"}
    # a fresh network hardly mixes four momenta, of which a pseudoscalar is made; still far above rounding
    assert errors["parity"] > 1e-8
    assert errors["boost"] < 1e-11
    assert sum(p.numel() for p in build(FULL).parameters()) < sum(p.numel() for p in module.parameters())


@EVERY
def test_networks_in_float32_lose_no_more_than_the_boost_costs(config, generator):
    module = build(config).float()
    assert_equivariant(module, inputs(generator, torch.float32), samples=2)


@pytest.mark.parametrize("config", [SMALL, SLIM], ids=["multivectors", "slim"])
def test_a_massless_particle_and_an_empty_place_are_no_trouble(config):
    module = build(config)
    light = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    y = module(light, torch.zeros(1, 2, 2, dtype=torch.float64))
    gradient = torch.autograd.grad(y.sum(), light)[0]
    assert y.isfinite().all()
    assert gradient.isfinite().all()


# -- spurions ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "group"),
    [
        (LGATrConfig(channels=4, scalars=8, blocks=1, heads=2, spurions=("time",)), SO(3)),
        (LGATrConfig(channels=4, scalars=8, blocks=1, heads=2, spurions=("time", "plane")), SO(2)),
        (LGATrConfig(channels=4, scalars=8, blocks=1, heads=2, spurions=("time", "plane"), spurions_as="tokens"), SO(2)),
        (LGATrConfig(channels=4, scalars=8, blocks=1, heads=2, spurions=("beam",), spurions_as="tokens"), SO(2)),
        (LGATrSlimConfig(vectors=4, scalars=8, blocks=1, heads=2, spurions=("time",)), SO(3)),
        (LGATrSlimConfig(vectors=4, scalars=8, blocks=1, heads=2, spurions=("time", "beam")), SO(2)),
    ],
)
def test_spurions_break_the_symmetry_down_to_what_leaves_them_alone(config, group, generator):
    module, given = build(config), inputs(generator)
    assert module.symmetry.group == group * S()
    assert assert_equivariant(module, given, samples=2).max_relative < 1e-12
    assert equivariance_error(module, given, SIGNATURE.symmetry(), 1).max_relative > 1e-3
    if group == SO(2):
        assert equivariance_error(module, given, SIGNATURE.symmetry(SO(3) * S()), 1).max_relative > 1e-4


def test_spurions_are_the_documented_directions():
    time, forward, backward, plane = spurion_multivectors(("time", "beam", "plane"))
    assert time.tolist() == [0, 1] + [0] * 14
    assert forward[1:5].tolist() == [1, 0, 0, 1]
    assert backward[1:5].tolist() == [1, 0, 0, -1]
    assert plane.nonzero().tolist() == [[8]]
    x, y = as_multivectors(torch.eye(4))[1:3]
    assert torch.equal(LORENTZ.wedge(x, y), plane)


def test_spurion_tokens_take_no_part_in_the_pooling(generator):
    """A jet of one particle is pooled to the output of that particle."""
    config = LGATrConfig(channels=4, scalars=8, blocks=1, heads=2, spurions=("time",), spurions_as="tokens")
    each, pooled = (build(config, Particles(0, 1, 1, pool)) for pool in (None, "mean"))
    one = Particles().example(2, 1, generator, torch.float64)
    assert torch.equal(each(**one)[:, 0], pooled(**one))


# -- the slim parts ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [SlimAttention, SlimMLP, SlimBlock])
def test_every_slim_part_commutes_with_the_group(part, generator):
    torch.manual_seed(0)
    layer = part(SLIM.block_settings()).double()
    v, s = (torch.randn(5, 6, *shape, generator=generator, dtype=torch.float64) for shape in ((4, 4), (8,)))
    element = moves(generator, discrete=True)
    extra = () if part is SlimMLP else (None, False)
    moved, invariant = layer(element[:, None] @ v, s, *extra)
    still, same = layer(v, s, *extra)
    bound = 1e-13 * float(torch.linalg.cond(element).max()) ** 2
    assert (moved - element[:, None] @ still).norm() < bound * moved.norm()
    assert (invariant - same).norm() < bound * same.norm()


@torch.no_grad()
def test_slim_attention_is_an_explicit_loop(generator):
    torch.manual_seed(0)
    layer, config = SlimAttention(SLIM.block_settings()).double(), SLIM
    v, s = (torch.randn(1, 5, *shape, generator=generator, dtype=torch.float64) for shape in ((4, 4), (8,)))
    visible = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    visible[..., 3] = False
    visible[..., 3, 3] = True
    bias = torch.zeros(1, 1, 5, 5).double().where(visible, -torch.inf)
    vectors, scalars = layer.project(v, s)
    c, t = config.vectors // config.heads, config.scalars // config.heads
    found_v, found_s = torch.zeros(1, 5, 4, config.vectors).double(), torch.zeros(1, 5, config.scalars).double()
    for h in range(config.heads):
        parts = [
            joint_norm(
                vectors[0, :, :, k * config.vectors + h * c : k * config.vectors + (h + 1) * c],
                scalars[0, :, k * config.scalars + h * t : k * config.scalars + (h + 1) * t],
                METRIC,
            )
            for k in range(3)
        ]
        for i in range(5):
            logits = [
                float(inner(parts[0][0][i], parts[1][0][j], METRIC).sum() + parts[0][1][i] @ parts[1][1][j]) / math.sqrt(4 * c + t)
                for j in range(5)
            ]
            seen = [j for j in range(5) if visible[0, 0, i, j]]
            total = sum(math.exp(logits[j]) for j in seen)
            for j in seen:
                weight = math.exp(logits[j]) / total
                found_v[0, i, :, h * c : (h + 1) * c] += weight * parts[2][0][j]
                found_s[0, i, h * t : (h + 1) * t] += weight * parts[2][1][j]
    for ours, expected in zip(layer(v, s, bias, False), layer.merge(found_v, found_s), strict=True):
        assert (ours - expected).abs().max() < 1e-12


def test_the_joint_norm_makes_the_mean_of_all_squares_one(generator):
    v, s = 30 * torch.randn(6, 4, 5, generator=generator, dtype=torch.float64), torch.randn(6, 3, generator=generator, dtype=torch.float64)
    v, s = joint_norm(v, s, METRIC)
    assert (torch.cat((inner(v, v, METRIC).abs(), s.square()), -1).mean(-1) - 1).abs().max() < 1e-3


# -- refusals ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (LGATrConfig, {"blocks": 0}, "blocks is 0: give 1 or more"),
        (LGATrConfig, {"spurions": ("time", "time")}, "give each once"),
        (LGATrSlimConfig, {"vectors": 6, "heads": 4}, "vectors 6 do not divide by 4 heads"),
        (LGATrSlimConfig, {"mlp_factor": 0}, "mlp_factor is 0"),
        (LGATrSlimConfig, {"spurions": ("plane",)}, "the plane is a bivector"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_a_contract_about_four_vectors_is_not_carried_over_to_points():
    with pytest.raises(GroupError, match=r"SE\(3\) acts on R\^3 but the contract is about RestrictedLorentz, which acts on R\^4"):
        regrouped(SIGNATURE.symmetry(), SE(3) * S())


@EVERY
def test_inputs_of_another_shape_are_named(config):
    with pytest.raises(ShapeError, match=r"momenta is \[2, 3, 3\]"):
        build(config)(torch.zeros(2, 3, 3).double(), torch.zeros(2, 3, 2).double())
