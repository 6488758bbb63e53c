"""Kill a run from outside at random moments of its training, again and again, and let it go on in the end.

`python -m tests.training.kill_randomly DIRECTORY` prints how many kills hit. Each run is a fork of this process, as in `kill_everywhere`.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from tests.training.toy import SETTINGS, ToyConfig, ToyModelConfig
from torsor.io import read_lines
from torsor.training import train

LONG = replace(SETTINGS, steps=400, log_every=1)
KILLS = 5


def run(directory: Path) -> None:
    train(ToyConfig().build(), ToyModelConfig(), LONG, directory, resume=True, augment=True, quiet=True)


def started(directory: Path) -> int:
    """A fork that runs."""
    child = os.fork()
    if child == 0:
        try:
            run(directory)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return child


def killed(directory: Path, delay: float) -> bool:
    """Start or go on, and kill after a delay from the moment at which it trains; whether it was still running."""
    steps = len(read_lines(directory / "metrics.jsonl"))
    child = started(directory)
    while len(read_lines(directory / "metrics.jsonl")) == steps:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            raise SystemExit(f"the run ended with status {status} before it trained")
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    run(folder / "whole")  # here, so that the forks need not import anything any more
    draw = random.Random(20)
    print(sum(killed(folder / "killed", draw.uniform(0, 0.4)) for _ in range(KILLS)))
    assert os.waitpid(started(folder / "killed"), 0)[1] == 0
