"""Old spellings of keys and values, as data, and their translation."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .component import resolve
from .problems import Problem

if TYPE_CHECKING:
    from .load import Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A key, or values of a key, that people write and that something else has replaced."""

    old: str
    """The key as it is written."""
    new: str | None
    """The key that replaced it; ``None``: the key has no effect here, and the note says why."""
    note: str
    """Completes the sentence "'old' is ...": ``"the old name of 'cutoff_len'"``."""
    values: Mapping[Any, Any] = field(default_factory=dict)
    """Written value -> new value. With ``old == new`` only these values are translated, and others pass."""
    convert: str = ""
    """``"package.module:function"`` from the written to the new value; it may raise ValueError."""
    silent: bool = False
    """Translate without a warning: the old spelling is as good as the new one."""


def translated(
    raw: Mapping[str, Raw], owned: Container[str], aliases: Iterable[Alias], problems: list[Problem]
) -> dict[str, Raw]:
    """The keys under their present names. A key that somebody owns is not an old key, but its values may be old."""
    by_old: dict[str, list[Alias]] = {}
    for one in aliases:
        by_old.setdefault(one.old, []).append(one)
    out: dict[str, Raw] = {}
    for name, item in raw.items():
        found = [a for a in by_old.get(name, ()) if _applies(a, item, owned)]
        if not found:
            out[name] = item
            continue
        alias = found[0]
        try:
            value = _convert(alias, item)
        except ValueError as e:
            problems.append(Problem("error", f"{name}: {e}", "", name, item.origin))
            continue
        if not alias.silent:
            what = name if alias.old != alias.new else f"{name}: {item.value}"
            problems.append(Problem("warning", f"{what!r} is {alias.note}", "", name, item.origin))
        if alias.new is None:
            continue
        if alias.new != name and alias.new in raw:
            message = f"{name!r} and {alias.new!r} are the same key, and both are set"
            problems.append(Problem("error", message, "keep one of the two", name, item.origin))
        out[alias.new] = type(item)(value, item.origin)
    return out


def _applies(alias: Alias, item: Raw, owned: Container[str]) -> bool:
    return _spelled(alias, item) is not None if alias.old == alias.new else alias.old not in owned


def _convert(alias: Alias, item: Raw) -> Any:
    spelled = _spelled(alias, item)
    if spelled is not None:
        return alias.values[spelled]
    return resolve(alias.convert)(item.value) if alias.convert else item.value


def _spelled(alias: Alias, item: Raw) -> Any:
    """The value, or the text it was read from, if the alias translates it."""
    written = [item.value, item.text] if not isinstance(item.value, (list, dict, set)) else []
    return next((v for v in written if v is not None and v in alias.values), None)
