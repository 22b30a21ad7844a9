"""Plugins made in a test: installed for as long as the test wants, without a distribution."""

from __future__ import annotations

import importlib.metadata
import itertools
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftk.component import Component
from ftk.discover import Installed, discover
from ftk.markers import hookimpl
from ftk.metadata import GROUP

_serial = itertools.count()


class EntryPoint:
    """What discovery reads of an entry point of ``importlib.metadata``."""

    def __init__(self, name: str, dist: str, module: types.ModuleType, requires: Sequence[str]) -> None:
        self.name, self.module = name, module
        self.value = module.__name__
        metadata = {"Summary": f"{name}, made in a test"}
        self.dist = types.SimpleNamespace(name=dist, version="1.0", metadata=metadata, requires=list(requires))

    def load(self) -> types.ModuleType:
        return self.module


def plugin(
    name: str = "fake",
    *,
    offers: Mapping[str, type] | None = None,
    sections: Sequence[type] = (),
    fields: Mapping[str, Any] | None = None,
    hooks: Mapping[str, Callable[..., Any]] | None = None,
    requires: Sequence[str] = ("ftk-kernel>=0.1,<0.2",),
) -> EntryPoint:
    """The entry point of a plugin.

    offers    component id -> the class that its target names
    sections  classes decorated with ``@section``
    fields    further fields of every component: ``requires``, ``section``, ``default``, ...
    hooks     further functions of its module: ``{"ftk_check": check}``
    """
    module = types.ModuleType(f"ft_plugin_{name.replace('-', '_')}_{next(_serial)}")
    sys.modules[module.__name__] = module
    components = []
    for cid, cls in (offers or {}).items():
        kind, _, own = cid.partition(":")
        setattr(module, cls.__name__, cls)
        target = f"{module.__name__}:{cls.__name__}"
        components.append(
            Component(**{"kind": kind, "name": own, "target": target, "summary": f"{own} for a test", **(fields or {})})
        )
    for cls in sections:
        setattr(module, cls.__name__, cls)

    @hookimpl
    def ftk_components() -> list[Component]:
        return components

    @hookimpl
    def ftk_sections() -> list[str]:
        return [f"{module.__name__}:{cls.__name__}" for cls in sections]

    module.__dict__.update(ftk_components=ftk_components, ftk_sections=ftk_sections)
    module.__dict__.update({hook: hookimpl(function) for hook, function in (hooks or {}).items()})
    return EntryPoint(name, f"ft-plugin-{name}", module, requires)


def installed_with(*entry_points: EntryPoint) -> Installed:
    """Everything that is installed, and these."""
    return discover([*importlib.metadata.entry_points(group=GROUP), *entry_points])  # type: ignore[list-item]
