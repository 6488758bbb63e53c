"""The LieTransformer's fast path against its naive one, forward and backward, and how both grow with the number of points.

The naive path is the formulation of the paper word for word: elements and logarithms of all pairs, content and location of each pair
side by side, networks on them anew in every layer. Both paths have the same parameters and the same result.

8 clouds of 64, 128 and 256 points in the plane, 128 channels, 8 heads, 2 layers, for T(2) and SE(2), and two kernels: the authors'
default (the sum of dot product and a network of the location under a softmax) and that of their molecules ("2232": a network of content
and location, constant normalisation). The floor is the number of multiply-adds of the fast path (counted by torch's FlopCounterMode) over
the speed of one large matrix product on this machine. Run `python benchmarks/lie_transformer.py`; writes results/lie_transformer.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from harness import THREADS, Contender, Measurement, flops, measure, memory_mb, peak_flops, print_memory, write

CLOUDS, HIDDEN, HEADS, LAYERS, CHANNELS = 8, 128, 8, 2, 4
GROUPS, KERNELS, POINTS = ("T(2)", "SE(2)"), ("mlp", "2232"), (64, 128, 256)
PATHS = {"torsor": "fast", "naive": "naive"}


def build(path: str, group: str, kernel: str, points: int) -> Callable[[], object]:
    """Forward and backward of one contender, gradients of the parameters."""
    from torsor.models.lie_transformer import LieTransformer, published_kernel

    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden": HIDDEN, "heads": HEADS, "layers": LAYERS, "pairs": "log", "path": PATHS[path]}
    model = LieTransformer(group, CHANNELS, 1, pool="mean", **settings, **published_kernel(kernel))
    inputs = model.signature.example(CLOUDS, points)

    def run() -> None:
        model.zero_grad()
        model(**inputs).square().mean().backward()

    return run


def parameters(group: str, kernel: str) -> int:
    """How many trainable numbers both paths have."""
    from torsor.models.lie_transformer import LieTransformer, published_kernel

    settings: dict[str, Any] = {"hidden": HIDDEN, "heads": HEADS, "layers": LAYERS, "pairs": "log", **published_kernel(kernel)}
    model = LieTransformer(group, CHANNELS, 1, **settings)
    return sum(parameter.numel() for parameter in model.parameters())


def summary(rows: list[Measurement]) -> str:
    """Ratios of time and memory at the largest clouds, and how the fast path grows."""
    by = {(row.setting, row.name): row for row in rows}
    lines = []
    for group, kernel in product(GROUPS, KERNELS):
        first, last = (f"{group}, kernel {kernel}, {points} points" for points in (POINTS[0], POINTS[-1]))
        ours, naive = by.get((last, "torsor")), by.get((last, "naive"))
        if ours is None or naive is None:
            continue
        memory = f", {ours.memory_mb / naive.memory_mb:.2f} of its memory" if ours.memory_mb and naive.memory_mb else ""
        growth = ours.median_s / by[first, "torsor"].median_s
        lines.append(
            f"- {last}: {naive.median_s / ours.median_s:.1f} times faster than the naive path{memory}; "
            f"{growth:.1f} times the time of {POINTS[0]} points, with {(POINTS[-1] / POINTS[0]) ** 2:.0f} times as many pairs."
        )
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(THREADS)
    if "--memory" in sys.argv:
        path, group, kernel, count = sys.argv[-4:]
        print_memory("torsor.models.lie_transformer", partial(build, path, group, kernel, int(count)))
        return
    speed, rows = peak_flops(), []
    for group, kernel, points in product(GROUPS, KERNELS, POINTS):
        floor = flops(build("torsor", group, kernel, points)) / speed
        size = parameters(group, kernel)
        notes = {"torsor": f"floor {floor * 1e3:.1f} ms"}
        contenders = [Contender(path, partial(build, path, group, kernel, points), size, notes.get(path, "")) for path in PATHS]
        memory = partial(lambda setting, path: memory_mb(Path(__file__), path, *setting), (group, kernel, str(points)))
        rows += measure(f"{group}, kernel {kernel}, {points} points", contenders, rounds=9, memory=memory)
    write("lie_transformer", "LieTransformer", rows, "torsor", f"Floor at {speed / 1e9:.0f} GFLOP/s.\n\n{summary(rows)}")


if __name__ == "__main__":
    main()
