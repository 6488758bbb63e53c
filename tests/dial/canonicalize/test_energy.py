import pytest
import torch
from torch import nn

from tests.dial.symmetrize.scenes import DOUBLE
from torsor.check import assert_equivariant, relaxed_error
from torsor.dial.canonicalize import EnergyCanonical, EnergyFrame
from torsor.dial.symmetrize.module import Symmetrized
from torsor.errors import GroupError, ShapeError
from torsor.groups import SO, C, D, O, S
from torsor.representations import GridRotated, Permuted, Trivial
from torsor.symmetry import Symmetry

GROUPS = [C(4), D(4), C(2)]


class Pixels(nn.Module):
    """A network on an image without symmetry: another image, two numbers, or an energy."""

    def __init__(self, side, out, channels=2, seed=0):
        super().__init__()
        seeded = torch.Generator().manual_seed(seed)
        width = channels * side * side
        outputs = {"image": width, "class": 2, "energy": 1}[out]
        self.out = out
        self.first = nn.Parameter(torch.randn(width, 20, generator=seeded, **DOUBLE) / width**0.5)
        self.second = nn.Parameter(torch.randn(20, outputs, generator=seeded, **DOUBLE))

    def forward(self, image):
        y = (image.flatten(1) @ self.first + 0.2).tanh() @ self.second
        return y.reshape(image.shape) if self.out == "image" else y


def contract(group, dense):
    return Symmetry(group, {"image": GridRotated()}, GridRotated() if dense else Trivial())


def images(generator, side=5):
    return {"image": torch.randn(3, 2, side, side, generator=generator, **DOUBLE)}


@pytest.mark.parametrize("dense", [True, False], ids=["image", "class"])
@pytest.mark.parametrize("kind", [EnergyCanonical, EnergyFrame])
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_any_energy_makes_any_network_equivariant(group, kind, dense, generator):
    """Also where the output is an image, which has to be turned back."""
    sampler = kind(contract(group, dense), Pixels(5, "energy", seed=1))
    module = Symmetrized(Pixels(5, "image" if dense else "class"), sampler).eval()
    assert_equivariant(module, images(generator), samples=2)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_best_element_moves_with_the_image(group, generator):
    sampler = EnergyCanonical(contract(group, True), Pixels(5, "energy")).eval()
    x = images(generator)
    h = group.sample(3, generator=generator)
    here, there = (sampler(y, {}, 1).elements for y in (x, sampler.symmetry.transform(h, x)))
    assert here.shape == (3, 1, 2)
    assert torch.equal(there, group.compose(h.unsqueeze(1), here))


def test_symmetric_image_is_canonicalised_up_to_its_symmetry(generator):
    """An image that a half turn leaves alone: the two best elements are equally good, and the first of the list is taken."""
    half = torch.randn(1, 2, 5, 5, generator=generator, **DOUBLE)
    x = {"image": half + half.rot90(2, (-2, -1))}
    energy = Pixels(5, "energy", seed=2)
    report = relaxed_error(Symmetrized(Pixels(5, "image"), EnergyCanonical(contract(C(4), True), energy)).eval(), x, samples=8)
    assert report.stabilisers == (2,)
    assert report.verdict == "relaxed"
    framed = relaxed_error(Symmetrized(Pixels(5, "image"), EnergyFrame(contract(C(4), True), energy)).eval(), x, samples=8)
    assert framed.verdict == "exact"


def test_training_gives_the_same_output_and_a_gradient_for_the_energy(generator):
    module = Symmetrized(Pixels(5, "class"), EnergyCanonical(contract(C(4), False), Pixels(5, "energy", seed=1)))
    x = images(generator)
    training = module.train()(**x)
    torch.testing.assert_close(training, module.eval()(**x), rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(training.square().sum(), tuple(module.sampler.energy.parameters()))
    assert all(g.abs().max() > 0 for g in gradients)


def test_straight_through_gradient_is_that_of_the_probabilities(generator):
    """d output / d p_g is the term of g, as in the weighted average, but with the terms weighted by what is best."""
    sampler = EnergyCanonical(contract(C(4), False), Pixels(5, "energy", seed=1)).train()
    x = images(generator)
    weights = sampler(x, {}, 1).weights
    probabilities = sampler.probabilities(x)
    terms = torch.randn(3, 4, generator=generator, **DOUBLE)
    parameters = tuple(sampler.energy.parameters())
    through, soft = (torch.autograd.grad((w * terms).sum(), parameters, retain_graph=True) for w in (weights, probabilities))
    for a, b in zip(through, soft, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert set(weights.detach().round(decimals=9).unique().tolist()) == {0.0, 1.0}


def test_prior_pulls_upright_images_to_the_identity(generator):
    """Fifteen steps on the penalty alone make the identity the best element of what was trained on, and of nothing turned."""
    sampler = EnergyCanonical(contract(C(4), False), Pixels(5, "energy", seed=3), prior=1.0)
    module = Symmetrized(Pixels(5, "class"), sampler).train()
    x = images(generator)
    optimiser = torch.optim.Adam(sampler.energy.parameters(), lr=0.1)
    for _ in range(15):
        module(**x)
        loss = module.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()
    assert sampler(x, {}, 1).elements.abs().sum() == 0
    turned = sampler.symmetry.transform(torch.tensor([[1, 0]] * 3), x)
    assert sampler(turned, {}, 1).elements[..., 0].tolist() == [[1], [1], [1]]
    assert module.penalty() is None


def test_permutations_of_few_items_have_energies_too(generator):
    class Weighted(nn.Module):
        def forward(self, x):
            return (x * torch.arange(3, **DOUBLE)).sum(-1)

    symmetry = Symmetry(S(3), {"x": Permuted(1)}, Permuted(1))
    sampler = EnergyCanonical(symmetry, Weighted()).eval()
    x = torch.randn(4, 3, generator=generator, **DOUBLE)
    upright = Permuted(1).apply(S(3), S(3).inverse(sampler({"x": x}, {}, 1).elements[:, 0]), x)
    torch.testing.assert_close(upright, x.sort(-1).values)


def test_what_has_no_list_of_elements_is_refused(generator):
    for group in (SO(2), O(2)):
        with pytest.raises(GroupError, match="has no list of elements"):
            EnergyCanonical(contract(group, True), Pixels(5, "energy"))
    with pytest.raises(GroupError, match=r"S\(\) has no list of elements"):
        EnergyFrame(Symmetry(S(), {"x": Permuted(1)}, Permuted(1)), nn.Identity())
    with pytest.raises(ShapeError, match="give one number for each"):
        EnergyFrame(contract(C(4), True), Pixels(5, "class"))(images(generator), {}, 1)
