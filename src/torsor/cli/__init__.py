"""The command line: one verb a function, imported when it is used.

An error is one line that says what to change, with exit status 2; `--debug` shows where it came from. `torsor check` leaves with status 1
where a model is less equivariant than it may be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from torsor import __version__
from torsor.errors import TorsorError, missing_dependency
from torsor.registry import Entry, Registry

VERBS = Registry(
    "verb",
    Entry("list", "torsor.cli.looking:list_names", "what there is: models, tasks, groups, recipes, studies"),
    Entry("check", "torsor.cli.looking:check", "measure how equivariant a model is"),
    Entry("train", "torsor.cli.running:train", "train a model on a task, or go on with a run"),
    Entry("evaluate", "torsor.cli.running:evaluate", "test a run: metrics, baselines, equivariance"),
    Entry("reproduce", "torsor.cli.running:reproduce", "a published figure beside ours"),
    Entry("study", "torsor.cli.studying:study", "does symmetry matter for your data: arms, sizes, seeds, a verdict"),
    Entry("report", "torsor.cli.studying:report", "one HTML page about runs or a study"),
    Entry("bench", "torsor.cli.studying:bench", "our layers against their peers, in one run"),
    Entry("demo", "torsor.cli.demo:demo", "a small study from data to verdict, in a few minutes"),
)

USAGE = """usage: torsor VERB [...]

Choose, verify and measure how much symmetry a neural network has.

{verbs}

torsor VERB --help tells the rest; --debug shows where an error came from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status.

    Args:
        arguments: what follows `torsor`; those of the process if not given.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    if not given or given[0] in ("-h", "--help", "help"):
        print(USAGE.format(verbs="\n".join(f"  {verb.name:<10} {verb.summary}" for verb in VERBS.values())))
        return 0
    if given[0] == "--version":
        print(__version__)
        return 0
    try:
        _require_extra()
        return int(VERBS.load(given[0])(given[1:]) or 0)
    except TorsorError as error:
        if debug:
            raise
        print(f"torsor: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has had enough, as in `torsor list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("torsor: stopped", file=sys.stderr)
        return 130


def _require_extra() -> None:
    for package in ("tyro", "rich", "accelerate", "matplotlib"):
        if find_spec(package) is None:
            raise missing_dependency(package, "train", "the command line")
