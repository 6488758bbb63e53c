from copy import deepcopy

import pytest
import torch
from torch import nn

from tests.dial.relax.common import example, relaxed
from torsor.check import assert_equivariant, equivariance_error
from torsor.dial.relax import equivariance_penalty, region_report, relax
from torsor.errors import GroupError
from torsor.groups import SO, C, S
from torsor.nn.noise import with_noise
from torsor.nn.penalties import total_penalty
from torsor.representations import Permuted, Trivial, Vectors
from torsor.symmetry import Symmetry


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def plain(group, seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 2)).double()
    network.symmetry = Symmetry(group, {"input": Vectors()}, Vectors(), "none", mask=None)
    return network


def test_it_is_the_squared_difference_of_both_sides_over_the_squared_output(generator):
    network, x = plain(SO(2)), normal(generator, 6, 2)
    g = SO(2).sample(6, generator=generator, dtype=torch.float64)
    turned = (g @ x.unsqueeze(-1)).squeeze(-1)
    y = network(x)
    difference = network(turned) - (g @ y.unsqueeze(-1)).squeeze(-1)
    expected = difference.square().sum() / y.square().sum()
    torch.testing.assert_close(equivariance_penalty(network, {"input": x}, g), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["points", "particles", "graphs", "vectors"])
def test_it_vanishes_for_equivariant_models_of_every_family(kind, generator):
    model, inputs = relaxed(kind, strength=0.0), example(kind)
    g = model.symmetry.sample(inputs, generator)
    with torch.no_grad():
        assert equivariance_penalty(model, inputs, g) < 1e-20


def test_places_behind_the_mask_do_not_count(generator):
    class Sums(nn.Module):
        """Equivariant where the mask says so, and anything behind it."""

        symmetry = Symmetry(S(), {"x": Permuted(1)}, Permuted(1))

        def forward(self, x, mask):
            places = torch.arange(x.shape[1], dtype=x.dtype).unsqueeze(-1)
            return torch.where(mask.unsqueeze(-1), x * (x * mask.unsqueeze(-1)).sum(1, keepdim=True), places)

    inputs = {"x": normal(generator, 2, 4, 3), "mask": torch.tensor([[True, True, True, False], [True, True, False, False]])}
    module = Sums()
    assert equivariance_penalty(module, inputs, module.symmetry.sample(inputs, generator)) < 1e-24


def test_an_output_of_zeros_has_no_penalty_and_finite_gradients(generator):
    network = plain(SO(2))
    with torch.no_grad():
        network[2].weight.zero_()
        network[2].bias.zero_()
    found = equivariance_penalty(network, {"input": normal(generator, 3, 2)}, SO(2).sample(3, generator=generator, dtype=torch.float64))
    found.backward()
    assert found == 0
    assert all(p.grad.isfinite().all() for p in network.parameters())


def trained(strength, generator):
    """Equivariance error of a plain network after training on targets that single out an axis."""
    model = relax(plain(SO(2)), method="penalty", strength=strength).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = normal(generator, 64, 2)
    target = x * torch.tensor([2.0, 0.5], dtype=torch.float64)
    for _ in range(100):
        inputs = with_noise(model, {"input": x}, generator)
        optimiser.zero_grad()
        loss = (model(**inputs) - target).square().mean()
        penalty = total_penalty(model)
        (loss if penalty is None else loss + penalty).backward()
        optimiser.step()
    return equivariance_error(model.eval(), {"input": x}, samples=2).rms_relative


def test_the_dial_trades_fit_for_symmetry():
    errors = [trained(strength, torch.Generator().manual_seed(0)) for strength in (0.02, 0.5, 1.0)]
    assert errors[0] < 0.5 * errors[1] < 0.5 * errors[2]
    assert errors[2] > 0.3


def test_the_penalty_is_drawn_in_training_and_asked_once(generator):
    model, x = relax(plain(SO(2)), method="penalty", penalty=3.0, strength=0.25), normal(generator, 5, 2)
    assert model.eval().draw({"input": x}, generator) == {}
    model.train()
    noise = model.draw({"input": x}, generator)
    assert torch.equal(model(x, **noise), model.module(x))
    expected = 9 * equivariance_penalty(model.module, {"input": x}, noise["elements"])
    torch.testing.assert_close(total_penalty(model), expected)
    assert total_penalty(model) is None
    deepcopy(model)
    model(x)  # without noise there is nothing to measure
    assert total_penalty(model) is None
    free = relax(plain(SO(2)), method="penalty", strength=1.0).train()
    free(x, **free.draw({"input": x}, generator))
    assert total_penalty(free) is None


def test_elements_of_products_are_drawn_as_tuples(generator):
    model, inputs = relaxed("points", method="penalty"), example("points")
    noise = model.train().draw(inputs, generator)
    assert isinstance(noise["elements"], tuple)
    model(**inputs, **noise)
    assert total_penalty(model) < 1e-20  # the network inside is equivariant


def test_the_strict_branch_is_the_mean_over_a_finite_group(generator):
    network, x = plain(C(4)), normal(generator, 5, 2)
    model = relax(network, method="penalty").eval()
    assert model.symmetry.exactness == "approximate"
    assert equivariance_error(model, {"input": x}).max_relative > 0.1
    with model.strict():
        assert model.symmetry.exactness == "exact"
        assert_equivariant(model, {"input": x})
        turns = C(4).embed(C(4).elements())
        expected = torch.stack([network(x @ turn.T) @ turn for turn in turns]).mean(0)
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-14)


def test_named_outputs_are_averaged_by_name(generator):
    class Two(nn.Module):
        symmetry = Symmetry(C(4), {"x": Vectors()}, {"vector": Vectors(), "number": Trivial()}, "none", mask=None)

        def forward(self, x):
            return {"vector": x + 1, "number": x[..., :1] ** 2}

    model, x = relax(Two(), method="penalty"), normal(generator, 3, 2)
    with model.strict():
        found = model(x)
    torch.testing.assert_close(found["vector"], x, rtol=0, atol=1e-14)
    torch.testing.assert_close(found["number"], x.square().mean(-1, keepdim=True), rtol=0, atol=1e-14)


def test_groups_that_cannot_be_listed_have_no_strict_branch(generator):
    model = relax(plain(SO(2)), method="penalty")
    with model.strict(), pytest.raises(GroupError, match="symmetrize the module"):
        model(normal(generator, 1, 2))
    report = region_report(model, {"input": normal(generator, 3, 2)}, samples=1)
    assert report.strict is report.deviation is None
    assert "strict" not in str(report)
    assert report.to_dict()["strict"] is None
    with pytest.raises(GroupError, match="give a strength above 0"):
        relax(plain(SO(2)), method="penalty", strength=0.0)


def test_an_equivariant_module_is_its_own_strict_branch():
    model, inputs = relaxed("points", method="penalty"), example("points")
    with torch.no_grad(), model.strict():
        assert torch.equal(model(**inputs), model.module(**inputs))
        assert model.symmetry.exactness == "exact"
