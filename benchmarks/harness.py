"""Time and memory of contenders in one run: medians, their spread, and ratios.

Times are wall-clock seconds of one forward and backward pass, contenders interleaved round by round so that a slow
moment of the machine hits all of them alike. Memory is the peak resident set of a fresh process that builds the
contender and runs it, less the peak of the same process with the contender's library imported: what the contender
costs above idle.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

RESULTS = Path(__file__).parent / "results"
THREADS = 2


@dataclass(frozen=True)
class Contender:
    """One thing to time.

    Args:
        name: what the table calls it.
        build: returns a function that runs one forward and backward pass.
        parameters: how many trainable numbers it has.
        note: what a reader has to know to compare fairly.
    """

    name: str
    build: Callable[[], Callable[[], object]]
    parameters: int = 0
    note: str = ""


@dataclass(frozen=True)
class Measurement:
    """Seconds and bytes of one contender in one setting."""

    setting: str
    name: str
    median_s: float
    low_s: float
    high_s: float
    memory_mb: float | None
    parameters: int
    note: str


def seconds(steps: Mapping[str, Callable[[], object]], rounds: int, budget_s: float = 25) -> dict[str, list[float]]:
    """Wall-clock seconds of each step, up to `rounds` times after two warm-ups, interleaved.

    A step that has used up `budget_s` stands aside from then on, but not before one warm-up and two rounds.
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(-2, rounds):
        for name, step in steps.items():
            if sum(taken[name]) > budget_s and (turn == -1 or turn >= 2):
                continue
            start = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - start)
    return {name: times[1 if sum(times) > budget_s else 2 :] for name, times in taken.items()}


def peak_mb() -> float:
    """Peak resident set of this process so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would begin with the size of the process that started this one
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def memory_mb(script: Path, *arguments: str) -> float | None:
    """Megabytes above idle that `python script --memory arguments` prints as its last line; None where the contender fails."""
    run = subprocess.run([sys.executable, "-W", "ignore", str(script), "--memory", *arguments], capture_output=True, text=True, check=False)
    return float(run.stdout.split()[-1]) if run.returncode == 0 else None


def print_memory(library: str, build: Callable[[], Callable[[], object]], runs: int = 3) -> None:
    """The other side of `memory_mb`: import the library, build, run, print the megabytes above idle."""
    torch.set_num_threads(THREADS)
    # a contender that wants more than the machine has should fail by itself, not take others along
    limit = int(0.9 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    importlib.import_module(library)
    idle = peak_mb()
    step = build()
    for _ in range(runs):
        step()
    print(peak_mb() - idle)


def measure(setting: str, contenders: Sequence[Contender], rounds: int, memory: Callable[[str], float | None]) -> list[Measurement]:
    """Time the contenders of one setting side by side; `memory` gives the megabytes of a contender by its name, None where it fails."""
    torch.set_num_threads(THREADS)
    used = {contender.name: memory(contender.name) for contender in contenders}
    able = [contender for contender in contenders if used[contender.name] is not None]
    for contender in contenders:
        if contender not in able:
            print(f"{setting}: {contender.name} fails by itself (out of memory?) and is left out", file=sys.stderr)
    taken = seconds({contender.name: contender.build() for contender in able}, rounds)
    rows = []
    for contender in able:
        times = sorted(taken[contender.name])
        spread = times[len(times) // 4], times[-1 - len(times) // 4]
        median = statistics.median(times)
        rows.append(Measurement(setting, contender.name, median, *spread, used[contender.name], contender.parameters, contender.note))
    return rows


def peak_flops() -> float:
    """Floating point operations a second of one large float32 matrix product."""
    a, taken = torch.randn(1536, 1536), []
    for _ in range(7):
        start = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - start)
    return 2 * 1536**3 / statistics.median(taken)


def flops(step: Callable[[], object]) -> int:
    """Counted floating point operations of one step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def hardware() -> str:
    """The machine and the versions, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} logical cores, {THREADS} threads used, torch {torch.__version__}, Python {platform.python_version()}"


def table(rows: Sequence[Measurement], ours: str) -> str:
    """Markdown table; the ratio says how many times slower than `ours` a row is, in the same setting."""
    lines = [
        "| setting | contender | median ms | quartiles ms | times ours | memory MB | parameters | note |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    base = {row.setting: row.median_s for row in rows if row.name == ours}
    for row in rows:
        ratio = f"{row.median_s / base[row.setting]:.2f}" if row.setting in base else "-"
        spread = f"{row.low_s * 1e3:.1f} to {row.high_s * 1e3:.1f}"
        memory = "-" if row.memory_mb is None else f"{row.memory_mb:.0f}"
        cells = (row.setting, row.name, f"{row.median_s * 1e3:.1f}", spread, ratio, memory, f"{row.parameters:,}", row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(name: str, title: str, rows: Sequence[Measurement], ours: str, text: str = "") -> Path:
    """Write `results/<name>.md` and `.json` with hardware and date, and print the table."""
    RESULTS.mkdir(exist_ok=True)
    header = f"# {title}\n\n{date.today().isoformat()}. {hardware()}. Forward and backward, float32.\n"
    body = table(rows, ours)
    path = RESULTS / f"{name}.md"
    path.write_text(f"{header}\n{body}\n" + (f"\n{text}\n" if text else ""))
    payload = {"date": date.today().isoformat(), "hardware": hardware(), "rows": [asdict(row) for row in rows]}
    path.with_suffix(".json").write_text(json.dumps(payload, indent=1) + "\n")
    print(body)
    return path
