"""What is installed, from metadata alone: no plugin is imported."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from .aliases import Alias
    from .component import Component

GROUP = "ftk.plugins"


@dataclass(slots=True)
class Plugin:
    """One entry point: a working plugin, or the reason it is not one."""

    name: str
    dist: str
    version: str
    summary: str = ""
    entry_point: importlib.metadata.EntryPoint | None = None
    requires: tuple[str, ...] = ()
    """Names of the distributions that it depends on."""
    module: ModuleType | None = None
    sections: list[type] = field(default_factory=list)
    components: list[Component] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)
    error: str = ""
    disabled: bool = False


def rows(entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> list[Plugin]:
    """What metadata says is installed, by distribution name. Imports no plugin."""
    found = importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points
    only, never = _names("FTK_PLUGINS"), _names("FTK_DISABLE")
    out = []
    for ep in sorted(found, key=lambda ep: (canonical(ep.dist.name), ep.name)):  # type: ignore[union-attr]
        dist = ep.dist
        assert dist is not None
        name = canonical(dist.name)
        off = name in never or (bool(only) and name not in only)
        out.append(Plugin(ep.name, name, dist.version, dist.metadata["Summary"] or "", ep, disabled=off))
    return out


def _names(variable: str) -> set[str]:
    return {canonical(n) for n in os.environ.get(variable, "").split(",") if n.strip()}


def canonical(name: str) -> str:
    """A distribution name as package indexes compare it."""
    return name.strip().lower().replace("_", "-").replace(".", "-")
