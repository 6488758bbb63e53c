import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from torsor.errors import CheckpointError, ConfigError
from torsor.training import TrainConfig
from torsor.training.optimisers import Average, learning_rate, load_optimizer_tensors, make_optimizer, optimizer_tensors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0: give 1 or more"),
        ({"batch_size": -1}, "batch_size is -1: give 1 or more"),
        ({"evaluate_every": 0}, "evaluate_every is 0: give 1 or more"),
        ({"warmup_fraction": 1.5}, "warmup_fraction is 1.5: give a number from 0 to 1"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001: give 0 or more"),
        ({"learning_rate": math.nan}, "learning_rate is nan: give 0 or more"),
        ({"ema": 2.0}, "ema is 2.0: give a number from 0 to 1"),
        ({"clip": 0.0}, "clip is 0.0: give a positive norm, or None for no bound"),
    ],
)
def test_a_number_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    assert str(caught.value) == message


def test_the_last_step_is_evaluated_and_saved_whatever_the_interval() -> None:
    config = TrainConfig(steps=103, evaluate_every=10, checkpoint_every=25, log_every=50)
    assert [step for step in range(1, 104) if config.evaluates(step)] == [*range(10, 101, 10), 103]
    assert [step for step in range(1, 104) if config.checkpoints(step)] == [25, 50, 75, 100, 103]
    assert [step for step in range(1, 104) if config.logs(step)] == [1, 50, 100, 103]
    default = TrainConfig(steps=1000)
    assert [step for step in range(1, 1001) if default.checkpoints(step)] == list(range(100, 1001, 100))
    assert all(TrainConfig(steps=3).evaluates(step) for step in (1, 2, 3))


def test_cosine_rises_to_the_peak_and_ends_exactly_at_the_final_fraction() -> None:
    config = TrainConfig(steps=200, learning_rate=2.0, warmup_fraction=0.1, final_fraction=0.05)
    rates = [learning_rate(config, step) for step in range(200)]
    assert rates[:20] == pytest.approx([2.0 * (step + 1) / 20 for step in range(20)])
    assert rates[20] == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(0.1)
    assert (rates[109] + rates[110]) / 2 == pytest.approx(2.0 * (0.05 + 0.95 / 2))  # half way between steps 20 and 199
    assert all(a >= b for a, b in pairwise(rates[20:]))


def test_constant_stays_at_the_peak() -> None:
    config = TrainConfig(steps=100, learning_rate=0.5, schedule="constant", warmup_fraction=0.0)
    assert {learning_rate(config, step) for step in range(100)} == {0.5}


def test_warmup_stable_decay_is_flat_and_falls_linearly_over_the_last_part() -> None:
    config = TrainConfig(steps=100, learning_rate=1.0, schedule="warmup-stable-decay", final_fraction=0.0, decay_fraction=0.2)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[1:81] == [1.0] * 79 + [1.0]
    assert rates[80:] == pytest.approx([1 - k / 19 for k in range(20)])


@pytest.mark.parametrize("schedule", ["cosine", "constant", "warmup-stable-decay"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_a_schedule_too(schedule: Any, steps: int) -> None:
    config = TrainConfig(steps=steps, schedule=schedule)
    assert all(0 < learning_rate(config, step) <= config.learning_rate for step in range(steps))


def test_vectors_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    matrices, vectors = make_optimizer(network, TrainConfig(weight_decay=0.3)).param_groups
    assert [tuple(p.shape) for p in matrices["params"]] == [(4, 3)]
    assert matrices["weight_decay"] == 0.3
    assert all(p.ndim == 1 for p in vectors["params"])
    assert len(vectors["params"]) == 3
    assert vectors["weight_decay"] == 0.0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_optimiser_goes_on_from_its_tensors_to_the_same_bits(optimizer: Any, generator: torch.Generator) -> None:
    config, data = TrainConfig(optimizer=optimizer, weight_decay=0.1), torch.randn(6, 5, 3, generator=generator)

    def steps(network: nn.Module, opt: torch.optim.Optimizer, batches: torch.Tensor) -> None:
        for batch in batches:
            opt.zero_grad()
            network(batch).square().sum().backward()
            opt.step()

    whole = nn.Linear(3, 2)
    part = nn.Linear(3, 2)
    part.load_state_dict(whole.state_dict())
    steps(whole, make_optimizer(whole, config), data)
    first = make_optimizer(part, config)
    steps(part, first, data[:3])
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(first, part).items()}
    second = make_optimizer(part, config)
    load_optimizer_tensors(second, part, saved)
    steps(part, second, data[3:])
    assert torch.equal(whole.weight, part.weight)
    assert torch.equal(whole.bias, part.bias)


def test_an_optimiser_of_another_model_is_refused() -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match=r"the checkpoint's optimiser has 'layers.0.weight'"):
        load_optimizer_tensors(make_optimizer(network, TrainConfig()), network, {"layers.0.weight/exp_avg": torch.zeros(2, 3)})


def test_the_average_is_the_closed_form_and_leaves_the_weights_as_they_were() -> None:
    network = nn.Linear(1, 1, bias=False).double()
    values = [3.0, -1.0, 4.0, 1.5]
    network.weight.data.fill_(values[0])
    average = Average(network, decay=0.2)
    expected = values[0]
    for step, value in enumerate(values[1:], start=1):
        network.weight.data.fill_(value)
        average.update(step)
        decay = min(0.2, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.applied():
        assert network.weight.item() == pytest.approx(expected, abs=1e-14)
    assert network.weight.item() == values[-1]


def test_the_weights_come_back_when_an_evaluation_fails() -> None:
    network = nn.Linear(1, 1)
    average = Average(network, decay=0.9)
    before = network.weight.detach().clone()
    network.weight.data.add_(1)
    with pytest.raises(RuntimeError, match="stop"), average.applied():
        raise RuntimeError("stop")
    assert torch.equal(network.weight, before + 1)
