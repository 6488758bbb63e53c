"""Trackers that draw curves while a run trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torsor.errors import missing_dependency


class Tracker:
    """Sends records to the tracker of a run; a context that closes it.

    Args:
        name: "none" or "tensorboard".
        directory: where the event files go, in a folder `tensorboard`.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self._tracker: Any = None
        if name == "tensorboard":
            try:
                from accelerate.tracking import TensorBoardTracker

                self._tracker = TensorBoardTracker("tensorboard", directory)
                self._tracker.start()
            except ImportError as error:
                raise missing_dependency("tensorboard", "train", "tracker 'tensorboard'") from error

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Send the numbers of a record; tables become "valid/metric"."""
        if self._tracker is not None:
            nested = {
                f"{name}/{key}": number for name, value in values.items() if isinstance(value, Mapping) for key, number in value.items()
            }
            self._tracker.log(nested | {name: value for name, value in values.items() if not isinstance(value, Mapping)}, step)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._tracker is not None:
            self._tracker.finish()
