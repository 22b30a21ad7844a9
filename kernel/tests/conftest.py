"""Plugins made on the spot: a module object behind an entry point, as importlib.metadata would give it."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from ftk.catalog import Catalog, CatalogKey
from ftk.component import Component
from ftk.discover import Installed, discover
from ftk.markers import hookimpl


class EntryPoint:
    """What discovery reads of an entry point."""

    def __init__(self, name: str, dist: str, load: Callable[[], Any], requires: list[str] | None = None) -> None:
        self.name = name
        self.load = load
        self.dist = types.SimpleNamespace(
            name=dist, version="1.0", metadata={"Summary": f"{name} for tests"}, requires=requires or []
        )


def _module(dist: str, components=(), sections=(), aliases=(), **hooks: Callable) -> types.ModuleType:
    module = types.ModuleType(dist.replace("-", "_"))
    for cls in sections:
        setattr(module, cls.__name__, cls)
        cls.__module__ = module.__name__

    @hookimpl
    def ftk_components():
        return list(components)

    @hookimpl
    def ftk_sections():
        return [f"{module.__name__}:{cls.__name__}" for cls in sections]

    @hookimpl
    def ftk_aliases():
        return list(aliases)

    module.ftk_components, module.ftk_sections, module.ftk_aliases = ftk_components, ftk_sections, ftk_aliases
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch):
    """``plugin("ft-plugin-x", components=[...], sections=[...])`` makes an entry point."""

    def make(dist: str, *, requires=None, load=None, **declared) -> EntryPoint:
        if load is None:
            module = _module(dist, **declared)
            monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
            load = lambda: module
        name = dist.removeprefix("ft-plugin-").removeprefix("ft-contrib-")
        return EntryPoint(name, dist, load, requires)

    return make


@pytest.fixture
def component():
    def make(cid: str, target: str = "types:SimpleNamespace", **fields) -> Component:
        kind, _, name = cid.partition(":")
        return Component(kind=kind, name=name, target=target, summary=f"{name} for tests", **fields)

    return make


CATALOG = Catalog(
    keys={
        "lora_rank": CatalogKey("ft-plugin-lora", 8, None),
        "use_galore": CatalogKey("ft-plugin-galore", False, "use_galore"),
        "galore_rank": CatalogKey("ft-plugin-galore", 16, "use_galore"),
        "pref_beta": CatalogKey("ft-plugin-dpo", 0.1, None),
        "quant_bit": CatalogKey("ft-plugin-gptq", None, "quant_bit"),
    },
    components={"adapter:lora": "ft-plugin-lora", "optimizer:galore": "ft-plugin-galore", "stage:dpo": "ft-plugin-dpo"},
    commands={"chat": "ft-plugin-generate"},
    values={"quant_bit": {"Q*": "ft-plugin-gguf"}},
)


@pytest.fixture
def install():
    """Discover these entry points and nothing else, against a small catalogue."""

    def run(*entry_points: EntryPoint, catalog: Catalog = CATALOG) -> Installed:
        return discover(list(entry_points), catalog)

    return run
