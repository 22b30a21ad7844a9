"""Calls with every argument between marks of its own, as bare text: its type is in the tool's schema alone."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftk.contracts import ToolCall

from .reading import Broken, Incomplete, Reading, Tools, opened, skip, stands, word_until

_TYPES: dict[str, type | tuple[type, ...]] = {
    "integer": (int, float),
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


@dataclass(frozen=True, slots=True)
class XmlCalls:
    """``<f=NAME>`` and then ``<p=KEY>VALUE</p>`` for each argument, and ``</f>``, whatever the marks are.

    name_end   after the name; empty: a parameter or the closer follows it
    parameter  before a key
    key_end    after a key
    value      before a value, if there is one beside the end of the key
    value_end  after a value: the first that a parameter or the closer follows
    padding    what stands around a value beside it
    """

    openers: tuple[str, ...]
    closer: str
    parameter: str
    key_end: str
    value_end: str
    name_end: str = ""
    value: str = ""
    padding: str = ""

    def read(self, text: str, at: int, *, final: bool, tools: Tools) -> Reading:
        at = opened(text, at, self.openers)
        ends = (self.name_end,) if self.name_end else (self.parameter, self.closer)
        name, at = word_until(text, at, ends)
        at += len(self.name_end)
        schemas = parameters_of(name, tools)
        arguments: dict[str, Any] = {}
        while not self._at(text, at := skip(text, at), self.closer):
            if not self._at(text, at, self.parameter):
                raise Broken(f"{text[at]!r} begins no parameter")
            key, at = self._key(text, at + len(self.parameter))
            if self.value:
                at = skip(text, at)
                if not stands(text, at, self.value):
                    raise Broken(f"the parameter {key!r} has no value")
                at += len(self.value)
            end, after = self._end_of_value(text, at)
            arguments[key] = typed(self._unpadded(text[at:end]), schemas.get(key))
            at = after
        return Reading(at + len(self.closer), (ToolCall(name, arguments),))

    def _key(self, text: str, at: int) -> tuple[str, int]:
        end = text.find(self.key_end, at)
        if "\n" in text[at : len(text) if end < 0 else end]:
            raise Broken("the name of a parameter goes over lines")
        if end < 0:
            raise Incomplete
        return text[at:end], end + len(self.key_end)

    def _at(self, text: str, at: int, mark: str) -> bool:
        """Whether the mark stands here. Raises Incomplete if it or the other of the two may come to."""
        if text.startswith((self.parameter, self.closer), at):
            return text.startswith(mark, at)
        stands(text, at, self.closer)
        return stands(text, at, self.parameter)

    def _end_of_value(self, text: str, at: int) -> tuple[int, int]:
        """Where a value ends, and where its end mark does. A value may hold that mark."""
        while (end := text.find(self.value_end, at)) >= 0:
            after = end + len(self.value_end)
            follows = skip(text, after)
            if self._at(text, follows, self.closer) or self._at(text, follows, self.parameter):
                return end, after
            at = after
        raise Incomplete

    def _unpadded(self, value: str) -> str:
        return value.removeprefix(self.padding).removesuffix(self.padding)


def parameters_of(name: str, tools: Tools) -> Mapping[str, Any]:
    """Schemas of a tool's parameters by name; nothing of a tool that there is none of."""
    for tool in tools:
        function = tool.get("function", tool)
        if function.get("name") == name:
            properties = (function.get("parameters") or {}).get("properties")
            return properties if isinstance(properties, Mapping) else {}
    return {}


def typed(text: str, schema: Any) -> Any:
    """What a text means where a schema stands for it; without one, a number, a list, ... if it reads as one.

    A text that does not read as any of its types stays text: to say so is for who calls the tool.
    """
    types = types_of(schema)
    if types == {"string"}:
        return text
    try:
        value = literal(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return text
    if not types:
        return value
    wanted = [_TYPES[t] for t in types if t in _TYPES]
    fits = any(isinstance(value, t) and (t is bool or not isinstance(value, bool)) for t in wanted)
    return value if fits or "string" not in types else text


def types_of(schema: Any) -> set[str]:
    """Names of the types that a JSON schema allows; empty where it does not say."""
    if not isinstance(schema, Mapping):
        return set()
    declared = schema.get("type")
    if isinstance(declared, str):
        return {declared} | ({"null"} if schema.get("nullable") else set())
    if isinstance(declared, (list, tuple)):
        return {t for t in declared if isinstance(t, str)}
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), (list, tuple)):
            parts = [types_of(part) for part in schema[key]]
            return set().union(*parts) if all(parts) else set()
    values = schema.get("enum")
    return {"string"} if values and all(isinstance(value, str) for value in values) else set()


def literal(text: str) -> Any:
    """JSON, or what Python prints for lists, objects, truth values and nothing. Raises ValueError, SyntaxError, ..."""
    try:
        return json.loads(text, strict=False, parse_constant=_refuse)
    except ValueError:
        text = text.strip()
        if not text.startswith(("[", "{")) and text not in ("True", "False", "None"):
            raise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes: the text is a model's, not a program
        value = ast.literal_eval(text)
    return json.loads(json.dumps(value))  # tuples become lists; bytes, sets and complex numbers are refused


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
