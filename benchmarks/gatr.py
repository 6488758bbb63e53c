"""GATr against the Lorentz transformer of `lgatr` in eager mode, and a plain transformer with as many numbers a token.

8 clouds of 64 and of 256 points, 16 multivectors and 64 scalars a token (320 numbers), 8 heads, 4 blocks. The peer has another algebra,
neither joins nor distances; heads, widths and blocks are the same. Run `python benchmarks/gatr.py`; writes results/gatr.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from harness import Contender, Measurement, measure, memory_mb, print_memory, write

CLOUDS, CHANNELS, SCALARS, HEADS, BLOCKS, INPUTS = 8, 16, 64, 8, 4, 8


def torsor_model() -> nn.Module:
    from torsor.models.gatr import BlockSettings, GATrNetwork

    return GATrNetwork(1, 1, INPUTS, 1, blocks=BLOCKS, settings=BlockSettings(CHANNELS, SCALARS, HEADS))


def lgatr_model() -> nn.Module:
    from lgatr import LGATr, MLPConfig, SelfAttentionConfig

    return LGATr(
        num_blocks=BLOCKS,
        in_mv_channels=1,
        out_mv_channels=1,
        hidden_mv_channels=CHANNELS,
        in_s_channels=INPUTS,
        out_s_channels=1,
        hidden_s_channels=SCALARS,
        attention=SelfAttentionConfig(num_heads=HEADS, multi_query=True, attn_ratio=2),
        mlp=MLPConfig(mlp_ratio=2),
    )


class Plain(nn.Module):
    """The blocks of our plain transformer on the same inputs."""

    def __init__(self) -> None:
        super().__init__()
        from torsor.models.transformer import Block, TransformerConfig

        config = TransformerConfig(width=16 * CHANNELS + SCALARS, heads=HEADS, layers=BLOCKS)
        self.embed = nn.Linear(16 + INPUTS, config.width)
        self.blocks = nn.ModuleList(Block(config, 0) for _ in range(BLOCKS))
        self.output = nn.Linear(config.width, 17)

    def forward(self, multivectors: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(torch.cat([multivectors.flatten(2), scalars], -1))
        for block in self.blocks:
            x = block(x, None, None, False)
        y = self.output(x)
        return y[..., None, :16], y[..., 16:]


BUILDERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "torsor": (torsor_model, "G(3, 0, 1), products and joins, distances"),
    "lgatr": (lgatr_model, "G(1, 3), products"),
    "plain transformer": (Plain, "width 320"),
}
LIBRARIES = {"torsor": "torsor.models.gatr", "lgatr": "lgatr", "plain transformer": "torsor.models.transformer"}


def build(name: str, points: int) -> Callable[[], object]:
    """Forward and backward of one contender."""
    torch.manual_seed(0)
    model = BUILDERS[name][0]()
    generator = torch.Generator().manual_seed(0)
    multivectors = torch.randn(CLOUDS, points, 1, 16, generator=generator)
    scalars = torch.randn(CLOUDS, points, INPUTS, generator=generator)

    def run() -> None:
        model.zero_grad()
        y, s = model(multivectors, scalars)
        (y.square().mean() + s.square().mean()).backward()

    return run


def main() -> None:
    if "--memory" in sys.argv:
        name, points = sys.argv[-2], int(sys.argv[-1])
        print_memory(LIBRARIES[name], partial(build, name, points), runs=1)
        return
    rows: list[Measurement] = []
    for points in (64, 256):
        contenders = [
            Contender(name, partial(build, name, points), sum(p.numel() for p in make().parameters()), note)
            for name, (make, note) in BUILDERS.items()
        ]
        rows += measure(
            f"{points} points", contenders, 11, partial(lambda points, name: memory_mb(Path(__file__), name, str(points)), points)
        )
    write("gatr", "GATr", rows, "torsor")


if __name__ == "__main__":
    main()
