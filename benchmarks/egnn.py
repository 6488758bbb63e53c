"""EGNN against egnn-pytorch, forward and backward, equal channels and neighbours.

8 clouds of 64 points, 16 scalars a point, two layers, 8 nearest neighbours and all pairs. Run `python benchmarks/egnn.py`; writes
results/egnn.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from harness import Contender, Measurement, measure, memory_mb, print_memory, write

CLOUDS, POINTS, CHANNELS, LAYERS = 8, 64, 16, 2


def torsor_model(neighbours: int) -> nn.Module:
    from torsor.models.egnn import EGNN

    return EGNN(f"{CHANNELS}x0e", f"{CHANNELS}x0e + 1x1o", hidden=CHANNELS, layers=LAYERS, neighbours=neighbours)


class Peer(nn.Module):
    """`egnn-pytorch`, which calls no neighbours at all "all pairs"; returns features and displacements."""

    def __init__(self, neighbours: int) -> None:
        super().__init__()
        from egnn_pytorch import EGNN

        nearest = 0 if neighbours == POINTS - 1 else neighbours
        self.layers = nn.ModuleList(EGNN(dim=CHANNELS, m_dim=CHANNELS, num_nearest_neighbors=nearest) for _ in range(LAYERS))

    def forward(self, positions: Tensor, features: Tensor) -> Tensor:
        moved = positions
        for layer in self.layers:
            features, moved = layer(features, moved)
        return torch.cat([features, moved - positions], -1)


BUILDERS: dict[str, Callable[[int], nn.Module]] = {"torsor": torsor_model, "egnn-pytorch": Peer}
LIBRARIES = {"torsor": "torsor.models.egnn", "egnn-pytorch": "egnn_pytorch"}


def build(name: str, neighbours: int) -> Callable[[], object]:
    """Forward and backward of one contender, gradients of positions included."""
    torch.manual_seed(0)
    model = BUILDERS[name](neighbours)
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(CLOUDS, POINTS, 3, generator=generator).requires_grad_()
    features = torch.randn(CLOUDS, POINTS, CHANNELS, generator=generator)

    def run() -> None:
        model.zero_grad()
        positions.grad = None
        model(positions, features).square().mean().backward()

    return run


def main() -> None:
    if "--memory" in sys.argv:
        name, neighbours = sys.argv[-2], int(sys.argv[-1])
        print_memory(LIBRARIES[name], partial(build, name, neighbours))
        return
    rows: list[Measurement] = []
    for neighbours in (8, POINTS - 1):
        counts = {name: sum(p.numel() for p in make(neighbours).parameters()) for name, make in BUILDERS.items()}
        contenders = [Contender(name, partial(build, name, neighbours), counts[name]) for name in BUILDERS]
        memory = partial(lambda neighbours, name: memory_mb(Path(__file__), name, str(neighbours)), neighbours)
        setting = "all pairs" if neighbours == POINTS - 1 else f"{neighbours} neighbours"
        rows += measure(setting, contenders, rounds=21, memory=memory)
    write("egnn", "EGNN", rows, "torsor")


if __name__ == "__main__":
    main()
