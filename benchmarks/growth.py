"""How time and memory of the SE(3)-Transformer grow with points, neighbours and degree, beside the arithmetic floor.

The floor is the number of multiply-adds that the step needs (counted by torch's FlopCounterMode) over the speed that
one large matrix product reaches on this machine. Run `python benchmarks/growth.py`; writes results/growth.md and
results/growth.svg.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
import torch

from harness import THREADS, Contender, Measurement, flops, measure, memory_mb, peak_flops, print_memory, write

mpl.use("Agg")
import matplotlib.pyplot as plt

AXES = {
    "points": [(points, 8, 2) for points in (16, 32, 64, 128, 256)],
    "neighbours": [(64, neighbours, 2) for neighbours in (4, 8, 16, 32, 63)],
    "degree": [(64, 8, degree) for degree in (0, 1, 2, 3, 4)],
}


def build(points: int, neighbours: int, degree: int) -> Callable[[], object]:
    """Forward and backward of the benchmark network on 8 clouds."""
    from torsor.models.se3_transformer import SE3Transformer

    generator = torch.Generator().manual_seed(0)
    model = SE3Transformer("16x0e", "16x0e + 16x1o", degrees=degree + 1, channels=16, depth=2, heads=4, neighbours=neighbours)
    positions = torch.randn(8, points, 3, generator=generator).requires_grad_()
    features = torch.randn(8, points, 16, generator=generator)

    def run() -> None:
        model.zero_grad()
        positions.grad = None
        model(positions, features).square().mean().backward()

    return run


def plot(rows: dict[str, list[tuple[int, Measurement, float]]]) -> None:
    """Three panels: seconds and their floor against points, neighbours, degree; memory on the right axis."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True)
    for axis, (name, line) in zip(axes, rows.items(), strict=True):
        x = [value for value, _, _ in line]
        axis.plot(x, [row.median_s * 1e3 for _, row, _ in line], "o-", label="measured, ms")
        axis.plot(x, [floor * 1e3 for _, _, floor in line], "--", label="arithmetic floor, ms")
        axis.plot(x, [row.memory_mb or 0 for _, row, _ in line], "s:", label="memory above idle, MB")
        axis.set(xlabel=name, yscale="log", xscale="linear" if name == "degree" else "log")
        axis.set_xticks(x, map(str, x))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(Path(__file__).parent / "results" / "growth.svg")


def main() -> None:
    torch.set_num_threads(THREADS)
    if "--memory" in sys.argv:
        print_memory("torsor.models.se3_transformer", partial(build, *map(int, sys.argv[-3:])))
        return
    speed = peak_flops()
    everything: list[Measurement] = []
    lines: dict[str, list[tuple[int, Measurement, float]]] = {}
    for axis, (name, values) in enumerate(AXES.items()):
        for value in values:
            floor = flops(build(*value)) / speed
            contender = Contender("torsor", partial(build, *value), note=f"floor {floor * 1e3:.1f} ms")
            setting = "{} points, {} neighbours, degrees 0..{}".format(*value)
            memory = partial(lambda value, _: memory_mb(Path(__file__), *map(str, value)), value)
            (row,) = measure(setting, [contender], rounds=7, memory=memory)
            everything.append(row)
            lines.setdefault(name, []).append((value[axis], row, floor))
    plot(lines)
    write(
        "growth", "Growth of the SE(3)-Transformer", everything, "torsor", f"Floor at {speed / 1e9:.0f} GFLOP/s.\n\n![growth](growth.svg)"
    )


if __name__ == "__main__":
    main()
