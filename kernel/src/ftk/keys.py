"""Who owns which config key, and what to say about keys nobody owns."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from .catalog import Catalog
from .section import default_of, meta


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the YAML file."""

    name: str
    section: type
    dist: str
    default: Any

    @property
    def doc(self) -> str:
        return key_docs(self.section).get(self.name, "")

    @property
    def type(self) -> str:
        """The annotation as written."""
        written = self.section.__dataclass_fields__[self.name].type  # type: ignore[attr-defined]
        return written if isinstance(written, str) else inspect.formatannotation(written)


class KeyIndex:
    """Flat key -> owner. A key has exactly one owner."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.broken: dict[str, str] = {}
        """Quarantined distribution -> why."""
        self._keys: dict[str, Key] = {}

    def add(self, dist: str, sections: Iterable[type]) -> None:
        for cls in sections:
            for f in dataclasses.fields(cls):
                self._keys[f.name] = Key(f.name, cls, dist, default_of(f))

    def __getitem__(self, name: str) -> Key:
        return self._keys[name]

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._keys))

    def sections(self) -> dict[type, str]:
        """Every installed section and its distribution."""
        return {k.section: k.dist for k in self._keys.values()}

    def by_section_name(self, name: str) -> dict[str, Key]:
        return {k.name: k for k in self._keys.values() if meta(k.section).name == name}

    def did_you_mean(self, name: str) -> str:
        near = difflib.get_close_matches(name, [*self._keys, *self.catalog.keys], n=1, cutoff=0.75)
        if not near:
            return "run 'ftk keys' to list every key"
        entry = self.catalog.keys.get(near[0])
        absent = "" if near[0] in self._keys or entry is None else f" (from {entry.dist}, not installed)"
        return f"did you mean {near[0]!r}?{absent}"


@cache
def key_docs(cls: type) -> dict[str, str]:
    """Field -> the string literal below it in the class body."""
    try:
        tree = ast.parse(inspect.getsource(inspect.getmodule(cls)))  # type: ignore[arg-type]
    except (OSError, TypeError):
        return {}
    body = next((n.body for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls.__name__), [])
    return {
        a.target.id: inspect.cleandoc(b.value.value)
        for a, b in pairwise(body)
        if isinstance(a, ast.AnnAssign)
        and isinstance(a.target, ast.Name)
        and isinstance(b, ast.Expr)
        and isinstance(b.value, ast.Constant)
        and isinstance(b.value.value, str)
    }
