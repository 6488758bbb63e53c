"""How well plain networks learn a symmetry by imitation: by student, by teacher, on the law of their inputs and off it.

Run `python benchmarks/cloning.py` for everything, or with names of lines, `python benchmarks/cloning.py "C(8)/gelu 128"`; lines that are
not run keep their figures. Writes results/cloning.md. Seconds are wall-clock time of the training, whatever else the machine does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import torch

from harness import RESULTS, THREADS, hardware

STEPS = 6000


def teachers() -> dict[str, Callable[[], Any]]:
    """The layers that are imitated."""
    from torsor.dial.clone import CircularConvolution, DeepSets, linear_teacher
    from torsor.groups import Lorentz, O
    from torsor.representations import Defining, Vectors

    return {
        "C(8)": lambda: CircularConvolution(1, 1, (8,), (8,)),
        "C(6) x C(6)": lambda: CircularConvolution(1, 1, (6, 6), (3, 3)),
        "S(8)": lambda: DeepSets(8, 1, 1),
        "O(3)": lambda: linear_teacher(3 * Vectors(), (3 * Vectors()).on(O(3))),
        "Lorentz": lambda: linear_teacher(2 * Defining(), (2 * Defining()).on(Lorentz())),
    }


def students() -> dict[str, tuple[Any, float]]:
    """What imitates them, and its learning rate."""
    from torsor.dial.clone import BilinearConfig, HypernetworkConfig, MLPStudentConfig

    perceptrons = {
        f"{activation} {width}": (MLPStudentConfig(hidden=width, activation=activation), 1e-3)
        for activation in ("relu", "gelu")
        for width in (64, 128, 256, 512)
    }
    return {
        **perceptrons,
        "gelu 128, three layers": (MLPStudentConfig(hidden=128, layers=3), 1e-3),
        "gelu 128, homogeneous": (MLPStudentConfig(hidden=128, homogeneous=("x", "tau")), 2e-3),
        "hypernetwork 128": (HypernetworkConfig(hidden=128), 1e-3),
        "bilinear": (BilinearConfig(), 1e-2),
    }


def lines() -> list[tuple[str, str]]:
    """Every student of C(8), and one of every teacher."""
    return [("C(8)", name) for name in students()] + [(name, "gelu 128") for name in teachers() if name != "C(8)"]


def run(teacher: str, student: str) -> dict[str, Any]:
    """Clone once and take the figures from the card."""
    from torsor.dial.clone import CloneSettings, card_of, clone

    config, rate = students()[student]
    card = card_of(clone(teachers()[teacher](), config, settings=CloneSettings(steps=STEPS, learning_rate=rate)))
    quality = {name: getattr(card.quality, name) for name in ("nmse", "equivariance_error", "equivariance_mse", "bound")}
    machine = hardware().replace(f"{THREADS} threads used", "1 thread used")
    return {"seconds": card.seconds, "off_law": card.off_law, "date": str(date.today()), "hardware": machine, **quality}


def table(found: dict[str, Any]) -> str:
    """The lines that have been run, as a table."""
    head = "| teacher | student | NMSE | equivariance error | NMSE at 0.3, 2, 4 times the inputs | seconds |\n|---|---|---:|---:|---:|---:|"
    rows = []
    for teacher, student in lines():
        if (row := found.get(f"{teacher}/{student}")) is not None:
            off = ", ".join(f"{row['off_law'][factor]:.1e}" for factor in ("0.3", "2", "4"))
            rows.append(f"| {teacher} | {student} | {row['nmse']:.1e} | {row['equivariance_error']:.3f} | {off} | {row['seconds']:.0f} |")
    return "\n".join([head, *rows])


def write(found: dict[str, Any]) -> None:
    """The figures as JSON, and their table."""
    (RESULTS / "cloning.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    machines = " ".join(sorted({f"{row['date']}. {row['hardware']}." for row in found.values()}))
    text = (
        f"{STEPS} steps of 256 fresh draws, two hidden layers unless said otherwise, seed 0. The equivariance error is that of the worst "
        "group element, the mean norm of h(g x) - g h(x) over that of h(x)."
    )
    (RESULTS / "cloning.md").write_text(f"# Cloning\n\n{machines} {text}\n\n{table(found)}\n", encoding="utf-8")


def main() -> None:
    torch.set_num_threads(1)
    path = RESULTS / "cloning.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for teacher, student in lines():
        name = f"{teacher}/{student}"
        if not sys.argv[1:] or name in sys.argv[1:]:
            found[name] = run(teacher, student)
            print(name, found[name], flush=True)
            write(found)
    write(found)


if __name__ == "__main__":
    main()
