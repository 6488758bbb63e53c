"""Two small studies and the report they make: planets around a star, and the forces in an ethanol molecule.

Made to fit in a few minutes on two cores: sizes, steps and networks are far below what a paper would use, and the report says so. Both data
sets have an exactly symmetric law; the planets lie every way in space, the molecules nearly all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torsor.cli.flags import parse
from torsor.report import write_report
from torsor.report.words import headline
from torsor.study import StudyConfig, run_study
from torsor.training import TrainConfig

PLAIN = {"name": "transformer", "width": 48, "heads": 4, "layers": 3}
STRICT = {"name": "egnn", "hidden": 32, "layers": 3}
ARMS = ("strict", "augmented", "augmented+tta", "plain")
RATES = (1e-3, 4e-3)

STUDIES = {
    "planets": StudyConfig(
        task={"name": "nbody", "variant": "gravity", "valid_size": 100, "test_size": 2000},
        strict=STRICT,
        plain=PLAIN,
        train=TrainConfig(steps=400, batch_size=32),
        arms=ARMS,
        sizes=(50, 200, 800),
        seeds=(0, 1, 2),
        learning_rates=RATES,
        tta_samples=8,
    ),
    "ethanol": StudyConfig(
        task={"name": "molecules", "dataset": "rmd17", "molecule": "ethanol", "forces": "direct", "valid_size": 100, "test_size": 300},
        strict=STRICT,
        plain=PLAIN,
        train=TrainConfig(steps=600, batch_size=16),
        arms=ARMS,
        sizes=(100, 300, 900),
        seeds=(0, 1),
        learning_rates=RATES,
        tta_samples=8,
    ),
}
"""The studies by the name of their directory."""


def run(directory: str | Path, say: Callable[[str], None] = print) -> Path:
    """Run both studies, or what is missing of them, and write one report.

    Args:
        directory: where the studies and `report.html` go.
        say: is told how it goes, a line at a time.

    Returns:
        The report.
    """
    root, started = Path(directory), time.monotonic()
    for name, config in STUDIES.items():
        say(f"{name}: {len(config.trained)} networks x {len(config.sizes)} training-set sizes x {len(config.seeds)} seeds")
        findings = run_study(config, root / name, say=say)
        say(f"{name}: {findings.verdict}. {headline(findings)}")
    say(f"{(time.monotonic() - started) / 60:.1f} minutes")
    return write_report([root / name for name in STUDIES])


def demo(arguments: Sequence[str]) -> int:
    """`torsor demo`."""

    def start(out: Path = Path("runs") / "demo") -> int:
        """Ask whether symmetry matters, on simulated planets and on a molecule, and write the report.

        Args:
            out: where it all goes; a demo that was stopped goes on.
        """
        print(f"The report: {run(out)}")
        return 0

    return parse(start, arguments, "demo")
