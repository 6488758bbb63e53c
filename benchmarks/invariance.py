"""How far a LieTransformer with drawn frames is from invariant, by the number of frames a point has: the diagnostic of its authors.

Hutchinson et al.: LieTransformer (2021), released diagnostics: SE(2), one layer of 8 channels and 2 heads, `kernel_dim` 2, constant
features and normalisation, no norms, float64, one constellation with one pattern of each type. The error is the largest |f(X) - f(R X)|
over all outputs and 20 random rotations R, with frames drawn anew on both sides; shown are its median and quartiles over 10 draws of
weights and data.

Four ways to have frames: angles drawn independently; "sampled" (published), equally spaced from one angle a point; "shared", equally
spaced from one angle a cloud; and "data", made from the points, exact with a single frame. Beside them the error when the frames of
"sampled" turn along, the other guarantee of the same network, and that of T(2), which knows no rotations. Run
`python benchmarks/invariance.py`, with `--full` for the published 25 numbers of frames up to 251 (hours); writes results/invariance.md.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date

import torch
from torch import Tensor

from harness import RESULTS, THREADS, hardware
from torsor.data.constellations import draw_constellations
from torsor.groups import SO
from torsor.models.lie_transformer import LieTransformer, published_kernel

SHORT = (1, 2, 4, 8, 16)
FULL = tuple(sorted({round(251 ** (i / 24)) for i in range(25)}))
ROTATIONS, RUNS = 20, 10
PAIRS = 1_000_000
"""Pairs of elements that are held at once."""
LIFTS = ("independent", "sampled", "shared", "coupled", "data", "T(2)")
TITLES = ("independent angles", "sampled", "shared", "sampled, frames turned along", "data", "T(2), no rotations")


@dataclass(frozen=True)
class Row:
    """Errors of one lift with so many frames, over all runs."""

    lift: str
    frames: int
    median: float
    low: float
    high: float


def build(lift: str, samples: int, seed: int) -> LieTransformer:
    """The network of the diagnostic; its outputs are logits of the counts 0 and 1 of four patterns."""
    torch.manual_seed(seed)
    settings = {"hidden": 8, "heads": 2, "layers": 1, "kernel_dim": 2, "norm": "none", "pairs": "log", "head": "pooled"}
    kind = {"independent": "sampled", "coupled": "sampled", "T(2)": "data"}.get(lift, lift)
    kernel = published_kernel("mlp", "dot_product")
    return LieTransformer(
        "T(2)" if lift == "T(2)" else "SE(2)", 1, 8, pool="mean", lift=kind, samples=samples, final_activation=True, **settings, **kernel
    ).double()


def frames(model: LieTransformer, lift: str, cloud: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The noise of a call."""
    if lift == "independent":
        shape = (*cloud["positions"].shape[:2], model.lift.samples)
        return {"lifts": SO(2).sample(*shape, generator=generator, dtype=torch.float64)}
    return model.draw(cloud, generator)


@torch.no_grad()
def error(lift: str, samples: int, seed: int) -> float:
    """The largest difference of one run."""
    generator = torch.Generator().manual_seed(seed)
    drawn = draw_constellations(1, generator, repetitions=1)
    points = drawn.present.shape[1]
    rotations, model, largest = SO(2).sample(ROTATIONS, generator=generator, dtype=torch.float64), build(lift, samples, seed), 0.0
    for part in rotations.split(max(1, PAIRS // (samples * points) ** 2)):
        still = {"positions": drawn.positions, "features": torch.ones(1, points, 1).double(), "mask": drawn.present}
        still = {name: x.expand(len(part), *x.shape[1:]) for name, x in still.items()}
        turned = {**still, "positions": still["positions"] @ part.mT}
        first = frames(model, lift, still, generator)
        second = {"lifts": first["lifts"] @ part.mT[:, None, None]} if lift == "coupled" else frames(model, lift, turned, generator)
        largest = max(largest, float((model(**still, **first) - model(**turned, **second)).abs().max()))
    return largest


def measured(numbers: tuple[int, ...]) -> Iterator[Row]:
    """The rows of the table, lift by lift; frames of the data are no better for being many."""
    for lift in LIFTS:
        for samples in (1,) if lift in ("data", "T(2)") else numbers:
            began = time.perf_counter()
            errors = [error(lift, samples, seed) for seed in range(RUNS)]
            low, median, high = statistics.quantiles(errors, n=4, method="inclusive")
            print(f"{lift}, {samples} frames: {median:.1e} ({time.perf_counter() - began:.0f} s)", flush=True)
            yield Row(lift, samples, median, low, high)


def table(rows: list[Row]) -> str:
    """One line for each number of frames, one column for each lift: the median, and the quartiles in brackets."""
    by = {(row.lift, row.frames): row for row in rows}
    lines = ["| frames a point | " + " | ".join(TITLES) + " |", "|---:|" + "---:|" * len(TITLES)]
    for number in sorted({row.frames for row in rows}):
        cells = [
            f"{row.median:.1e} ({row.low:.1e} to {row.high:.1e})" if (row := by.get((lift, number))) is not None else "" for lift in LIFTS
        ]
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def power(rows: list[Row], lift: str) -> float:
    """The power of the number of frames with which the median falls, from the first to the last."""
    line = [row for row in rows if row.lift == lift]
    return math.log(line[-1].median / line[0].median) / math.log(line[-1].frames / line[0].frames)


def main() -> None:
    torch.set_num_threads(THREADS)
    numbers = FULL if "--full" in sys.argv else SHORT
    rows = list(measured(numbers))
    short = f" A short run: up to {numbers[-1]} frames, published are up to {FULL[-1]}." if numbers == SHORT else ""
    text = (
        f"# Invariance of drawn frames\n\n{date.today().isoformat()}. {hardware()}. Float64.{short}\n\n"
        f"Largest change of an output under {ROTATIONS} rotations of a constellation, median (quartiles) over {RUNS} networks.\n\n"
        f"{table(rows)}\n\nWith independent angles the median falls as the number of frames to the power {power(rows, 'independent'):.2f}. "
        "Equally spaced ones are a finite group of rotations, under which the network is exact.\n"
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "invariance.md").write_text(text)
    payload = {"date": date.today().isoformat(), "hardware": hardware(), "rows": [asdict(row) for row in rows]}
    (RESULTS / "invariance.json").write_text(json.dumps(payload, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
