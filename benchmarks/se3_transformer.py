"""SE(3)-Transformer against the packages one would otherwise install, forward and backward.

Equal channels, degrees, heads and neighbours: 8 clouds of 64 points, 16 scalars in, 16 channels, 4 heads, two blocks and
a final layer to 16 scalars and 16 vectors. Run `python benchmarks/se3_transformer.py` for 8 neighbours and
`python benchmarks/se3_transformer.py all-pairs` for 63; writes results/se3_transformer.md and results/se3_transformer_all_pairs.md.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from harness import Contender, Measurement, measure, memory_mb, print_memory, write

CLOUDS, POINTS, CHANNELS, HEADS = 8, 64, 16, 4
DEGREES = (1, 2, 3)
TOO_SLOW = {
    (2, POINTS - 1): ("se3-transformer-pytorch",),
    (3, POINTS - 1): ("e3nn fully connected", "se3-transformer-pytorch"),
}
"""Left out: with 8 neighbours they take 9 (degree 2), 27 and 38 s a pass, with 63 eight times that, and as much more memory."""


def inputs() -> tuple[Tensor, Tensor]:
    """Seeded positions and scalar features."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(CLOUDS, POINTS, 3, generator=generator), torch.randn(CLOUDS, POINTS, CHANNELS, generator=generator)


def torsor_model(degree: int, neighbours: int, kernel: str = "full") -> nn.Module:
    from torsor.models.se3_transformer import SE3Transformer

    return SE3Transformer(
        f"{CHANNELS}x0e",
        f"{CHANNELS}x0e + {CHANNELS}x1o",
        degrees=degree + 1,
        channels=CHANNELS,
        depth=2,
        heads=HEADS,
        neighbours=neighbours,
        kernel=kernel,
    )


def e3nn_model(degree: int, neighbours: int, depthwise: bool = False) -> nn.Module:
    from peers_e3nn import E3nnTransformer

    return E3nnTransformer(CHANNELS, degree, HEADS, neighbours, depthwise)


class Lucidrains(nn.Module):
    """`se3-transformer-pytorch` with its own radial width of 128; returns scalars and vectors in one tensor."""

    def __init__(self, degree: int, neighbours: int) -> None:
        super().__init__()
        from se3_transformer_pytorch import SE3Transformer

        self.network = SE3Transformer(
            dim=CHANNELS,
            heads=HEADS,
            dim_head=CHANNELS // HEADS,
            depth=2,
            num_degrees=degree + 1,
            output_degrees=2,
            num_neighbors=neighbours,
            differentiable_coors=True,
        )

    def forward(self, positions: Tensor, features: Tensor) -> Tensor:
        output = self.network(features, positions)
        return torch.cat([output[key].flatten(2) for key in sorted(output)], -1)


BUILDERS: dict[str, tuple[Callable[[int, int], nn.Module], str]] = {
    "torsor": (torsor_model, "radial width 32"),
    "torsor depthwise": (partial(torsor_model, kernel="depthwise"), "radial width 32"),
    "e3nn fully connected": (e3nn_model, "radial width 32"),
    "e3nn uvu": (partial(e3nn_model, depthwise=True), "radial width 32"),
    "se3-transformer-pytorch": (Lucidrains, "radial width 128"),
}


LIBRARIES = {"torsor": "torsor.models.se3_transformer", "e3nn": "peers_e3nn", "se3-transformer-pytorch": "se3_transformer_pytorch"}


def build(name: str, degree: int, neighbours: int) -> Callable[[], object]:
    """Forward and backward of one contender, gradients of positions included."""
    torch.manual_seed(0)
    model = BUILDERS[name][0](degree, neighbours)
    positions, features = inputs()
    positions.requires_grad_()

    def run() -> None:
        model.zero_grad()
        positions.grad = None
        model(positions, features).square().mean().backward()

    return run


def parameters(name: str, degree: int, neighbours: int) -> int:
    return sum(p.numel() for p in BUILDERS[name][0](degree, neighbours).parameters())


def setting(degree: int, neighbours: int) -> str:
    return f"degrees 0..{degree}, {'all pairs' if neighbours == POINTS - 1 else f'{neighbours} neighbours'}"


def run(degree: int, neighbours: int, names: tuple[str, ...], rounds: int) -> list[Measurement]:
    """All contenders in one setting."""
    contenders = [
        Contender(name, partial(build, name, degree, neighbours), parameters(name, degree, neighbours), BUILDERS[name][1]) for name in names
    ]
    memory = lambda name: memory_mb(Path(__file__), name, str(degree), str(neighbours))  # noqa: E731
    return measure(setting(degree, neighbours), contenders, rounds, memory)


def main() -> None:
    warnings.filterwarnings("ignore", message=".*torch.jit.*")
    if "--memory" in sys.argv:
        name, degree, neighbours = sys.argv[-3], int(sys.argv[-2]), int(sys.argv[-1])
        print_memory(LIBRARIES[name.split()[0]], partial(build, name, degree, neighbours), runs=1)
        return
    all_pairs = "all-pairs" in sys.argv
    neighbours, name = (POINTS - 1, "se3_transformer_all_pairs") if all_pairs else (8, "se3_transformer")
    rows: list[Measurement] = []
    for degree in DEGREES:
        names = tuple(name for name in BUILDERS if name not in TOO_SLOW.get((degree, neighbours), ()))
        rows += run(degree, neighbours, names, rounds=7)
        write(name, "SE(3)-Transformer", rows, "torsor")


if __name__ == "__main__":
    main()
