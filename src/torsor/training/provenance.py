"""What a run was made with."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import torch

import torsor


def provenance() -> dict[str, Any]:
    """Versions, machine and git revision: what one needs to know to run the same again."""
    return {
        "torsor": torsor.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "git_revision": _git("rev-parse", "HEAD"),
        "git_changed_files": (_git("diff", "--name-only", "HEAD") or "").splitlines(),
        "command": " ".join(sys.argv),
    }


def _processor() -> str:
    """The name of the processor, or of its architecture where the system does not say it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """What git says in the current directory; None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
