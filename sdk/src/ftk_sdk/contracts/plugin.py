"""What holds for every plugin."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys

import pluggy
import pytest

from ftk.component import resolve
from ftk.discover import Installed, discover
from ftk.guard import HEAVY
from ftk.keys import key_docs
from ftk.kinds import KINDS, Action
from ftk.problems import ConfigError
from ftk.run import SPECS
from ftk.section import default_of, meta

from .. import testing
from .distribution import DistributionContract

_LIST = """
import sys, {module} as plugin
from ftk.component import resolve
for hook in ("ftk_components", "ftk_aliases"):
    getattr(plugin, hook, list)()
for target in getattr(plugin, "ftk_sections", list)():
    resolve(target)
print(*sorted({heavy} & set(sys.modules)))
"""


class PluginContract(DistributionContract):
    """Set ``plugin`` to the entry-point module."""

    def keys(self) -> list[tuple[type, dataclasses.Field]]:
        return [(cls, f) for cls in self.row().sections for f in dataclasses.fields(cls)]

    def test_it_is_usable(self):
        assert not self.row().error, f"discovery quarantines it: {self.row().error}"

    def test_listing_it_imports_nothing_heavy(self):
        code = _LIST.format(module=self.plugin.__name__, heavy=set(HEAVY))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not done.stdout.split(), f"listing it imports {done.stdout.strip()}; move that to a component's target"

    def test_every_target_can_be_loaded_and_implements_known_hooks(self):
        manager = pluggy.PluginManager("ftk")
        specs = [resolve(s) for p in self.installed().usable for s in getattr(p.module, "ftk_hookspecs", list)()]
        for spec in (*SPECS, *specs):
            manager.add_hookspecs(spec)
        for c in self.row().components:
            if not all(importlib.util.find_spec(module) for module in c.needs):
                continue
            try:
                loaded = c.load()
                manager.register(loaded, name=c.id)
                manager.check_pending()
            except Exception as e:
                pytest.fail(f"{c.id}: {c.target}: {type(e).__name__}: {e}")
            assert manager.get_hookcallers(loaded), f"{c.id}: {c.target} implements no hook"

    def test_every_component_is_of_a_kind_and_has_a_summary(self):
        for c in self.row().components:
            assert c.summary, f"{c.id} has no summary"
            sections = [cls for p in self.installed().usable for cls in p.sections]
            selected = any(c.kind in meta(cls).selects.values() for cls in sections)
            required = any(f"{c.kind}:*" in d.requires for p in self.installed().usable for d in p.components)
            assert c.kind in KINDS or selected or required, (
                f"{c.id}: no kind {c.kind!r}; the kinds are {', '.join(KINDS)}"
            )

    def test_every_key_has_a_default_and_a_docstring(self):
        for cls, f in self.keys():
            assert default_of(f) is not dataclasses.MISSING, f"{f.name} has no default"
            assert key_docs(cls).get(f.name), f"{f.name} has no docstring below it"

    def test_its_keys_are_catalogued_or_start_with_its_name(self):
        prefix = self.row().name.replace("-", "_")
        for _, f in self.keys():
            known = f.name in self.installed().index.catalog.keys
            assert known or f.name.startswith(prefix), f"{f.name!r} must start with {prefix!r}"

    def test_installing_it_changes_no_run_that_does_not_ask_for_it(self):
        dist, everything = self.row().dist, self.installed()
        others = [p.entry_point for p in everything.plugins if p.dist != dist and p.entry_point]
        catalog = everything.index.catalog
        without = discover(others, catalog)
        of_the_suite = dist in catalog.components.values() or dist in {key.dist for key in catalog.keys.values()}
        for action in ("train", "export", "chat"):
            before, after = planned(without, action), planned(everything, action)
            # Some plugins of the suite are in every run: the default loader, the default stage.
            if not (of_the_suite and (before is None or dist in (after or {}).values())):
                assert after == before, f"{dist} changes what an empty config plans to {action}"


def planned(installed: Installed, action: Action) -> dict[str, str] | None:
    """Component -> distribution of a plan without keys; ``None`` when what is installed makes none."""
    try:
        return {c.id: c.plugin for c in testing.make_plan(action=action, plugins=installed).components}
    except ConfigError:
        return None
