"""A progress bar with the loss, the throughput and the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from torsor.errors import missing_dependency


class Report(Protocol):
    """What the loop tells a progress bar after a step."""

    def __call__(self, step: int, loss: float, seconds: float, /) -> None:
        """Show a step, counted from 1, its loss and how long it took."""


@contextmanager
def progress_bar(description: str, first: int, steps: int, batch_size: int, quiet: bool) -> Iterator[Report]:
    """A bar on the terminal, or nothing where `quiet`.

    Args:
        description: what is trained.
        first: steps that are already done.
        steps: steps in all.
        batch_size: samples in a step.
        quiet: whether to show nothing.
    """
    if quiet:
        yield _nothing
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError as error:
        raise missing_dependency("rich", "train", "the progress bar") from error
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task(description, total=steps, completed=first, state="")

        def show(step: int, loss: float, seconds: float) -> None:
            progress.update(bar, completed=step, state=f"loss {loss:.4g}  {batch_size / seconds:,.0f} samples/s")

        yield show


def _nothing(_step: int, _loss: float, _seconds: float) -> None:
    """What a quiet run shows."""
