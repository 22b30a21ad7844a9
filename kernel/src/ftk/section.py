"""Config sections: plain frozen dataclasses that plugins contribute.

A module with sections imports nothing but the standard library and this module, so that listing keys never imports
torch, transformers or pydantic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, dataclass_transform

_META = "__ftk_section__"


@dataclasses.dataclass(frozen=True, slots=True)
class SectionMeta:
    name: str
    enabled_by: str | None
    selects: Mapping[str, str]
    late: bool
    secrets: frozenset[str]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def section(
    name: str,
    *,
    enabled_by: str | None = None,
    selects: Mapping[str, str] | None = None,
    late: bool = False,
    secrets: Iterable[str] = (),
) -> Callable[[type], type]:
    """Make a class a config section: a frozen dataclass whose fields are keys of the YAML file.

    name        what its keys start with, or the name of its block (``galore: {rank: 8}``)
    enabled_by  the key that brings in the section's components when it is set to anything but its default
    selects     key -> component kind: the key's value names the component (``{"template": "template"}``)
    secrets     keys whose values are never written to a file or the terminal (tokens, passwords)
    late        its keys are read only after training (export, generation): exempt from the unread-key report before it
    """

    def decorate(cls: type) -> type:
        cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        keys = {f.name for f in dataclasses.fields(cls)}
        for key in filter(None, [enabled_by, *(selects or {}), *secrets]):
            if key not in keys:
                raise TypeError(f"section {name!r}: {key!r} is not one of its keys")
        setattr(cls, _META, SectionMeta(name, enabled_by, dict(selects or {}), late, frozenset(secrets)))
        return cls

    return decorate


def meta(cls: type) -> SectionMeta:
    try:
        return getattr(cls, _META)
    except AttributeError:
        raise TypeError(
            f"{cls.__module__}.{cls.__qualname__} is not a config section; decorate it with @section(...)"
        ) from None


def default_of(field: dataclasses.Field) -> Any:
    """The field's default, or ``dataclasses.MISSING``."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
