"""Real spherical harmonics to degree 6 on 10,000 points against e3nn and sphericart, forward and backward.

Run `python benchmarks/harmonics.py`; writes results/harmonics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from harness import Contender, measure, memory_mb, print_memory, write
from torsor.representations.harmonics import spherical_harmonics

DEGREE = 6
POINTS = 10_000


def step(function: Callable[[Tensor], Tensor]) -> Callable[[], object]:
    """Forward and backward of `function` at seeded points."""
    points = torch.randn(POINTS, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.randn(POINTS, (DEGREE + 1) ** 2, generator=torch.Generator().manual_seed(1))

    def run() -> None:
        points.grad = None
        (function(points) * weights).sum().backward()

    return run


def build_torsor() -> Callable[[], object]:
    return step(lambda points: spherical_harmonics(DEGREE, points, normalize=True, normalization="integral"))


def build_e3nn() -> Callable[[], object]:
    from e3nn import o3

    return step(lambda points: o3.spherical_harmonics(list(range(DEGREE + 1)), points, normalize=True, normalization="integral"))


def build_sphericart() -> Callable[[], object]:
    from sphericart.torch import SphericalHarmonics

    return step(SphericalHarmonics(DEGREE))


BUILDERS = {"torsor": build_torsor, "e3nn": build_e3nn, "sphericart": build_sphericart}
LIBRARIES = {"torsor": "torsor.representations", "e3nn": "e3nn.o3", "sphericart": "sphericart.torch"}
NOTES = {"e3nn": "eager TorchScript kernels", "sphericart": "compiled C++ kernels", "torsor": ""}


def main() -> None:
    if "--memory" in sys.argv:
        print_memory(LIBRARIES[sys.argv[-1]], BUILDERS[sys.argv[-1]])
        return
    contenders = [Contender(name, build, note=NOTES[name]) for name, build in BUILDERS.items()]
    rows = measure(f"degree {DEGREE}, {POINTS:,} points", contenders, rounds=31, memory=lambda name: memory_mb(Path(__file__), name))
    write("harmonics", "Spherical harmonics", rows, "torsor")


if __name__ == "__main__":
    main()
