import math

import pytest
import torch
from torch import nn

from tests.dial.symmetrize.networks import GRAPH, Graphwise, Linear, cloud, cloud_contract, dense
from torsor.dial.symmetrize.averages import Enumerated, Haar
from torsor.dial.symmetrize.estimate import estimate
from torsor.dial.symmetrize.module import Symmetrized
from torsor.errors import GroupError, NonFiniteError
from torsor.groups import SO, O, S
from torsor.nn.noise_sources import DrawnNoise
from torsor.representations import Trivial, Vectors
from torsor.symmetry import Symmetry

PLANE = Symmetry(SO(2), {"x": Vectors()}, Trivial())


class First(nn.Module):
    """The cube of the first component, whose mean over rotations is zero, plus one."""

    def forward(self, x):
        return x[:, :1] ** 3 + x[:, :1] + 1


def test_it_stops_below_the_tolerance_and_near_the_truth(generator):
    contract, inputs, network = cloud_contract(S()), cloud(generator), dense()
    exact = Symmetrized(network, Enumerated(contract))(**inputs).detach()
    module = Symmetrized(network, Haar(contract))
    for tolerance in (0.1, 0.01):
        found = estimate(module, inputs, tolerance, generator)
        assert found.converged
        assert found.standard_error.max() < tolerance
        assert ((found.mean - exact).abs() < 5 * found.standard_error).all()
    assert found.samples > 64


def test_a_tolerance_out_of_reach_is_said_to_be(generator):
    module = Symmetrized(dense(), Haar(cloud_contract(S())))
    found = estimate(module, cloud(generator), 1e-9, generator, most=50)
    assert not found.converged
    assert found.samples == 50
    assert found.standard_error.max() > 1e-9


def test_never_fewer_than_two_samples(generator):
    module = Symmetrized(dense(), Haar(cloud_contract(S())))
    assert estimate(module, cloud(generator), 1e9, generator, first=2).samples == 2
    with pytest.raises(GroupError, match="a standard error needs two"):
        estimate(module, cloud(generator), 1.0, generator, first=1)


def test_reported_errors_are_those_of_all_samples_at_once(generator):
    """Samples that come in parts have the mean and the standard error of the whole."""
    module, x = Symmetrized(First(), Haar(PLANE)), torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    found = estimate(module, {"x": x}, 1e-9, torch.Generator().manual_seed(3), first=5, most=80)
    again = torch.Generator().manual_seed(3)
    terms = torch.cat([module.terms(x, **module.noise({"x": x}, count, DrawnNoise(again)))[0] for count in (5, 5, 10, 20, 40)], 1)[0, :, 0]
    torch.testing.assert_close(found.mean[0, 0], terms.mean(), rtol=0, atol=1e-13)
    torch.testing.assert_close(found.standard_error[0, 0], terms.std() / math.sqrt(80), rtol=0, atol=1e-13)


def coverage(module, block, tolerance, trials=300):
    """How often the truth lies within 1.96 standard errors, and the numbers of samples."""
    generator = torch.Generator().manual_seed(11)
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    hits, samples = 0, []
    for _ in range(trials):
        found = estimate(module, {"x": x}, tolerance, generator, block=block)
        hits += int((found.mean - 1).abs() < 1.96 * found.standard_error)
        samples.append(found.samples)
    return hits / trials, samples


@pytest.mark.parametrize(
    ("settings", "block", "tolerance"), [({}, 1, 0.2), ({"stratified": True}, 2, 0.06)], ids=["independent", "in pairs"]
)
def test_the_standard_error_is_calibrated(settings, block, tolerance):
    """Intervals of 95 % cover 90 to 99 %, though the number of samples depends on the errors seen."""

    class Even(First):
        def forward(self, x):
            return super().forward(x) + x[:, :1] ** 2 - 0.5

    module = Symmetrized(Even(), Haar(PLANE, **settings))
    share, samples = coverage(module, block, tolerance)
    assert 0.90 <= share <= 0.99
    assert len(set(samples)) > 1


def test_what_is_not_drawn_has_no_error(generator):
    module = Symmetrized(dense(), Enumerated(cloud_contract(S())))
    found = estimate(module, cloud(generator), 1e-9, generator)
    assert found.converged
    assert found.samples == 24
    assert not found.standard_error.any()


def test_outputs_of_any_structure_are_estimated(generator):
    inputs = {
        "adjacency": torch.randn(2, 4, 4, generator=generator, dtype=torch.float64),
        "features": torch.randn(2, 4, 2, generator=generator, dtype=torch.float64),
    }
    found = estimate(Symmetrized(Graphwise(4), Haar(GRAPH)), inputs, 0.05, generator)
    assert {name: y.shape for name, y in found.mean.items()} == {name: y.shape for name, y in found.standard_error.items()}
    assert found.mean["pair"].shape == (2, 4, 4)


def test_an_output_that_is_not_finite_is_named(generator):
    module = Symmetrized(Linear(torch.full((3, 3), torch.nan, dtype=torch.float64)), Haar(Symmetry(O(3), {"x": Vectors()}, Vectors())))
    with pytest.raises(NonFiniteError, match="not finite"):
        estimate(module, {"x": torch.ones(1, 3, dtype=torch.float64)}, 0.1, generator)
