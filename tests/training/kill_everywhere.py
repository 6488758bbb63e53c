"""Kill a run before every single operation on files, let it go on, and compare it with a run that was never killed.

`python -m tests.training.kill_everywhere DIRECTORY` prints how many places it was killed at. Each run is a fork of this process, which is
much faster than starting Python anew; a fork dies by SIGKILL, as by `kill -9`.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.training.toy import SETTINGS, ToyConfig, ToyModelConfig
from torsor.training import train

SHORT = replace(SETTINGS, steps=12, evaluate_every=4, checkpoint_every=3, log_every=5)


def run(directory: Path) -> None:
    train(ToyConfig().build(), ToyModelConfig(), SHORT, directory, resume=True, augment=True, quiet=True)


def kill_at(place: int) -> None:
    """From now on, die before the file operation number `place`, counted from 1."""
    count = 0

    def counted(operation: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == place:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **options)

        return wrapped

    for name in ("fsync", "replace", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def forked(directory: Path, place: int) -> bool:
    """Run in a fork that dies at a place; whether it finished instead."""
    child = os.fork()
    if child == 0:
        try:
            if place:
                kill_at(place)
            run(directory)
            os._exit(0)
        except BaseException as error:
            print(f"place {place}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"the run failed at place {place}")
    return os.WIFEXITED(status)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    run(folder / "whole")  # here, so that the forks need not import anything any more
    killed = 0
    while not forked(folder / f"killed-{killed + 1}", killed + 1):
        killed += 1
        assert forked(folder / f"killed-{killed}", 0)
    print(killed)
