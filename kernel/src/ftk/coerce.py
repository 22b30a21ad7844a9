"""Typed values from what YAML gave, with pydantic's coercion and messages of our own."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .load import Raw


class Invalid(ValueError):
    """A value that its key's type does not take."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def coerce(section: type, key: str, raw: Raw) -> Any:
    """The value of ``key`` as its annotation wants it. Raises Invalid."""
    from pydantic import ValidationError  # not before a value is checked: 70 ms that listing commands must not pay

    adapter, choices, wants_list = _type(section, key)
    value = raw.value
    if isinstance(value, str) and wants_list and value not in choices:
        value = [part for part in (p.strip() for p in value.split(",")) if part]
    try:
        return adapter.validate_python(value)
    except ValidationError as e:
        if isinstance(value, bool) and raw.text is not None:
            try:  # the word no, yes, on or off where a word is wanted
                return adapter.validate_python(raw.text)
            except ValidationError:
                pass
        if choices and not any(a is not str and not _is_literal(a) for a in _members(section, key)):
            raise Invalid(
                f"{key}: {raw.value!r} is not one of {', '.join(map(repr, choices))}", _nearest(raw.value, choices)
            ) from None
        reason = e.errors()[-1]["msg"]
        raise Invalid(f"{key}: {reason[:1].lower()}{reason[1:]} (got {raw.value!r})") from None


@cache
def _type(section: type, key: str) -> tuple[Any, tuple[Any, ...], bool]:
    from pydantic import ConfigDict, TypeAdapter

    hint = _hints(section)[key]
    choices = tuple(c for part in _members(section, key) if _is_literal(part) for c in get_args(part))
    return TypeAdapter(hint, config=ConfigDict(coerce_numbers_to_str=True)), choices, _wants_list(hint)


@cache
def _hints(section: type) -> dict[str, Any]:
    return get_type_hints(section)


def _members(section: type, key: str) -> tuple[Any, ...]:
    """The parts of a union other than None, or the type itself."""
    hint = _hints(section)[key]
    parts = (hint,) if get_origin(hint) in (None, list, dict, tuple) or _is_literal(hint) else get_args(hint)
    return tuple(p for p in parts if p is not type(None))


def _is_literal(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _wants_list(hint: Any) -> bool:
    return get_origin(hint) is list or any(_wants_list(a) for a in get_args(hint) if a is not Literal)


def _nearest(value: Any, choices: tuple[Any, ...]) -> str:
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
    return f"did you mean {near[0]!r}?" if near else ""
