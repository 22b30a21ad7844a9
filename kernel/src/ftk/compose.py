"""From raw keys to one typed object per section: route, translate, coerce, report everything at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from .aliases import Alias, translated
from .coerce import Invalid, coerce
from .keys import KeyIndex
from .kinds import SELECTORS
from .load import Raw, expand_blocks
from .problems import ConfigError, Origin, Problem
from .section import default_of, meta

S = TypeVar("S")


class Config:
    """Typed sections, looked up by their class: ``config[LoraConfig].lora_rank``."""

    def __init__(self, sections: Mapping[type, Any], raw: Mapping[str, Raw]) -> None:
        self._reads: set[str] = set()
        self._sections = {cls: _recorded(obj, self._reads) for cls, obj in sections.items()}
        self._values = {f.name: getattr(obj, f.name) for obj in sections.values() for f in dataclasses.fields(obj)}
        self._raw = {key: item for key, item in raw.items() if key in self._values}
        self.secrets = frozenset(key for cls in sections for key in meta(cls).secrets)

    def __getitem__(self, section: type[S]) -> S:
        try:
            return self._sections[section]
        except KeyError:
            raise KeyError(f"section {section.__name__} belongs to no installed plugin") from None

    def __contains__(self, section: type) -> bool:
        return section in self._sections

    def was_set(self, key: str) -> bool:
        """Whether the user wrote the key."""
        return key in self._raw

    def given(self, section: type) -> dict[str, Any]:
        """The keys of a section that the user set, with their typed values."""
        names = [f.name for f in dataclasses.fields(section) if f.name in self._raw]
        return {name: getattr(self[section], name) for name in names}

    def value(self, key: str) -> Any:
        """A key's value by name, for tools that handle any key. Plugins read their section instead."""
        return self._values[key]

    def origin(self, key: str) -> Origin | None:
        return self._raw[key].origin if key in self._raw else None

    def dump(self) -> dict[str, Any]:
        """The keys that the user set, flat, but no secrets: composing it again gives an equal config."""
        return {key: self._values[key] for key in sorted(self._raw.keys() - self.secrets)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._values == other._values and self._raw.keys() == other._raw.keys()

    __hash__ = None  # type: ignore[assignment]

    def read(self, key: str) -> Any:
        """``value``, noted as read: for the plan, which acts on selectors and switches."""
        self._reads.add(key)
        return self._values[key]

    def unread(self, keys: Iterable[str]) -> list[str]:
        """Those of ``keys`` that the user set and that no code has read."""
        return sorted(key for key in keys if key in self._raw and key not in self._reads)


def _recorded(obj: Any, reads: set[str]) -> Any:
    """The same section, but reading one of its keys is noted in ``reads``."""
    cls = type(obj)
    keys = frozenset(f.name for f in dataclasses.fields(obj))

    def read(self: Any, name: str) -> Any:
        if name in keys:
            reads.add(name)
        return object.__getattribute__(self, name)

    recorded = type(cls.__name__, (cls,), {"__getattribute__": read, "__module__": cls.__module__})
    out: Any = object.__new__(recorded)
    out.__dict__.update(vars(obj))
    return out


def compose(
    raw: Mapping[str, Raw], index: KeyIndex, aliases: Iterable[Alias] = (), *, keep_going: bool = False
) -> tuple[Config, list[Problem]]:
    """The config, and warnings. Raises ConfigError with all errors.

    keep_going: return errors among the problems, beside a config of what was right, so that a plan can add its own.
    """
    names: dict[str, set[str]] = {}
    for cls in index.sections():
        names.setdefault(meta(cls).name.replace("-", "_"), set()).update(f.name for f in dataclasses.fields(cls))
    for key, entry in index.catalog.keys.items():
        names.setdefault(entry.dist.removeprefix("ft-plugin-").replace("-", "_"), set()).add(key)
    raw = expand_blocks(raw, names, {*index, *index.catalog.keys})
    problems: list[Problem] = []
    raw = translated(raw, index, aliases, problems)
    routed: dict[type, dict[str, Any]] = {cls: {} for cls in index.sections()}
    for name, item in raw.items():
        if name not in index:
            problems += _unowned(name, item, raw, index)
            continue
        cls = index[name].section
        try:
            routed[cls][name] = coerce(cls, name, item)
        except Invalid as e:
            problems.append(Problem("error", str(e), e.hint, name, item.origin))
    if not keep_going and any(p.level == "error" for p in problems):
        raise ConfigError(problems)
    return Config({cls: cls(**values) for cls, values in routed.items()}, raw), problems


def _unowned(name: str, item: Raw, raw: Mapping[str, Raw], index: KeyIndex) -> list[Problem]:
    """What to say about a key that no installed plugin owns: nothing, a warning, or an error with a hint."""
    entry = index.catalog.keys.get(name)
    if entry is None:
        return [Problem("error", f"unknown key {name!r}", index.did_you_mean(name), name, item.origin)]
    if item.value == entry.default or not (item.value or entry.default):
        return []  # harmless: its default, or another way to write nothing
    dist = index.catalog.dist_for(name, item.value)
    if entry.switch and entry.switch != name and not _is_on(entry.switch, raw, index):
        message = f"{name!r} has no effect: it belongs to {dist}, and {entry.switch!r} is not set"
        return [Problem("warning", message, "", name, item.origin)]
    if dist == entry.dist and not entry.switch and index.catalog.offers(dist, set(SELECTORS.values())):
        if not _is_selected(dist, raw, index):
            return [Problem("warning", f"{name!r} has no effect: this run does not use {dist}", "", name, item.origin)]
        if dist not in index.broken:
            return []  # the selector is reported once, with the install hint
    if reason := index.broken.get(dist):
        message = f"{name!r} is provided by {dist}, which is installed but cannot be used"
        return [Problem("error", message, f"{reason} (details: ftk plugins check {dist})", name, item.origin)]
    return [
        Problem(
            "error", f"{name!r} is provided by {dist}, which is not installed", f"pip install {dist}", name, item.origin
        )
    ]


def _is_on(switch: str, raw: Mapping[str, Raw], index: KeyIndex) -> bool:
    entry = index.catalog.keys.get(switch)
    return switch in raw and (entry is None or raw[switch].value != entry.default)


def _is_selected(dist: str, raw: Mapping[str, Raw], index: KeyIndex) -> bool:
    chosen = {f"{kind}:{raw[key].value}" for key, kind in SELECTORS.items() if key in raw}
    return any(index.catalog.components.get(cid) == dist for cid in chosen)


def switched_on(cls: type, config: Config) -> bool:
    """Whether the section's switch is set to anything but its default."""
    switch = meta(cls).enabled_by
    if switch is None:
        return False
    (field,) = (f for f in dataclasses.fields(cls) if f.name == switch)
    return config.read(switch) != default_of(field)
