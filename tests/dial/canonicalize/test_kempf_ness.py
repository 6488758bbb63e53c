import math

import pytest
import torch
from torch import nn

from tests.dial.symmetrize.scenes import DOUBLE, moved_call
from torsor.check import assert_equivariant
from torsor.dial.canonicalize import KempfNess
from torsor.dial.canonicalize.kempf_ness import symmetric_table
from torsor.dial.continuity import probe, straight
from torsor.dial.symmetrize.frames import PCAFrame, RandomPCAFrame
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.phases import PhaseFrame
from torsor.errors import GroupError
from torsor.groups import SL2, SO, S
from torsor.representations import BinaryForms, Permuted, Trivial, Vectors
from torsor.representations.basis import infinitesimal
from torsor.symmetry import Symmetry

INPUTS = {
    "vectors": 4 * Vectors(),
    "quartic": BinaryForms(4),
    "quartic and vectors": BinaryForms(4) + 2 * Vectors() + Trivial(2),
    "sextic": BinaryForms(6),
    "two octics": 2 * BinaryForms(8),
}


class Plain(nn.Module):
    """A smooth network on rows of numbers."""

    def __init__(self, width_in, width_out):
        super().__init__()
        seeded = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(width_in, 12, generator=seeded, **DOUBLE) / width_in)
        self.second = nn.Parameter(torch.randn(12, width_out, generator=seeded, **DOUBLE))

    def forward(self, x):
        return (x @ self.first + 0.3).tanh() @ self.second


def contract(rep, group=None, output=None):
    return Symmetry(SL2() if group is None else group, {"x": rep}, Vectors() if output is None else output)


def positive_forms(degree, count, generator):
    """Sums of d-th powers of linear forms, plus a little of (x^2 + y^2)^(d / 2): strictly positive."""
    angles = math.pi * torch.rand(count, 5, generator=generator, **DOUBLE)
    a, b = angles.cos(), angles.sin()
    rows = torch.stack([math.comb(degree, k) * a**k * b ** (degree - k) for k in range(degree + 1)], -1).sum(1)
    half = degree // 2
    for k in range(half + 1):
        rows[:, 2 * k] += 0.2 * math.comb(half, k)
    return rows


def inputs(name, generator, count=3):
    parts = []
    for copies, part in INPUTS[name].on(SL2()).parts():
        for _ in range(copies):
            forms = isinstance(part, BinaryForms)
            parts.append(
                positive_forms(part.degree, count, generator) if forms else torch.randn(count, part.dim, generator=generator, **DOUBLE)
            )
    return torch.cat(parts, -1)


@pytest.mark.parametrize("degree", [-1, 1, 2, 5])
def test_table_of_symmetric_directions_is_the_derivative_of_the_representation(degree):
    rep = (Vectors() if degree < 0 else BinaryForms(degree)).on(SL2())
    h, e, f = infinitesimal(rep, SL2())
    torch.testing.assert_close(torch.from_numpy(symmetric_table(degree).copy()), torch.stack((h, e + f)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", INPUTS)
def test_least_norm_moves_with_the_input_up_to_a_rotation(name, generator):
    x, sampler = inputs(name, generator), KempfNess(contract(INPUTS[name]))
    b = SL2().sample(3, generator=generator, dtype=torch.float64)
    here, there = (sampler.least_norm({"x": y}) for y in (x, INPUTS[name].apply(SL2(), b, x)))
    turn = there @ b @ SL2().inverse(here)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(2, **DOUBLE).expand(3, 2, 2), rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.linalg.det(here), torch.ones(3, **DOUBLE), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["vectors", "sextic"])
def test_no_other_point_of_the_orbit_is_nearer_to_zero(name, generator):
    x, rep = inputs(name, generator, 1), INPUTS[name].on(SL2())
    weight = torch.ones(rep.dim, **DOUBLE) if name == "vectors" else 1 / torch.tensor([math.comb(6, k) for k in range(7)], **DOUBLE)
    least = rep.apply(SL2(), KempfNess(contract(rep)).least_norm({"x": x}), x).square() @ weight
    others = SL2().sample(2000, generator=generator, dtype=torch.float64)
    nearby = SL2().exp(0.01 * torch.randn(2000, 3, generator=generator, **DOUBLE)) @ KempfNess(contract(rep)).least_norm({"x": x})
    for elements in (others, nearby):
        assert bool((rep.apply(SL2(), elements, x.expand(2000, -1)).square() @ weight >= least - 1e-12).all())


def test_newton_finds_the_closed_form_of_vectors(generator):
    """Beside a form that vanishes, vectors are not alone, and the iteration runs."""
    x = inputs("vectors", generator)
    alone = KempfNess(contract(4 * Vectors())).least_norm({"x": x})
    beside = KempfNess(contract(4 * Vectors() + BinaryForms(4))).least_norm({"x": torch.cat((x, torch.zeros(3, 5, **DOUBLE)), -1)})
    torch.testing.assert_close(beside, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", INPUTS)
def test_any_network_becomes_equivariant(name, generator):
    rep = INPUTS[name]
    module = Symmetrized(Plain(rep.on(SL2()).dim, 3), KempfNess(contract(rep, output=BinaryForms(2))))
    assert module.symmetry.exactness == "exact"
    x = {"x": inputs(name, generator)}
    if name in ("vectors", "quartic"):  # at degree 8 squeezes by a factor of 100 leave no digit of the input
        assert_equivariant(module, x, tolerance=1e-8, samples=2)
    for scale in (0.1, 0.3):
        left, right = moved_call(module, x, SL2().sample(3, generator=generator, dtype=torch.float64, scale=scale))
        torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-8)


def test_networks_that_turn_by_themselves_need_one_call(generator):
    """f(x) = (sum of squares) times a vector is equivariant to rotations, not to SL2; the canonicaliser does the rest."""

    class Turns(nn.Module):
        def forward(self, x):
            return x[:, :2] * x.square().sum(-1, keepdim=True)

    sampler = KempfNess(contract(4 * Vectors()), rotations=None)
    x = {"x": inputs("vectors", generator)}
    assert sampler(x, {}, 1).elements.shape == (3, 1, 2, 2)
    assert_equivariant(Symmetrized(Turns(), sampler), x, samples=4)


@pytest.mark.parametrize("name", ["vectors", "quartic"])
def test_derivatives_are_those_of_the_minimum(name, generator):
    """First and second derivatives against differences of the minimum itself."""
    x = inputs(name, generator, 1).requires_grad_()
    sampler = KempfNess(contract(INPUTS[name]))
    assert torch.autograd.gradcheck(lambda y: sampler.least_norm({"x": y}), (x,), atol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda y: sampler.least_norm({"x": y}), (x,), atol=1e-6, fast_mode=True)


def test_permutations_beside_sl2_rest(generator):
    symmetry = Symmetry(SL2() * S(), {"x": (Vectors(), Permuted(1))}, (Vectors(), Permuted(1)))
    sampler = KempfNess(symmetry)
    x = torch.randn(2, 4, 2, generator=generator, **DOUBLE)
    draws = sampler({"x": x}, {}, 1)
    assert draws.elements[0].shape == (2, 4, 2, 2)
    assert bool((draws.elements[1] == torch.arange(4)).all())


@pytest.mark.parametrize("name", ["vectors", "sextic"])
def test_unstable_inputs_have_finite_elements_and_gradients(name):
    """Zero, parallel vectors, the power of one linear form: the least norm is zero, or not taken on."""
    dim = INPUTS[name].on(SL2()).dim
    unstable = torch.zeros(3, dim, **DOUBLE)
    unstable[1, ::2] = torch.arange(1.0, 1 + (dim + 1) // 2) if name == "vectors" else 0.0
    unstable[1:, 0] = 1.0
    x = unstable.requires_grad_()
    module = Symmetrized(Plain(dim, 2), KempfNess(contract(INPUTS[name])))
    output = module(x)
    assert output.isfinite().all()
    assert torch.autograd.grad(output.square().sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("name", INPUTS)
def test_phases_turn_with_the_input(name, generator):
    rep = INPUTS[name]
    x = torch.randn(2, rep.on(SO(2)).dim, generator=generator, **DOUBLE)
    module = Symmetrized(Plain(x.shape[1], 3), PhaseFrame(contract(rep, SO(2), BinaryForms(2))))
    assert_equivariant(module, {"x": x}, samples=4)


def test_phases_of_vectors_are_their_directions(generator):
    x = torch.randn(2, 6, generator=generator, **DOUBLE)
    draws = PhaseFrame(contract(3 * Vectors(), SO(2)))({"x": x}, {}, 1)
    vectors = x.reshape(2, 3, 2)
    torch.testing.assert_close(draws.elements[..., 0], vectors / vectors.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(draws.weights, vectors.square().sum(-1) / x.square().sum(-1, keepdim=True))


def test_average_over_phases_is_continuous(generator):
    rep = BinaryForms(4) + Vectors()
    module = Symmetrized(Plain(7, 2), PhaseFrame(contract(rep, SO(2))))
    start = {"x": torch.randn(1, 7, generator=generator, **DOUBLE)}
    end = {"x": start["x"].clone()}
    end["x"][:, 5:] *= -1  # the vector passes through zero
    assert probe(module, straight(start, end)).jump < 1e-6


def test_what_kempf_ness_cannot_do_is_refused():
    with pytest.raises(GroupError, match="has 0 factors SL2"):
        KempfNess(contract(Vectors(), SO(2)))
    with pytest.raises(GroupError, match="has no vectors or binary forms"):
        KempfNess(contract(Trivial(3)))
    with pytest.raises(GroupError, match="noise, which SL2 cannot move"):
        KempfNess(contract(3 * Vectors()), rotations=RandomPCAFrame)
    assert isinstance(KempfNess(contract(3 * Vectors()), rotations=PCAFrame).rotations, PCAFrame)


@pytest.mark.compile
def test_canonicalised_networks_compile_whole(generator):
    x = inputs("vectors", generator)
    module = Symmetrized(Plain(8, 2), KempfNess(contract(4 * Vectors())))
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="aot_eager")(x), module(x), rtol=0, atol=1e-10)
