"""What holds for every distribution of a plugin: its metadata and its README."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from packaging.requirements import Requirement
from packaging.version import Version

import ftk
from ftk.discover import Installed, Plugin

from .. import testing
from ..maintain.tables import key_table


class DistributionContract:
    """The part of ``PluginContract`` that is about what ``pyproject.toml`` and the README say."""

    plugin: ClassVar[ModuleType]
    plugins: ClassVar[Installed | None] = None
    """Where it is found; ``None``: among everything installed."""

    def installed(self) -> Installed:
        return self.plugins or testing.installed()

    def row(self) -> Plugin:
        """What discovery made of it."""
        name, rows = self.plugin.__name__, self.installed().plugins
        found = [p for p in rows if p.entry_point and p.entry_point.value == name]
        assert found, f"{name} is not installed under the entry-point group ftk.plugins: pip install -e ."
        return found[0]

    def distribution(self) -> importlib.metadata.Distribution:
        entry_point = self.row().entry_point
        assert entry_point is not None and entry_point.dist is not None
        return entry_point.dist

    def test_its_entry_point_has_its_name(self):
        row = self.row()
        wanted = row.dist.removeprefix("ft-plugin-").removeprefix("ft-contrib-")
        assert row.name == wanted, f"the entry point of {row.dist} is named {row.name!r}, not {wanted!r}"

    def test_its_metadata_names_a_range_of_kernels(self):
        needs = {need.name: need.specifier for need in map(Requirement, self.distribution().requires or ())}
        assert "ftk-kernel" in needs, "its dependencies do not name ftk-kernel"
        kernel, here = needs["ftk-kernel"], Version(ftk.__version__)
        after = f"{here.major}.{here.minor + 1}.0"
        assert here in kernel and after not in kernel, f"ftk-kernel{kernel} must hold {here} and end before {after}"

    def test_its_readme_has_the_table_of_its_keys(self):
        table = key_table(self.row().sections)
        assert not self.row().sections or table in self.readme(), f"the README needs this table:\n{table}"

    def readme(self) -> str:
        """The file beside ``pyproject.toml``, or where there is none, the text that the wheel carries."""
        path = Path(str(self.plugin.__file__)).parents[2] / "README.md"
        if path.exists() and path.with_name("pyproject.toml").exists():
            return path.read_text(encoding="utf-8")
        return str(self.distribution().metadata.get_payload())  # type: ignore[attr-defined]
