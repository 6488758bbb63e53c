"""Named things that load on first use: one line an entry, nothing imported until it is asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torsor.errors import unknown_name


@dataclass(frozen=True)
class Entry:
    """One line of a registry.

    Args:
        name: what the user types.
        target: `package.module:attribute`, imported by `load`.
        summary: one line for `torsor list`.
        paper: the paper it comes from, empty where there is none.
    """

    name: str
    target: str
    summary: str
    paper: str = ""

    def load(self) -> Any:
        """Import the target."""
        module, attribute = self.target.split(":")
        return getattr(import_module(module), attribute)


class Registry(Mapping[str, Entry]):
    """Entries by name; an unknown name is an error that gives the nearest one.

    Args:
        kind: what the entries are, in the singular ("model").
        entries: the entries.
    """

    def __init__(self, kind: str, *entries: Entry) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, name: str) -> Any:
        """Import what is registered under `name`.

        Raises:
            UnknownNameError: nothing is registered under `name`.
        """
        return self[name].load()
