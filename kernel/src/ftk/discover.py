"""Find installed plugins; quarantine the ones that cannot be used."""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import ModuleType

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from . import __version__
from .aliases import Alias
from .catalog import Catalog, load_catalog
from .component import Component, resolve
from .guard import Misbehaved, guarded
from .keys import KeyIndex
from .metadata import Plugin, canonical, rows
from .section import meta
from .settings import RunConfig
from .specs.declare import Declare, PlanPhase

KERNEL = "ftk-kernel"


@dataclass(slots=True)
class Installed:
    """Everything that is installed, usable or not."""

    plugins: list[Plugin]
    index: KeyIndex

    @property
    def usable(self) -> list[Plugin]:
        return [p for p in self.plugins if p.module is not None and not p.error]

    def offered(self) -> dict[str, Component]:
        return {c.id: c for p in self.usable for c in p.components}

    def aliases(self) -> list[Alias]:
        return [a for p in self.usable for a in p.aliases]


def discover(
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None, catalog: Catalog | None = None
) -> Installed:
    """Import every enabled plugin's declaration, and check it."""
    manager = pluggy.PluginManager("ftk")
    manager.add_hookspecs(Declare)
    manager.add_hookspecs(PlanPhase)
    catalog = catalog or load_catalog()
    plugins = rows(entry_points)
    for plugin in plugins:
        if plugin.disabled:
            plugin.error = "disabled by FTK_PLUGINS or FTK_DISABLE"
            continue
        try:
            _declare(plugin, manager)
        except Misbehaved as e:
            plugin.error = str(e)
    _settle_claims(plugins, catalog)
    index = KeyIndex(catalog)
    index.add(KERNEL, [RunConfig])
    for plugin in plugins:
        if plugin.error:
            index.broken[plugin.dist] = plugin.error
        else:
            index.add(plugin.dist, plugin.sections)
    return Installed(plugins, index)


def _declare(plugin: Plugin, manager: pluggy.PluginManager) -> None:
    """Fill the plugin's row from its module. Raises Misbehaved."""
    _check_requirements(plugin)
    assert plugin.entry_point is not None
    with guarded():
        module = plugin.entry_point.load()
        manager.register(module, name=f"{plugin.dist}:{plugin.name}")
        try:
            manager.check_pending()
            plugin.sections = [resolve(s) for s in _call(module, "ftk_sections")]
            for cls in plugin.sections:
                meta(cls)
            own = {"plugin": plugin.dist, "version": plugin.version}
            plugin.components = [replace(c, **own) for c in _call(module, "ftk_components")]
            plugin.aliases = list(_call(module, "ftk_aliases"))
        except BaseException:
            manager.unregister(module)
            raise
    plugin.module = module


def _call(module: ModuleType, hook: str) -> list:
    implementation = getattr(module, hook, None)
    if implementation is None:
        return []
    if not hasattr(implementation, "ftk_impl"):  # what pluggy's marker leaves on a function
        raise Misbehaved(f"{hook} lacks the @hookimpl decorator")
    return list(implementation())


def _check_requirements(plugin: Plugin) -> None:
    """Compare the ``ftk-kernel`` range in the metadata with this kernel, before the plugin is imported."""
    assert plugin.entry_point is not None and plugin.entry_point.dist is not None
    names = []
    for text in plugin.entry_point.dist.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        names.append(canonical(requirement.name))
        if names[-1] == KERNEL and not requirement.specifier.contains(Version(__version__), prereleases=True):
            want = f"{plugin.dist} {plugin.version} needs {KERNEL}{requirement.specifier}, this is {__version__}"
            raise Misbehaved(f"{want}: pip install -U {plugin.dist} {KERNEL}")
    plugin.requires = tuple(names)


def _settle_claims(plugins: list[Plugin], catalog: Catalog) -> None:
    """One owner per key, component and distribution. A catalogued name belongs to its distribution whatever the order;
    of two others that claim a name neither gets it."""
    claims: dict[str, list[Plugin]] = defaultdict(list)
    for plugin in plugins:
        if plugin.error:
            continue
        for cls in plugin.sections:
            for key in cls.__dataclass_fields__:  # type: ignore[attr-defined]
                claims[f"key {key!r}"].append(plugin)
        for c in plugin.components:
            claims[c.id].append(plugin)
    owners = {f"key {k!r}": e.dist for k, e in catalog.keys.items()} | dict(catalog.components)
    owners |= {f"key {k!r}": KERNEL for k in RunConfig.__dataclass_fields__}  # type: ignore[attr-defined]
    for name, claimants in sorted(claims.items()):
        owner = owners.get(name)
        for plugin in claimants:
            rivals = sorted({p.dist for p in claimants if p is not plugin})
            if owner is not None and plugin.dist != owner:
                plugin.error = plugin.error or f"{name} belongs to {owner}"
            elif owner is None and rivals:
                plugin.error = plugin.error or f"{name} is also claimed by {', '.join(rivals)}: uninstall one of them"
            elif owner is None and claimants.count(plugin) > 1:
                plugin.error = plugin.error or f"{name} is declared twice"
