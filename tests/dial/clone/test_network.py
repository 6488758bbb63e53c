from copy import deepcopy

import pytest
import torch
from safetensors.torch import load, save

from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.augment import Augment
from torsor.dial.clone import (
    AnchorSettings,
    ClonedNetwork,
    CloneSettings,
    MLPStudentConfig,
    card_of,
    clone,
    layer_laws,
    layer_teachers,
)
from torsor.dial.clone.network import PLANS, layer_slots
from torsor.errors import ConfigError, RepresentationError, UnknownNameError
from torsor.groups import O
from torsor.models.equivariant_mlp import EquivariantMLP
from torsor.nn.noise import draw_noise
from torsor.nn.penalties import total_penalty
from torsor.nn.rates import rate_factors
from torsor.representations import Trivial, Vectors
from torsor.signatures import FeatureVectors
from torsor.training.optimisers import make_optimizer
from torsor.training.settings import TrainConfig

SIGNATURE = FeatureVectors(O(2), 2 * Vectors(), Vectors() + Trivial())
QUICK = CloneSettings(steps=30, batch_size=64, learning_rate=3e-3, probe_every=30, probe_size=256)


@pytest.fixture(scope="module")
def parts():
    """A small network, and the teachers, laws and quickly made clones of its layers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = EquivariantMLP(SIGNATURE.group, SIGNATURE.rep_in, SIGNATURE.rep_out, hidden=2, depth=1)
    teachers = layer_teachers(network)
    laws = layer_laws(network, teachers)
    students = {slot: clone(t, MLPStudentConfig(hidden=16), law=laws[slot], settings=QUICK) for slot, t in teachers.items()}
    return network, teachers, students, laws


def build(parts, regime, seed=0, **settings):
    network, teachers, students, laws = parts
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ClonedNetwork(network, teachers, students, laws, regime, **settings)


def data(items=64, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    x = SIGNATURE.example(items, generator, dtype)["x"]
    return x, torch.cat((x[:, :2] * x.square().sum(1, keepdim=True), x[:, :1]), 1)


def fit(network, steps=20, learning_rate=1e-2):
    """Train as the loop does: two rates, penalties, noise."""
    x, y = data()
    optimiser = make_optimizer(network, TrainConfig(learning_rate=learning_rate))
    network.train()
    losses = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * group["rate_factor"]
        optimiser.zero_grad()
        noise = draw_noise(network, {"x": x}, torch.Generator().manual_seed(step))
        loss = (network(x, **noise) - y).square().mean()
        losses.append(loss.item())
        penalty = total_penalty(network)
        torch.autograd.backward(loss if penalty is None else loss + penalty)
        optimiser.step()
    network.eval()
    return losses


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.students.parameters()])


def all_taus(network):
    return torch.cat([tau.detach() for taus in network.taus().values() for tau in taus])


# -- what is replaced by what -----------------------------------------------------------------------------------------------------------


def test_layers_between_the_same_representations_share_a_student(parts):
    network, teachers, students, _ = parts
    slots = layer_slots(network)
    assert slots["blocks.0.product.left"] == slots["blocks.0.product.right"]
    assert slots["blocks.0.linear"] != slots["head"]
    assert set(slots.values()) == set(teachers) == set(students)
    cloned = build(parts, "break")
    counts = {slot: len(taus) for slot, taus in cloned.taus().items()}
    assert counts[slots["blocks.0.product.left"]] == 2
    assert sum(p.numel() for p in cloned.parameters()) == sum(len(t) for taus in cloned.taus().values() for t in taus) + sum(
        p.numel() for student in students.values() for p in student.parameters()
    )


def test_the_regime_exact_is_the_network_with_these_parameters(parts):
    exact = build(parts, "exact").double()
    twin = deepcopy(parts[0]).double()
    with torch.no_grad():
        for name, slot in exact.slots.items():
            tau = exact.network.get_submodule(name).tau
            shapes = list(twin.get_submodule(name).named_parameters())
            for (_, parameter), part in zip(shapes, tau.split([p.numel() for _, p in shapes]), strict=True):
                parameter.copy_(part.view_as(parameter))
            assert slot in exact.teachers
    x, _ = data(dtype=torch.float64)
    torch.testing.assert_close(exact(x), twin(x), atol=1e-12, rtol=1e-12)
    assert_equivariant(exact, {"x": x}, 1e-10, samples=2)
    assert not list(exact.students.parameters())


def test_all_regimes_start_with_the_same_parameters_of_the_layers(parts):
    expected = all_taus(build(parts, "exact"))
    for regime in PLANS:
        assert torch.equal(all_taus(build(parts, regime)), expected)


def test_contracts_promise_what_the_regime_keeps(parts):
    words = {regime: build(parts, regime).symmetry.exactness for regime in PLANS}
    assert words == {
        "exact": "exact",
        "retain": "approximate",
        "break": "approximate",
        "anchored": "approximate",
        "scratch": "none",
        "augment": "none",
    }
    report = equivariance_error(build(parts, "retain"), {"x": data()[0]}, samples=2)
    assert "approximate at the start, on the laws that its 4 kinds of layers were cloned on" in str(report)
    assert build(parts, "exact").guarantee == ""


def test_the_diagnosis_is_the_error_on_what_the_layers_see(parts):
    x, _ = data(512)
    network = build(parts, "break")
    found = network.diagnose(x)
    assert set(found) == set(layer_slots(parts[0]))
    first = network.network.get_submodule("blocks.0.linear")
    target = network.teachers["slot0"](x, first.tau)
    expected = (network.students["slot0"](x, first.tau) - target).square().mean() / target.square().mean()
    assert found["blocks.0.linear"]["nmse"] == pytest.approx(expected.item(), rel=1e-5)
    assert found["blocks.0.linear"]["tau"] == pytest.approx(first.tau.square().mean().sqrt().item() / network.teachers["slot0"].scale)
    assert all(figures["nmse"] < 1e-10 for figures in build(parts, "exact").diagnose(x).values())


def test_students_of_deeper_layers_are_cloned_on_the_law_of_their_inputs(parts):
    _, teachers, students, laws = parts
    slot = layer_slots(parts[0])["head"]
    assert laws[slot].source == "matched to activations"
    assert laws["slot0"].source == "standard normal"
    assert card_of(students[slot]).law["x"] == "matched to activations"
    assert set(teachers) == set(laws)


# -- what is trained ------------------------------------------------------------------------------------------------------------------


def test_retain_reaches_the_taus_alone(parts):
    network = build(parts, "retain")
    before, taus = weights(network), all_taus(network)
    losses = fit(network)
    assert torch.equal(weights(network), before)
    assert not torch.equal(all_taus(network), taus)
    assert all(p.grad is None for p in network.students.parameters())
    assert losses[-1] < losses[0]


def test_break_trains_the_clones_at_a_rate_of_their_own(parts):
    network = build(parts, "break", rate_factor=0.1)
    factors = rate_factors(network)
    assert {factors[p] for p in network.students.parameters()} == {0.1}
    assert {factors[tau] for taus in network.taus().values() for tau in taus} == {1.0}
    before, taus = weights(network), all_taus(network)
    fit(network, steps=1)
    assert (weights(network) - before).abs().max().item() == pytest.approx(1e-3, rel=1e-2)
    assert (all_taus(network) - taus).abs().max().item() == pytest.approx(1e-2, rel=1e-2)


def test_an_anchor_of_strength_zero_is_the_regime_break_step_for_step(parts):
    free, held = build(parts, "break"), build(parts, "anchored", anchor=AnchorSettings(strength=0.0))
    assert fit(free) == fit(held)
    assert torch.equal(weights(free), weights(held))
    assert torch.equal(all_taus(free), all_taus(held))


@pytest.mark.parametrize("kind", ["weights", "functions", "teacher"])
def test_an_anchor_of_huge_strength_is_the_regime_retain(kind, parts):
    held = build(parts, "anchored", anchor=AnchorSettings(strength=1e12, kind=kind, batch_size=32))
    retained = build(parts, "retain")
    x, _ = data(seed=2)
    fit(held, steps=10), fit(retained, steps=10)
    with torch.no_grad():
        assert (held(x) - retained(x)).abs().max() < 1e-4 * retained(x).abs().max()
    assert held.drift().item() < 1e-6


def test_a_tighter_anchor_keeps_the_weights_closer(parts):
    drifts = []
    for strength in (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0):
        runs = [build(parts, "anchored", seed, anchor=AnchorSettings(strength=strength)) for seed in range(5)]
        for run in runs:
            fit(run, steps=3)
        drifts.append(sorted(run.drift().item() for run in runs)[2])
    assert drifts == sorted(drifts, reverse=True)
    assert drifts[-1] < 0.3 * drifts[0]


def test_scratch_and_augment_differ_by_what_is_moved(parts):
    scratch, augment = build(parts, "scratch"), build(parts, "augment")
    augment.load_state_dict(scratch.state_dict())
    x, _ = data()
    assert torch.equal(scratch(x), augment(x))
    inputs, generator = {"x": x}, torch.Generator().manual_seed(0)
    assert draw_noise(scratch.train(), inputs, generator) == {}
    assert draw_noise(augment.eval(), inputs, generator) == {}
    assert set(draw_noise(augment.train(), inputs, generator)) == {"moves"}


def test_the_loss_of_a_moved_sample_is_that_of_augmentation(parts):
    network = build(parts, "augment").double().train()
    x, y = data(dtype=torch.float64)
    moves = draw_noise(network, {"x": x}, torch.Generator().manual_seed(3))
    task = SIGNATURE.symmetry()
    augmented = Augment(type(task)(task.group, {**task.inputs, "y": task.output}, task.output))
    batch = augmented({"x": x, "y": y}, torch.Generator().manual_seed(3))
    expected = (network(batch["x"]) - batch["y"]).square().mean()
    torch.testing.assert_close((network(x, **moves) - y).square().mean(), expected, atol=1e-12, rtol=1e-12)


def test_the_prior_pulls_the_taus_towards_where_clones_were_trained(parts):
    network = build(parts, "retain", prior=2.0)
    penalty = total_penalty(network)
    squares = [(tau / network.teachers[slot].scale).square().mean() / 2 for slot, taus in network.taus().items() for tau in taus]
    torch.testing.assert_close(penalty, 2 * torch.stack(squares).mean())
    assert total_penalty(build(parts, "retain")) is None


# -- the network as a module ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regime", ["exact", "retain", "anchored"])
def test_saved_weights_and_copies_compute_the_same(regime, parts):
    first, second = build(parts, regime, 0), build(parts, regime, 1)
    fit(first, steps=2)
    x, _ = data()
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(load(save({name: t.contiguous() for name, t in first.state_dict().items()})))
    assert torch.equal(first(x), second(x))
    twin = deepcopy(first)
    expected = first(x)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert torch.equal(first(x), expected)
    assert not torch.equal(twin(x), expected)


@pytest.mark.compile
@pytest.mark.parametrize("regime", ["exact", "break"])
def test_compiles_as_one_graph(regime, parts):
    network = build(parts, regime)
    x, _ = data()
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), network(x), atol=1e-5, rtol=1e-5)


def test_what_makes_no_network_is_refused(parts):
    network, teachers, students, laws = parts
    with pytest.raises(UnknownNameError, match="unknown regime 'brake': did you mean 'break'"):
        ClonedNetwork(network, teachers, students, laws, "brake")
    with pytest.raises(ConfigError, match="there is no student for the layers slot3: give one for each"):
        ClonedNetwork(network, teachers, {slot: s for slot, s in students.items() if slot != "slot3"}, laws, "retain")
    with pytest.raises(RepresentationError, match="Linear has no EquivariantLinear layer: clone the whole network"):
        layer_teachers(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="only the regime 'anchored' remembers"):
        build(parts, "break").drift()
