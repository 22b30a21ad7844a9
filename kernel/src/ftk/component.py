"""What a plugin offers, described without importing how it is done."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A named choice ("adapter:lora") or an add-on ("addon:dora").

    The fields are data: reading them imports nothing. ``target`` is imported only by a run that holds the component.
    """

    kind: str
    """What it is a choice of: ``stage``, ``adapter``, ``optimizer``, ``addon``, ... (``ftk.kinds``)."""
    name: str
    """The name that users write."""
    target: str
    """``"package.module:Class"``. An instance of the class is registered with the run's plugin manager."""
    summary: str
    """One line for tables."""
    args: Mapping[str, object] = field(default_factory=dict)
    """Keyword arguments for the class, so that one class can serve several components."""
    section: str = ""
    """Name of the config section that it reads; the section's switch brings it in. Its own name when empty."""
    requires: tuple[str, ...] = ()
    """Ids or ``kind:*`` that must be in the plan too."""
    conflicts: tuple[str, ...] = ()
    """Ids or ``kind:*`` that must not be in the plan."""
    after: tuple[str, ...] = ()
    """Ids that come earlier in the order when both are planned."""
    default: bool = False
    """Taken when nothing else of its kind is selected."""
    early: bool = False
    """Imported, and its ``ftk_prepare_process`` called, before any other target is imported."""
    needs: tuple[str, ...] = ()
    """Modules looked up (never imported) when planned, for packages that cannot be dependencies: ``"unsloth"``."""
    plugin: str = ""
    """The distribution it comes from. Filled in by the kernel."""
    version: str = ""
    """The distribution's version. Filled in by the kernel."""

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def section_name(self) -> str:
        return self.section or self.name

    def load(self) -> object:
        """Import the target and make an instance of it."""
        return resolve(self.target)(**self.args)


def resolve(target: str):
    """The object that ``"package.module:name"`` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
