"""Studies that torsor brings, one a TOML file of this folder: `torsor study NAME`."""

from __future__ import annotations

from pathlib import Path


def shipped_studies() -> dict[str, Path]:
    """The files by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
