"""`torsor.symmetrize` and its registered form: which sampler stands behind which word, and that the promise is kept."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import torsor
from tests.dial.symmetrize.networks import Dense, cloud, cloud_contract, coupled_error, dense
from torsor.dial.symmetrize.averages import Enumerated, Haar
from torsor.dial.symmetrize.chain import Chained
from torsor.dial.symmetrize.config import SymmetrizedConfig
from torsor.dial.symmetrize.controls import Identity, Phased, SameNoise
from torsor.dial.symmetrize.frames import PCAFrame, RandomPCAFrame
from torsor.dial.symmetrize.learned import Learned, LearnedConfig
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.orders import OrderFrame, RandomOrderFrame
from torsor.dial.symmetrize.symdiff import Symdiff
from torsor.dial.symmetrize.weighted import WeightedFrame
from torsor.errors import GroupError, SignatureError, UnknownNameError
from torsor.groups import SE, SL2, SO, TC, C, E, Lorentz, O, S, T
from torsor.models.egnn import EGNN
from torsor.models.transformer import Transformer
from torsor.nn.energy_forces import EnergyForces
from torsor.representations import Defining, Points, Trivial, Vectors
from torsor.signatures import FeatureVectors, Graphs, Particles, PointClouds
from torsor.symmetry import Symmetry

FORCES = PointClouds("1x0e + 1x1o", "1x1o", points=5)
SIGNATURES = {
    "clouds": FORCES,
    "particles": Particles(scalars_in=2, scalars_out=1, vectors_out=1),
    "graphs": Graphs(node_features=2, edge_features=1, outputs=2, level="node", nodes=5),
    "vectors": FeatureVectors(O(2), 3 * Vectors(), Vectors() + Trivial()),
}
SMALL = {"clouds": {"hidden": 16}, "particles": {"width": 16, "heads": 2, "layers": 1}, "graphs": {"hidden": 16}, "vectors": {"hidden": 16}}
EXPECTED = {
    "auto": {"clouds": Learned, "particles": Haar, "graphs": Learned, "vectors": Haar},
    "average": dict.fromkeys(SIGNATURES, Haar),
    "frame": {"clouds": Chained, "particles": PCAFrame, "graphs": OrderFrame, "vectors": PCAFrame},
    "sampled-frame": {"clouds": Chained, "particles": RandomPCAFrame, "graphs": RandomOrderFrame, "vectors": RandomPCAFrame},
    "weighted-frame": {"clouds": Chained, "particles": WeightedFrame, "vectors": WeightedFrame},
    "symdiff": dict.fromkeys(SIGNATURES, Symdiff),
    "tta": dict.fromkeys(SIGNATURES, Phased),
    "enumerate": {"graphs": Enumerated},
}


def example(signature, generator):
    if isinstance(signature, FeatureVectors):
        return signature.example(2, generator, torch.float64)
    return signature.example(2, 5, generator, torch.float64, lengths=(5, 3))


@pytest.mark.parametrize("method", EXPECTED)
@pytest.mark.parametrize("kind", SIGNATURES)
def test_every_method_serves_the_families_it_should_and_keeps_its_promise(method, kind, generator):
    signature = SIGNATURES[kind]
    config = SymmetrizedConfig(method=method, model=SMALL[kind], samples=2, evaluation_samples=2)
    if kind not in EXPECTED[method]:
        with pytest.raises(GroupError, match="has none of one item" if method == "weighted-frame" else "has no list of elements"):
            config.build(signature)
        return
    module, inputs = config.build(signature).double().eval(), example(signature, generator)
    for p in module.base.parameters():  # the last layer starts near zero
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    assert type(module.sampler) is EXPECTED[method][kind]
    assert module.symmetry.exactness == ("exact" if method in ("frame", "weighted-frame", "enumerate") else "coupled")
    size = module(**inputs).detach().abs().max()
    assert size > 1e-3
    assert coupled_error(module, inputs, generator) < 1e-10 * max(1.0, float(size))


@pytest.mark.parametrize("method", ["augment", "none"])
def test_methods_that_promise_nothing_say_so(method, generator):
    module = SymmetrizedConfig(method=method, model={"hidden": 16}).build(FORCES).double().eval()
    inputs = example(FORCES, generator)
    assert module.symmetry.exactness == "none"
    torch.testing.assert_close(module(**inputs), module.base(**inputs), rtol=0, atol=1e-14)
    assert coupled_error(module, inputs, generator) > 1e-6


def test_one_pose_of_its_own_is_relaxed_and_asks_for_no_noise(generator):
    for signature in (FORCES, SIGNATURES["graphs"]):
        module = SymmetrizedConfig(method="canonical").build(signature).double().eval()
        assert module.symmetry.exactness == "relaxed"
        assert not module.sampler.noise
        assert coupled_error(module, example(signature, generator), generator) < 1e-10


# -- what the network does by itself ------------------------------------------------------------------------------------------------------


def test_factors_that_the_network_respects_are_left_to_it(generator):
    network = Transformer("1x0e + 1x1o", "1x1o", width=16, heads=2, layers=1).double()
    module = torsor.symmetrize(network, FORCES.symmetry(E(3) * S()), "average", samples=2)
    assert module.sampler.moving == (True, False)
    assert coupled_error(module, example(FORCES, generator), generator) < 1e-10
    learned = torsor.symmetrize(network, FORCES.symmetry(E(3) * S()), samples=2, signature=FORCES).eval().double()
    assert isinstance(learned.sampler, Learned)
    assert learned.sampler.moving == (True, False)
    assert coupled_error(learned, example(FORCES, generator), generator) < 1e-10


def test_a_network_that_keeps_all_of_it_is_left_alone(generator):
    network = EGNN("1x0e + 1x1o", "1x1o", hidden=8, layers=1).double()
    module = torsor.symmetrize(network)
    assert isinstance(module.sampler, Identity)
    assert module.symmetry.exactness == network.symmetry.exactness == "exact"
    inputs = example(FORCES, generator)
    torch.testing.assert_close(module(**inputs), network(**inputs), rtol=0, atol=1e-14)


def test_a_promise_of_nothing_settles_nothing():
    module = torsor.symmetrize(dense(), replace(cloud_contract(O(3) * S()), exactness="none"), "average")
    assert module.sampler.moving == (True, True)


# -- any network --------------------------------------------------------------------------------------------------------------------------


class TinyVision(nn.Module):
    """A network of images: patches, positions, a class token; nothing of it knows of graphs."""

    def __init__(self, size=8):
        super().__init__()
        self.patches = nn.Conv2d(1, 12, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.positions = nn.Parameter(torch.randn(1, 1 + (size // 2) ** 2, 12))
        self.block = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, adjacency):
        tokens = self.patches(adjacency.unsqueeze(1)).flatten(2).mT
        tokens = torch.cat((self.token.expand(len(tokens), -1, -1), tokens), 1) + self.positions
        return self.head(self.block(tokens)[:, 0])


def test_a_vision_transformer_becomes_invariant_to_the_order_of_nodes(generator):
    signature = Graphs(outputs=3, nodes=8)
    torch.manual_seed(0)
    module = torsor.symmetrize(TinyVision().double(), signature.symmetry(), samples=2, signature=signature).double().eval()
    inputs = signature.example(2, 8, generator, torch.float64)
    assert isinstance(module.sampler, Learned)
    assert coupled_error(module, inputs, generator) < 1e-10
    assert coupled_error(Symmetrized(module.base, Identity(signature.symmetry())), inputs, generator) > 1e-3


def test_a_vision_transformer_from_timm_becomes_equivariant_to_quarter_turns(generator):
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=3, img_size=32).double().eval()
    from torsor.representations import GridRotated

    contract = Symmetry(C(4), {"x": GridRotated()}, Trivial())
    module = torsor.symmetrize(network, contract, "enumerate")
    x = torch.randn(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(module(x), module(x.rot90(1, (2, 3))), rtol=0, atol=1e-10)


# -- frames -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "kinds"),
    [(E(3) * S(), [PCAFrame, OrderFrame]), (T(3) * S(), [Enumerated, OrderFrame]), (TC(4) * S(), [Enumerated, OrderFrame])],
    ids=str,
)
def test_frames_of_products_are_chained_factor_by_factor(group, kinds, generator):
    d = 2 if group == TC(4) * S() else 3
    contract = cloud_contract(group)
    contract = replace(contract, inputs={"positions": contract.inputs["positions"]})
    module = torsor.symmetrize(Dense(4 * d, 4 * d), contract, "frame")
    assert [type(stage) for stage in module.sampler.stages] == kinds
    inputs = {"positions": cloud(generator, d)["positions"]}
    assert coupled_error(module, inputs, generator) < 1e-10


def test_all_of_a_group_as_a_frame_is_the_average_over_it(generator):
    contract, inputs = cloud_contract(S()), cloud(generator)
    inputs["positions"][:] = 1.0  # all alike, so that every order agrees with the frame
    network = dense()

    class Constant(OrderFrame):
        def ranks(self, inputs, valid):
            return torch.zeros_like(valid, dtype=torch.int64)

    from torsor.dial.symmetrize.node_keys import ValueKeys

    frame = Symmetrized(network, Constant(contract, ValueKeys("positions")))
    torch.testing.assert_close(frame(**inputs), Symmetrized(network, Enumerated(contract))(**inputs), rtol=0, atol=1e-12)


# -- refusals -----------------------------------------------------------------------------------------------------------------------------


def test_unknown_words_are_corrected():
    with pytest.raises(UnknownNameError, match="unknown method of symmetrisation 'framing': did you mean 'frame'"):
        torsor.symmetrize(dense(), cloud_contract(O(3)), "framing")


@pytest.mark.parametrize(
    ("group", "method", "settings", "said"),
    [
        (O(3), "probabilistic", {}, "give signature=PointClouds"),
        (O(3), "symdiff", {}, "needs network="),
        (O(3), "enumerate", {}, "has no list of elements"),
        (O(3), "average", {"prior": 1.0}, "Haar learns nothing"),
        (SE(3) * S(), "average", {"antithetic": True}, "does not hold x -> -x"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(group, method, settings, said):
    with pytest.raises(GroupError, match=said) as caught:
        torsor.symmetrize(dense(), cloud_contract(group), method, **settings)
    assert "\n" not in str(caught.value)


def test_a_network_without_a_contract_is_asked_for_one():
    with pytest.raises(GroupError, match="Linear has no contract"):
        torsor.symmetrize(nn.Linear(2, 2))


def test_groups_without_frames_are_refused():
    contract = Symmetry(Lorentz(), {"x": Defining()}, Defining())
    for method, said in (("frame", "Lorentz has no frame"), ("average", "Lorentz has no uniform draws")):
        with pytest.raises(GroupError, match=said):
            torsor.symmetrize(nn.Linear(4, 4), contract, method)


def test_special_linear_maps_have_a_pose_but_no_average():
    contract = Symmetry(SL2(), {"x": Vectors() + Vectors()}, Trivial())
    assert torsor.symmetrize(nn.Linear(4, 1), contract, "canonical").symmetry.exactness != "coupled"
    with pytest.raises(GroupError, match="no uniform draws"):
        torsor.symmetrize(nn.Linear(4, 1), contract, "average")


def test_a_registered_network_of_the_wrong_family_is_refused():
    with pytest.raises(SignatureError, match="egnn cannot serve"):
        SymmetrizedConfig(model={"name": "egnn"}).build(SIGNATURES["graphs"])


# -- settings -----------------------------------------------------------------------------------------------------------------------------


def test_settings_reach_their_places():
    config = SymmetrizedConfig(
        model={"name": "transformer", "width": 16, "heads": 2, "layers": 1},
        method="probabilistic",
        group="O(3) x S()",
        samples=3,
        evaluation_samples=7,
        max_batch=5,
        law=LearnedConfig(eta=0.5, temperature=0.3),
        prior=0.1,
        relaxation="soft",
        seed=4,
    )
    module = config.build(FORCES)
    assert str(module.symmetry.group) == "O(3) x S()"
    assert (module.samples, module.evaluation_samples, module.seed, module.prior) == (3, 7, 4, 0.1)
    assert (module.transport.max_batch, module.transport.relaxation) == (5, "soft")
    assert module.sampler.temperature == 0.3
    assert isinstance(replace(config, fixed_noise=True).build(FORCES).sampler, SameNoise)
    stratified = SymmetrizedConfig(method="average", stratified=True).build(FORCES)
    assert stratified.sampler.stratified


def test_a_sampler_of_ones_own_stands_in_for_a_method(generator):
    contract = Symmetry(SO(3), {"positions": Points()}, Vectors())
    module = torsor.symmetrize(Dense(12, 12), contract, Haar(contract, stratified=True), samples=12)
    assert coupled_error(module, {"positions": cloud(generator)["positions"]}, generator) < 1e-10


def test_training_lowers_the_loss_and_moves_both_parts(generator):
    signature = Graphs(node_features=2, nodes=5)
    module = SymmetrizedConfig(model={"hidden": 16}, samples=2).build(signature).double().train()
    inputs = signature.example(8, 5, generator, torch.float64)
    target = inputs["adjacency"].sum((1, 2))[:, None] / 10
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        noise = module.draw(inputs, generator)
        loss = (module(**inputs, **noise) - target).square().mean()
        penalty = module.penalty()
        assert penalty is not None
        (loss + penalty).backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in module.sampler.parameters())


def test_forces_of_a_symmetrised_energy_turn_with_the_cloud_and_can_be_trained_on(generator):
    signature = PointClouds("2x0e", "1x0e", pool="sum", points=5)
    inputs = signature.example(2, 5, generator, torch.float64, lengths=(5, 3))
    config = SymmetrizedConfig(
        method="probabilistic",
        group="E(3) x S()",
        model={"hidden": 16, "output_scale": 1.0},
        samples=2,
        law=LearnedConfig(statistics="item"),
    )
    forces = EnergyForces(config.build(signature).double()).train()
    noise = forces.draw(inputs, generator)
    loss = forces(**inputs, **noise)["forces"].square().sum()
    penalty = forces.model.penalty()
    assert penalty is not None
    (loss + penalty).backward()
    trained = [p.grad for p in forces.model.sampler.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in trained)
    assert any(g.abs().max() > 0 for g in trained)
    assert coupled_error(forces.eval(), inputs, generator) < 1e-9
