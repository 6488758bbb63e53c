"""What an anchor holds: error, equivariance error and distance from the clone against its strength, from free to frozen.

Run `python benchmarks/cloning_anchors.py` for the small form, `... --full` for five seeds, more steps and more samples. Medians over seeds.
Writes results/cloning_anchors.md; finished runs of the same form are not repeated.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from typing import Any

import torch

from harness import RESULTS, THREADS, hardware

STRENGTHS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
HELD = "retain"
"""What an infinite strength is."""
FORMS: dict[str, dict[str, int]] = {
    "small": {"seeds": 2, "steps": 300, "train_size": 300, "cloning": 300, "channels": 4},
    "full": {"seeds": 5, "steps": 3000, "train_size": 1000, "cloning": 600, "channels": 8},
}
BREAKING = 1.0
"""How strongly the data break the symmetry."""
COLUMNS = {
    "mse": "mse",
    "mse (moved)": "mse, moved",
    "equivariance": "equivariance error",
    "drift": "distance from the clone",
    "teacher": "NMSE to the teacher",
}


def settings(strength: float | str, form: dict[str, int]) -> Any:
    """The network held with a strength."""
    from torsor.dial.clone import AnchorSettings, CloneSettings
    from torsor.dial.clone.config import ClonedConfig

    config = ClonedConfig(
        model={"name": "equivariant-mlp", "channels": form["channels"], "layers": 1},
        student={"name": "bilinear"},
        regime="anchored",
        cloning=CloneSettings(steps=form["cloning"], learning_rate=3e-2, probe_size=1024),
        directory="runs/clones",
    )
    return replace(config, regime="retain") if strength == HELD else replace(config, anchor=AnchorSettings(strength=float(strength)))


def run(strength: float | str, seed: int, form: dict[str, int]) -> dict[str, float]:
    """Train once and measure."""
    from torsor.tasks.invariant_regression import InvariantRegressionConfig
    from torsor.training import TrainConfig, load_run, train

    task = InvariantRegressionConfig(train_size=form["train_size"], valid_size=200, test_size=1000, strength=BREAKING).build()
    steps = TrainConfig(steps=form["steps"], batch_size=64, learning_rate=1e-2, seed=seed, device="cpu", test_on="last")
    with tempfile.TemporaryDirectory() as folder:
        result = train(task, settings(strength, form), steps, folder, quiet=True)
        network = load_run(folder, "last").model
    return {
        **{name: result.test[name] for name in ("mse", "mse (moved)")},
        "equivariance": equivariance(network, task),
        **held(network, settings(0.0, form).build(task.signature)),
    }


@torch.no_grad()
def equivariance(network: Any, task: Any) -> float:
    """Mean norm of f(g x) - g f(x) over the mean norm of f(x), on test inputs, with an element of the group for each."""
    inputs = task.inputs(task.splits.test.take(slice(None)))
    contract = task.signature.symmetry()
    g = contract.sample(inputs, torch.Generator().manual_seed(0))
    output = network(**inputs)
    broken = network(**contract.transform(g, inputs)) - contract.transform_output(g, output)
    return float(broken.norm(dim=-1).mean() / output.norm(dim=-1).mean())


@torch.no_grad()
def held(network: Any, fresh: Any) -> dict[str, float]:
    """How far the students are from those that were cloned, relative to these, and from their teachers on the laws they were cloned on."""
    from torsor.dial.clone.laws import WithParameters
    from torsor.dial.clone.quality import Probe

    pairs = [(new, old) for new, old in zip(network.students.parameters(), fresh.students.parameters(), strict=True)]
    moved = sum(float((new - old).square().sum()) for new, old in pairs)
    size = sum(float(old.square().sum()) for _, old in pairs)
    errors = []
    for slot, anchored in fresh.anchor.held.items():
        law, teacher = WithParameters(anchored.law, anchored.teacher), anchored.teacher
        errors.append(Probe(teacher, law, teacher.symmetry, 512, 0, torch.float32).nmse(network.students[slot]))
    return {"drift": (moved / size) ** 0.5, "teacher": max(errors)}


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Medians over seeds, one line a strength."""
    lines = [f"| lambda | {' | '.join(COLUMNS.values())} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for strength, runs in rows.items():
        cells = (f"{statistics.median(each[name] for each in runs):.3g}" for name in COLUMNS)
        lines.append(f"| {'infinite (retain)' if strength == HELD else strength} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(name: str, rows: dict[str, list[dict[str, float]]], seconds: float) -> None:
    """The runs as JSON, and their table."""
    form = FORMS[name]
    machine = hardware().replace(f"{THREADS} threads used", "1 thread used")
    found = {"form": name, "date": str(date.today()), "hardware": machine, "seconds": seconds, "runs": rows}
    (RESULTS / "cloning_anchors.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = (
        f"{found['date']}. {machine}. {form['train_size']} samples of `invariant-regression` at strength {BREAKING:g}, "
        f"{form['steps']} steps, median of seeds 0 to {form['seeds'] - 1}; bilinear clones of an equivariant perceptron of "
        f"{form['channels']} channels, held by the divergence of their weights. The equivariance error is the mean norm of f(g x) - f(x) "
        "over that of f(x) on test inputs; the distance is |theta - theta_0| / |theta_0|; the NMSE is that of the worst layer, on the law "
        f"it was cloned on. {seconds:.0f} s in all."
    )
    (RESULTS / "cloning_anchors.md").write_text(f"# What an anchor holds\n\n{text}\n\n{table(rows)}\n", encoding="utf-8")


def main() -> None:
    torch.set_num_threads(1)
    name = "full" if "--full" in sys.argv[1:] else "small"
    path = RESULTS / "cloning_anchors.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = before if before.get("form") == name else {"runs": {}, "seconds": 0.0}
    rows: dict[str, list[dict[str, float]]] = {f"{strength}": [] for strength in (*STRENGTHS, HELD)} | before["runs"]
    seconds = before["seconds"]
    for strength in (*STRENGTHS, HELD):
        for seed in range(len(rows[f"{strength}"]), FORMS[name]["seeds"]):
            started = time.perf_counter()
            rows[f"{strength}"].append(run(strength, seed, FORMS[name]))
            seconds += time.perf_counter() - started
            print(strength, seed, rows[f"{strength}"][-1], flush=True)
            if all(rows.values()):
                write(name, rows, seconds)


if __name__ == "__main__":
    main()
