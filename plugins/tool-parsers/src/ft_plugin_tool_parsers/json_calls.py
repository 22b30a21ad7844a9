"""Calls written as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftk.contracts import ToolCall

from .reading import Broken, Incomplete, Reading, Tools, closed, opened, skip, word_until

# Models write line breaks into strings as they are.
_DECODER = json.JSONDecoder(strict=False)
_UNFINISHED = re.compile(r"\.|[eE][+-]?|\\?u[0-9a-fA-F]{0,4}")
_WORDS = ("true", "false", "null", "NaN", "-Infinity", "Infinity")
_KEYS = ("arguments", "parameters")


def json_value(text: str, at: int) -> tuple[Any, int]:
    """The object or list at a position, and where it ends. Raises Incomplete or Broken."""
    if at == len(text):
        raise Incomplete
    if text[at] not in "{[":
        raise Broken(f"{text[at]!r} begins neither an object nor a list")
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as e:
        rest = text[e.pos :].lstrip()
        if not rest or e.msg.startswith("Unterminated") or any(word.startswith(rest) for word in _WORDS):
            raise Incomplete from None
        if _UNFINISHED.fullmatch(rest):
            raise Incomplete from None
        raise Broken(f"{e.msg} at {rest[0]!r}") from None
    except (ValueError, RecursionError) as e:  # numbers of thousands of digits, nesting without end
        raise Broken(str(e)) from None


def arguments_of(value: Any) -> Mapping[str, Any]:
    """Arguments, which may be JSON once more in a string, or missing. Raises Broken."""
    if isinstance(value, str):
        try:
            value = json.loads(value, strict=False) if value.strip() else {}
        except (ValueError, RecursionError) as e:
            raise Broken(f"the arguments are not JSON: {e}") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Broken("the arguments are not an object")
    return value


def call_of(value: Any) -> ToolCall:
    """``{"name": ..., "arguments" or "parameters": {...}}`` as a call. Raises Broken."""
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = {**value, **value["function"]}
    name = (value.get("name") or value.get("tool_name")) if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        raise Broken("the call has no name")
    found = next((value[key] for key in _KEYS if key in value), None)
    identifier = value.get("id") or value.get("tool_call_id")
    return ToolCall(name, arguments_of(found), identifier if isinstance(identifier, str) else "")


def is_known(name: str, tools: Tools) -> bool:
    """Whether it is the name of a tool; any is where no tools are given."""
    return not tools or any(tool.get("function", tool).get("name") == name for tool in tools)


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """An opener, one object or list of objects or several, and a closer if there is one."""

    openers: tuple[str, ...]
    closer: str = ""

    def read(self, text: str, at: int, *, final: bool, tools: Tools) -> Reading:
        at = skip(text, opened(text, at, self.openers))
        calls: list[ToolCall] = []
        while True:
            value, at = json_value(text, at)
            calls += map(call_of, value if isinstance(value, list) else [value])
            end = closed(text, at, self.closer, final=final)
            if end is not None and not calls:
                raise Broken("the list of calls is empty")
            if end is not None:
                return Reading(end, tuple(calls))
            at = skip(text, at, " \t\r\n,;")
            if at == len(text):
                raise Incomplete
            if text[at] not in "{[":
                raise Broken(f"after the call stands {text[at]!r}")


@dataclass(frozen=True, slots=True)
class BareJson:
    """An object without an opener. An answer that is JSON of another kind, or calls no tool that there is, is text."""

    openers: tuple[str, ...] = ()

    def read(self, text: str, at: int, *, final: bool, tools: Tools) -> Reading:
        at = skip(text, at, " \t\r\n,;")
        value, end = json_value(text, at)
        if not isinstance(value, dict) or value.keys().isdisjoint(_KEYS):
            raise Broken("it is not a call")
        call = call_of(value)
        if not is_known(call.name, tools):
            raise Broken(f"there is no tool {call.name!r}")
        return Reading(end, (call,))


@dataclass(frozen=True, slots=True)
class NamedJson:
    """An opener, a name, a separator, the arguments as an object, and a closer if there is one.

    head  pattern of what stands between opener and separator, with a group ``name``, and ``id`` if there is one
    """

    openers: tuple[str, ...]
    separator: str
    closer: str = ""
    head: str = r"(?P<name>.+)"

    def read(self, text: str, at: int, *, final: bool, tools: Tools) -> Reading:
        word, at = word_until(text, opened(text, at, self.openers), (self.separator,))
        head = re.fullmatch(self.head, word)
        if head is None:
            raise Broken(f"{word!r} does not name a tool")
        name = head["name"]
        if not self.openers and not is_known(name, tools):
            raise Broken(f"there is no tool {name!r}")
        at = skip(text, at + len(self.separator))
        value: Any = {}
        if not (self.closer and text.startswith(self.closer, at)):
            value, at = json_value(text, at)
        end = closed(text, at, self.closer, final=final)
        if end is None:
            raise Broken(f"after the arguments stands {text[skip(text, at)]!r}")
        return Reading(end, (ToolCall(name, arguments_of(value), head.groupdict().get("id") or ""),))
