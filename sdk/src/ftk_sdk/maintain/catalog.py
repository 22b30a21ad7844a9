"""``catalog.json``: the names that first-party plugins own, and those that are kept for plugins to come."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ftk.problems import FtkError
from ftk.section import default_of, meta
from ftk.settings import RunConfig

from .packages import Package, find, first_party

PATH = Path("kernel/src/ftk/catalog.json")
RESERVED = Path(__file__).parents[1] / "reserved.json"
Names = dict[str, dict[str, Any]]


def build(top: Path) -> tuple[Names, list[str]]:
    """The catalogue, and notes on reserved names that a plugin now owns. Raises FtkError when two claim one name."""
    data = from_plugins(first_party(top))
    for package in find(top, "sdk"):
        data["commands"] |= dict.fromkeys(package.entry_points("ftk.commands"), package.name)
    return data, add_reserved(data, json.loads(RESERVED.read_text(encoding="utf-8")))


def from_plugins(packages: list[Package]) -> Names:
    """Names of plugins that exist. A key is ``[distribution, default, switch]``."""
    data: Names = {"keys": {}, "components": {}, "commands": {}, "values": {}}
    for package in packages:
        for cls in package.sections():
            for f in dataclasses.fields(cls):
                entry = [package.name, default_of(f), meta(cls).enabled_by]
                _claim(data["keys"], f.name, entry, package.name)
        for component in package.components():
            _claim(data["components"], component.id, package.name, package.name)
        for command in package.entry_points("ftk.commands"):
            _claim(data["commands"], command, package.name, package.name)
        # Where a value decides who is wanted, the owner of the key says so: [tool.ftk.values] in its pyproject.toml.
        data["values"] |= package.tool.get("values", {})
    if taken := sorted(set(data["keys"]) & {f.name for f in dataclasses.fields(RunConfig)}):
        raise FtkError(f"keys of the kernel are claimed: {', '.join(taken)}", "rename them")
    return data


def add_reserved(data: Names, reserved: dict[str, dict[str, Any]]) -> list[str]:
    """Add the names of plugins to come. A plugin that exists wins; each such name is noted."""
    notes = []
    for dist, entry in sorted(reserved.items()):
        for key, default in entry["keys"].items():
            if key in data["keys"]:
                notes.append(f"{dist} need not reserve the key {key!r}: {data['keys'][key][0]} owns it")
            else:
                data["keys"][key] = [dist, default, entry["switch"]]
        for component in entry["components"]:
            if component in data["components"]:
                notes.append(f"{dist} need not reserve {component}: {data['components'][component]} offers it")
            else:
                data["components"][component] = dist
        for key, patterns in entry.get("values", {}).items():
            data["values"].setdefault(key, patterns)
    return notes


def text(data: Names) -> str:
    """One entry per line, sorted, so that a change shows as the lines that it is."""
    parts = []
    for table in ("keys", "components", "commands", "values"):
        lines = [
            f"  {json.dumps(name)}: {json.dumps(value, sort_keys=True)}" for name, value in sorted(data[table].items())
        ]
        body = ",\n".join(lines)
        parts.append(f' "{table}": {{\n{body}\n }}' if lines else f' "{table}": {{}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _claim(table: dict[str, Any], name: str, value: Any, dist: str) -> None:
    if name in table:
        other = table[name][0] if isinstance(table[name], list) else table[name]
        raise FtkError(
            f"{name!r} is claimed by both {other} and {dist}", "a name has one owner: move it to one of them"
        )
    table[name] = value
