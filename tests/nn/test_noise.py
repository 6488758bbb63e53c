"""Noise as data: drawn by the module, kept where given, passed on by wrappers."""

import torch
from torch import nn

from torsor.dial import OrbitAverage
from torsor.groups import T
from torsor.nn.energy_forces import EnergyForces
from torsor.nn.noise import draw_noise, with_noise
from torsor.representations import Points, Trivial
from torsor.symmetry import Symmetry


class Shaken(nn.Module):
    """Squared distances of the points from a cloud of noise; with no noise, from the origin."""

    def __init__(self):
        super().__init__()
        self.symmetry = Symmetry(T(3), {"positions": Points(), "cloud": Points()}, Trivial(), exactness="coupled")

    def draw(self, inputs, generator):
        return {"cloud": torch.randn(inputs["positions"].shape, generator=generator, dtype=inputs["positions"].dtype)}

    def forward(self, positions, features=None, edge_features=None, mask=None, cloud=None):
        difference = positions if cloud is None else positions - cloud
        return difference.square().sum((1, 2))[:, None]


def test_a_deterministic_module_has_no_noise(generator):
    inputs = {"positions": torch.zeros(1, 2, 3)}
    assert draw_noise(nn.Linear(2, 2), inputs, generator) == {}
    assert with_noise(nn.Linear(2, 2), inputs, generator) == inputs


def test_noise_that_is_given_is_kept(generator):
    inputs = {"positions": torch.zeros(1, 2, 3), "cloud": torch.ones(1, 2, 3)}
    assert torch.equal(with_noise(Shaken(), inputs, generator)["cloud"], inputs["cloud"])
    del inputs["cloud"]
    first, second = (with_noise(Shaken(), inputs, torch.Generator().manual_seed(4))["cloud"] for _ in range(2))
    assert torch.equal(first, second)
    assert first.abs().min() > 0


def test_forces_hold_the_noise_of_their_energy_fixed(generator):
    module = EnergyForces(Shaken())
    inputs = with_noise(module, {"positions": torch.randn(2, 4, 3, dtype=torch.float64, generator=generator)}, generator)
    torch.testing.assert_close(module(**inputs)["forces"], -2 * (inputs["positions"] - inputs["cloud"]))


def test_an_orbit_average_draws_noise_for_every_term():
    average = OrbitAverage(Shaken(), Symmetry(T(3), {"positions": Points()}, Trivial()), samples=50)
    inputs = {"positions": torch.zeros(1, 2, 3, dtype=torch.float64)}
    terms = average.orbit(**inputs)
    assert terms.unique().numel() == 50
    torch.testing.assert_close(average(**inputs), average(**inputs))
