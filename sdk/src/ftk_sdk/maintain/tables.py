"""Tables in Markdown: of keys, for each plugin's README and the reference, and of plugins, for the root's README."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ftk.keys import key_docs
from ftk.problems import FtkError
from ftk.section import default_of

from .packages import Package, find, first_party

KEYS = ("key", "type", "default", "meaning")
START, END = "<!-- plugins -->", "<!-- /plugins -->"
_TABLE = re.compile(r"(?m)^\| key \| type \| default \| meaning \|\n(?:\|.*(?:\n|\Z))*")
_SENTENCE = re.compile(r"(.+?(?<!e\.g)(?<!i\.e)[.?!])(?=\s+[A-Z`'\"(]|$)")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; pipes in cells are escaped."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def key_table(sections: Iterable[type], *, whole: bool = False) -> str:
    """One row for each key, in the order of the classes. ``whole``: the whole docstring, not its first sentence."""
    rows = []
    for cls in sections:
        hints, docs = get_type_hints(cls), key_docs(cls)
        for f in dataclasses.fields(cls):
            doc = " ".join(docs.get(f.name, "").replace("``", "`").split())
            meaning = doc if whole else first_sentence(doc)
            rows.append((f"`{f.name}`", type_text(hints[f.name]), default_text(default_of(f)), meaning))
    return markdown(KEYS, rows)


def first_sentence(doc: str) -> str:
    """Up to the first full stop that ends a sentence."""
    found = _SENTENCE.match(doc)
    return found.group(1) if found else doc


def default_text(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`"


def type_text(hint: Any) -> str:
    """What may be written in the YAML file, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(default_text(a) for a in args)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_text(a) for a in args))
    if origin in (list, tuple, set):
        return f"list of {type_text(args[0])}"
    if origin is dict or hint is dict:
        return "mapping"
    if hint is NoneType:
        return "null"
    return "any" if hint is Any else hint.__name__


def readme_of(package: Package) -> str:
    """The plugin's README with its table of keys made anew; appended where there is none and the plugin has keys."""
    source = (package.folder / "README.md").read_text(encoding="utf-8")
    sections = package.sections()
    if not sections:
        return source
    table = key_table(sections)
    if _TABLE.search(source):
        return _TABLE.sub(lambda _: table, source, count=1)
    return f"{source.rstrip()}\n\n{table}"


def table_of_plugins(top: Path) -> str:
    """The root's README with the rows between its markers made anew."""
    source = (top / "README.md").read_text(encoding="utf-8")
    if source.count(START) != 1 or source.count(END) != 1:
        raise FtkError(f"README.md needs the markers {START} and {END}, each once, each on a line of its own")
    rows = []
    for package in first_party(top):
        keys = sum(len(dataclasses.fields(cls)) for cls in package.sections())
        link = f"[{package.name}]({package.folder.relative_to(top).as_posix()})"
        rows.append((link, package.project["description"], str(keys)))
    before, rest = source.split(START)
    table = markdown(("plugin", "what", "keys"), rows)
    return f"{before}{START}\n{table}{END}{rest.split(END)[1]}"


def readmes(top: Path) -> dict[Path, str]:
    """Every README with its generated part fresh. Those that do not exist are not made: they hold prose."""
    out = {}
    if (top / "README.md").exists():
        out[top / "README.md"] = table_of_plugins(top)
    for package in find(top, "plugins/*", "contrib/*"):
        if (package.folder / "README.md").exists():
            out[package.folder / "README.md"] = readme_of(package)
    return out
