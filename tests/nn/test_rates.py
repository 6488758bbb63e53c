import torch
from torch import nn

from torsor.nn.rates import rate_factors
from torsor.training.optimisers import make_optimizer
from torsor.training.settings import TrainConfig


class Slow(nn.Module):
    def __init__(self, module, rate_factor):
        super().__init__()
        self.module, self.rate_factor = module, rate_factor

    def forward(self, x):
        return self.module(x)


def test_factors_of_nested_modules_multiply_and_the_rest_learns_as_it_did():
    inner = nn.Linear(2, 2)
    network = nn.Sequential(nn.Linear(2, 2), Slow(nn.Sequential(Slow(inner, 0.5), nn.Linear(2, 2)), 0.1))
    factors = rate_factors(network)
    assert factors[network[0].weight] == 1.0
    assert factors[inner.bias] == 0.05
    assert sorted(set(factors.values())) == [0.05, 0.1, 1.0]


def test_the_optimiser_has_a_group_for_each_rate():
    network = nn.Sequential(nn.Linear(2, 2), Slow(nn.Linear(2, 2), 0.1))
    frozen = network[0].bias.requires_grad_(False)
    groups = make_optimizer(network, TrainConfig(weight_decay=0.3)).param_groups
    assert [(g["rate_factor"], g["weight_decay"], len(g["params"])) for g in groups] == [(1, 0.3, 1), (1, 0, 0), (0.1, 0.3, 1), (0.1, 0, 1)]
    assert not any(p is frozen for g in groups for p in g["params"])


def test_a_slow_part_takes_shorter_steps_of_adam():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 2), Slow(nn.Linear(2, 2), 0.1))
    optimiser = make_optimizer(network, TrainConfig(learning_rate=1e-2))
    for group in optimiser.param_groups:
        group["lr"] = 1e-2 * group["rate_factor"]
    before = [p.detach().clone() for p in network.parameters()]
    network(torch.randn(8, 2)).square().sum().backward()
    optimiser.step()
    steps = [float((p.detach() - old).abs().max()) for p, old in zip(network.parameters(), before, strict=True)]
    assert all(abs(step - expected) < 1e-5 for step, expected in zip(steps, (1e-2, 1e-2, 1e-3, 1e-3), strict=True))
