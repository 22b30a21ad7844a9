"""Calls written as a list of calls of Python functions. Values may be JSON, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftk.contracts import ToolCall

from .json_calls import is_known
from .reading import Broken, Reading, Tools, closed, opened, skip
from .scanner import DEEPEST, Scanner


@dataclass(frozen=True, slots=True)
class PythonCalls:
    """``[name(key="value", other=2), another()]`` between an opener and a closer, or without either."""

    openers: tuple[str, ...] = ()
    closer: str = ""

    def read(self, text: str, at: int, *, final: bool, tools: Tools) -> Reading:
        scanner = Scanner(text, opened(text, at, self.openers))
        scanner.expect("[")
        calls = []
        for _ in scanner.items("]"):
            name = scanner.word(" \t\r\n()[]{},='\"")
            scanner.expect("(")
            arguments: dict[str, Any] = {}
            for _ in scanner.items(")"):
                key = scanner.word("\r\n()[]{},='\"")
                scanner.expect("=")
                arguments[key] = value(scanner)
            calls.append(ToolCall(name, arguments))
        if not calls:
            raise Broken("the list of calls is empty")
        if not self.openers and not all(is_known(call.name, tools) for call in calls):
            raise Broken("it calls what is no tool")
        end = closed(text, scanner.at, self.closer, final=final)
        if end is None:
            raise Broken(f"after the calls stands {text[skip(text, scanner.at)]!r}")
        return Reading(end, tuple(calls))


def value(scanner: Scanner, depth: int = 0) -> Any:
    """A literal of Python or JSON."""
    if depth > DEEPEST:
        raise Broken(f"lists go deeper than {DEEPEST} levels")
    first = scanner.peek()
    if first in "'\"":
        return scanner.quoted()
    if first in "[(":
        scanner.at += 1
        return [value(scanner, depth + 1) for _ in scanner.items("]" if first == "[" else ")")]
    if first == "{":
        scanner.at += 1
        made = {}
        for _ in scanner.items("}"):
            key = value(scanner, depth + 1)
            scanner.expect(":")
            made[key if isinstance(key, str) else repr(key)] = value(scanner, depth + 1)
        return made
    return scanner.scalar()
