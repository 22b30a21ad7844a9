"""The root ``pyproject.toml``: the suite depends on every first-party plugin, all of one version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ftk.problems import FtkError

from .packages import find, first_party

_TABLE = "[project.optional-dependencies]\n"


def text(top: Path) -> str:
    """The file with its dependencies and its extras (the sdk, and contrib) filled in."""
    suite = [*find(top, "kernel"), *first_party(top)]
    source = (top / "pyproject.toml").read_text(encoding="utf-8")
    source = _with_dependencies(source, [f"{p.name}=={p.version}" for p in suite])
    extras = {"contrib": [f"{p.name}=={p.version}" for p in find(top, "contrib/*")]}
    extras["sdk"] = [f"{p.name}[models]=={p.version}" for p in find(top, "sdk")]
    return _with_extras(source, extras)


def _with_dependencies(source: str, names: Sequence[str]) -> str:
    made, count = re.subn(
        r"(?ms)^dependencies = \[.*?\]\n", lambda _: f"dependencies = {_array(names)}\n", source, count=1
    )
    if not count:
        raise FtkError("pyproject.toml has no line 'dependencies = [...]'")
    return made


def _with_extras(source: str, extras: Mapping[str, Sequence[str]]) -> str:
    block = _TABLE + "".join(f"{name} = {_array(items)}\n" for name, items in extras.items() if items) + "\n"
    before, found, after = source.partition(_TABLE)
    if found:
        rest = after[after.index("\n[") + 1 :] if "\n[" in after else ""
        return before + block + rest
    return source.replace("[build-system]\n", block + "[build-system]\n", 1)


def _array(items: Sequence[str]) -> str:
    return "[\n" + "".join(f'    "{item}",\n' for item in items) + "]"
