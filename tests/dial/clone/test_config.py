import pytest
import torch

from torsor.check import equivariance_error
from torsor.config import named_from_mapping, named_to_mapping
from torsor.dial.clone import AnchorSettings, CloneSettings, MLPStudentConfig, card_of, cloning
from torsor.dial.clone.config import ClonedConfig
from torsor.dial.clone.network import PLANS, ClonedNetwork
from torsor.errors import ConfigError, SignatureError
from torsor.groups import C, O
from torsor.models import REGISTRY
from torsor.nn.noise import draw_noise
from torsor.representations import Commuting, Regular, Trivial, Vectors
from torsor.signatures import FeatureVectors, Particles, PointClouds
from torsor.symmetry import Symmetry
from torsor.tasks.invariant_regression import InvariantRegressionConfig
from torsor.testing import ModelSuite
from torsor.training.loop import Loop, train
from torsor.training.settings import TrainConfig

SIGNATURE = FeatureVectors(O(2), 2 * Vectors(), Trivial())
MODEL = {"name": "equivariant-mlp", "channels": 1, "layers": 1}
QUICK = CloneSettings(steps=6, batch_size=16, probe_every=3, probe_size=64)
SMALL = {"model": MODEL, "student": {"name": "mlp", "hidden": 8}, "cloning": QUICK}


def build(config, signature=SIGNATURE, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return config.build(signature)


@pytest.fixture
def counted(monkeypatch):
    """How often something was really cloned, with an empty memory."""
    calls = []
    monkeypatch.setattr(cloning, "_MEMORY", type(cloning._MEMORY)())
    original = cloning.clone
    monkeypatch.setattr(cloning, "clone", lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
    return calls


def test_every_regime_is_built_by_name_and_survives_its_mapping():
    for regime in PLANS:
        config = ClonedConfig(regime=regime, **SMALL)
        mapping = named_to_mapping(REGISTRY, config)
        assert mapping["name"] == "cloned"
        assert named_from_mapping(REGISTRY, mapping, "model") == config
        network = build(config)
        assert isinstance(network, ClonedNetwork)
        assert network(SIGNATURE.example(3)["x"]).shape == (3, 1)


def test_all_arms_of_a_seed_start_with_the_same_parameters_of_the_layers():
    def taus(regime, seed=0):
        found = build(ClonedConfig(regime=regime, **SMALL), seed=seed).taus()
        return torch.cat([tau.detach() for slot in found.values() for tau in slot])

    expected = taus("exact")
    for regime in ("retain", "break", "scratch", "augment"):
        assert torch.equal(taus(regime), expected)
    assert not torch.equal(taus("exact", seed=1), expected)


def test_the_arms_of_a_study_clone_once(counted):
    networks = [build(ClonedConfig(regime=regime, **SMALL), seed=seed) for seed in (0, 1) for regime in ("retain", "break", "anchored")]
    slots = len(networks[0].students)
    assert len(counted) == slots
    first = list(networks[0].students.parameters())
    for network in networks[1:]:
        assert all(torch.equal(a, b) for a, b in zip(first, network.students.parameters(), strict=True))
        assert all(a is not b for a, b in zip(first, network.students.parameters(), strict=True))
    build(ClonedConfig(regime="retain", **SMALL | {"cloning": CloneSettings(steps=7, batch_size=16, probe_every=3, probe_size=64)}))
    assert len(counted) == 2 * slots


def test_the_regimes_without_clones_clone_nothing(counted):
    for regime in ("exact", "scratch", "augment"):
        build(ClonedConfig(regime=regime, **SMALL))
    assert not counted


def test_clones_in_a_directory_are_there_for_the_next_process(counted, tmp_path):
    config = ClonedConfig(regime="retain", directory=str(tmp_path / "clones"), **SMALL)
    first = build(config)
    cloning._MEMORY.clear()  # another process
    second = build(config)
    assert len(counted) == len(first.students) == len(list((tmp_path / "clones").iterdir()))
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor)
    assert second.guarantee == first.guarantee != ""


def test_regular_representations_are_cloned_too():
    signature = FeatureVectors(C(3), Regular(), Trivial())
    network = build(ClonedConfig(regime="retain", **SMALL), signature)
    report = equivariance_error(network, signature.example(4), samples=2)
    assert report.max_relative > 0
    assert report.exactness == "approximate"


def test_every_regime_serves_a_product_of_groups():
    shifted = Commuting(Regular() @ Trivial(3), Trivial(2) @ Regular())
    signature = FeatureVectors(C(2) * C(3), shifted, Trivial(2))
    inputs = signature.example(6, dtype=torch.float32)
    for regime, plan in PLANS.items():
        network = build(ClonedConfig(regime=regime, **SMALL), signature)
        noise = draw_noise(network.train(), inputs, torch.Generator().manual_seed(0))
        assert ("moves" in noise) is plan.moves
        torch.autograd.backward(network(**inputs, **noise).square().mean())
        report = equivariance_error(network.eval(), inputs, samples=2)
        assert (report.max_relative < 1e-5) is (regime == "exact")
        assert report.exactness == plan.promise


CLOUDS = PointClouds("2x0e", "1x0e", pool="sum", points=3)
DISTILLED = {"model": {"name": "egnn", "hidden": 8, "layers": 1}, "student": {"name": "mlp", "hidden": 8, "layers": 1}, "cloning": QUICK}


def test_models_of_other_families_are_distilled_as_a_whole(counted):
    student = build(ClonedConfig(regime="break", **DISTILLED), CLOUDS)
    assert type(student).__name__ == "MLP"
    assert card_of(student).teacher["teacher"] == "EGNN"
    assert student.symmetry.exactness == "approximate"
    assert student.symmetry.group == build(ClonedConfig(regime="exact", **DISTILLED), CLOUDS).symmetry.group
    assert build(ClonedConfig(regime="scratch", **DISTILLED), CLOUDS).symmetry.exactness == "none"
    assert len(counted) == 1
    with pytest.raises(ConfigError, match="a whole model has no regime 'retain': give 'exact', 'break' or 'scratch'"):
        build(ClonedConfig(regime="retain", **DISTILLED), CLOUDS)


def test_particles_are_distilled_too():
    signature = Particles(scalars_out=1, pool="mean")
    model = {"name": "lgatr-slim", "vectors": 2, "scalars": 4, "blocks": 1, "heads": 1}
    student = {"name": "transformer", "width": 8, "heads": 2, "layers": 1}
    network = build(ClonedConfig(model=model, student=student, regime="break", points=3, cloning=QUICK), signature)
    assert "Lorentz" in card_of(network).teacher["group"]


def test_a_model_of_another_family_is_refused():
    with pytest.raises(SignatureError, match="egnn cannot serve feature vectors"):
        build(ClonedConfig(model={"name": "egnn"}))


def test_the_published_student_is_the_default():
    assert ClonedConfig().regime == "break"
    assert MLPStudentConfig() == MLPStudentConfig(hidden=256, layers=2, activation="gelu", homogeneous=())


def test_an_anchored_run_that_was_stopped_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    task = InvariantRegressionConfig(train_size=32, valid_size=16, test_size=16).build()
    anchor = AnchorSettings(kind="teacher", schedule="linear", steps=5, batch_size=8)
    config = ClonedConfig(regime="anchored", anchor=anchor, **SMALL)
    settings = TrainConfig(steps=4, batch_size=8, evaluate_every=1)
    whole = train(task, config, settings, tmp_path / "whole", quiet=True)
    update = Loop.update

    def until_the_third(loop):
        if loop.step == 2:
            raise KeyboardInterrupt
        return update(loop)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "update", until_the_third)
        with pytest.raises(KeyboardInterrupt):
            train(task, config, settings, tmp_path / "stopped", quiet=True)
    resumed = train(task, config, settings, tmp_path / "stopped", resume=True, quiet=True)
    assert resumed.test == whole.test
    assert resumed.valid == whole.valid


class TestExactRegime(ModelSuite):
    """The equivariant network, its parameters held as vectors."""

    positions = ""
    masked = False
    broken = 1e-5  # products start small beside the linear terms, which no invariant has
    parameters = 12

    def make(self, dtype):
        return ClonedConfig(regime="exact", **SMALL).build(SIGNATURE).to(dtype)

    def inputs(self, dtype, lengths):
        return SIGNATURE.example(len(lengths), torch.Generator().manual_seed(3), dtype)

    def beyond(self, module):
        # vectors that are turned one by one
        return Symmetry(O(2) * O(2), {"x": (Vectors() + Trivial(2), Trivial(2) + Vectors())}, (Trivial(), Trivial()))
