import torch
from torch import Tensor, nn

from tests.training.toy import ToyConfig, ToyModelConfig
from torsor.training import RunConfig, TrainConfig
from torsor.training.cost import measure_cost
from torsor.training.evaluation import Numerics
from torsor.training.runs import build_network


def test_cost_is_the_closed_form_and_the_network_is_not_touched() -> None:
    width, batch_size, inputs = 16, 10, 12
    task, model = ToyConfig().build(), ToyModelConfig(width=width)
    network = build_network(task, RunConfig(task.config, model, TrainConfig()))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    numerics = Numerics(torch.device("cpu"), "float32")
    cost = measure_cost(network, task, numerics.place(task.splits.train.take(slice(batch_size))), numerics)
    assert cost.parameters == (inputs * width + width) + 2 * width + (width * 3 + 3) + 2
    # two products forward; backward the weights of both, and the input of the second alone: the data need no gradient
    assert cost.flops_per_step == 2 * batch_size * (2 * inputs * width + 3 * 3 * width)
    assert cost.unused == ("unused",)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)

    def forward(self, positions: Tensor) -> Tensor:
        x = self.linear(positions)
        return nn.functional.scaled_dot_product_attention(x, x, x).mean(1)


def test_fused_attention_is_counted_too() -> None:
    batch_size, points, channels = 10, 4, 3
    task, numerics = ToyConfig(points=points).build(), Numerics(torch.device("cpu"), "float32")
    cost = measure_cost(Attention(), task, numerics.place(task.splits.train.take(slice(batch_size))), numerics)
    linear = 2 * (2 * batch_size * points * channels**2)  # forward, and backward to the weights
    attention = (2 + 4) * (2 * batch_size * points**2 * channels)  # scores and values, and both factors of each backward
    assert cost.flops_per_step == linear + attention
