"""The distributions of the repository, as their ``pyproject.toml`` and their ``plugin.py`` describe them."""

from __future__ import annotations

import importlib
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ftk.component import Component, resolve
from ftk.problems import FtkError


@dataclass(slots=True)
class Package:
    """One distribution of the repository."""

    folder: Path
    project: dict[str, Any]
    """The ``[project]`` table."""
    tool: dict[str, Any] = field(default_factory=dict)
    """The ``[tool.ftk]`` table."""

    @property
    def name(self) -> str:
        return self.project["name"]

    @property
    def version(self) -> str:
        return self.project["version"]

    @property
    def dependencies(self) -> list[str]:
        return self.project.get("dependencies", [])

    def entry_points(self, group: str) -> dict[str, str]:
        return self.project.get("entry-points", {}).get(group, {})

    def modules(self) -> list[ModuleType]:
        """Its entry-point modules. Raises FtkError when one cannot be imported."""
        out = []
        for target in self.entry_points("ftk.plugins").values():
            try:
                out.append(importlib.import_module(target))
            except ImportError as e:
                raise FtkError(
                    f"{self.folder}: cannot import {target}: {e}", "mend the import, or its entry point"
                ) from e
        return out

    def sections(self) -> list[type]:
        return [resolve(s) for m in self.modules() for s in getattr(m, "ftk_sections", list)()]

    def components(self) -> list[Component]:
        return [c for m in self.modules() for c in getattr(m, "ftk_components", list)()]

    def hookspecs(self) -> list[type]:
        return [resolve(s) for m in self.modules() for s in getattr(m, "ftk_hookspecs", list)()]


def root() -> Path:
    """The repository that this file is in. Raises FtkError where the sdk was installed without one."""
    here = Path(__file__).resolve().parents[4]
    if not (here / "kernel" / "pyproject.toml").exists():
        raise FtkError("this is not the ftk repository", "clone it, and install its sdk with pip install -e sdk")
    return here


def find(top: Path, *patterns: str) -> list[Package]:
    """Distributions whose folders match, by name. They become importable even where they are not installed."""
    found = [_read(path) for pattern in patterns for path in top.glob(f"{pattern}/pyproject.toml")]
    return sorted(found, key=lambda p: p.name)


def first_party(top: Path) -> list[Package]:
    return find(top, "plugins/*")


def _read(path: Path) -> Package:
    source = str(path.parent / "src")
    if source not in sys.path:
        sys.path.append(source)  # behind what is installed
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return Package(path.parent, data["project"], data.get("tool", {}).get("ftk", {}))
