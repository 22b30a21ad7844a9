"""How examples are written: what ``--to`` can name, and what a package brings to be named there."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from ftk.contracts import Example
from ftk.problems import ConfigError, FtkError

GROUP = "ftk.writers"
"""Entry points of this group are writers, under the name that ``--to`` takes."""


class Writer(Protocol):
    """Writes examples as rows that a format reads as the same examples."""

    entry: Mapping[str, Any]
    """How the rows are read again, in the words of ``dataset_info.json``: formatting, columns, ranking."""

    def __init__(self, kind: str, others: Collection[str]) -> None:
        """
        kind    what all the examples are: ``"conversations"``, ``"pairs"``, ``"texts"``, or ``"prompts"``, which are
                texts and messages
        others  names of the columns that have no role, and keep their names
        """

    def row(self, example: Example) -> dict[str, Any]:
        """A row that JSON can hold. Raises RowError for an example that cannot be written."""
        ...


def writer_named(name: str) -> type[Writer]:
    """The writer of an installed package. Raises ConfigError when none is called so."""
    found = importlib.metadata.entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(sorted(found.names))
        raise ConfigError.single(f"--to {name}: no package writes this", f"installed: {known}")
    try:
        return found[name].load()
    except ImportError as e:
        raise FtkError(f"--to {name} ({found[name].value}) cannot be imported: {e}", "reinstall its package") from e


def names_for(roles: Collection[str], defaults: Mapping[str, str], others: Collection[str]) -> dict[str, str]:
    """Role -> column for ``roles``, away from the names of other columns; and "" for roles that these would take."""
    names = {}
    for role, default in defaults.items():
        if role in roles:
            names[role] = _free(default, others)
        elif default in others:
            names[role] = ""
    return names


def _free(name: str, others: Collection[str]) -> str:
    while name in others:
        name += "_"
    return name
