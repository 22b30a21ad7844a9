"""The calls of Gemma 4: ``<|tool_call>call:NAME{key:<|"|>text<|"|>,other:2}<tool_call|>``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftk.contracts import ToolCall

from .reading import Broken, Incomplete, Reading, Tools, closed, opened, skip
from .scanner import DEEPEST, Scanner

QUOTE = '<|"|>'


@dataclass(frozen=True, slots=True)
class GemmaCalls:
    openers: tuple[str, ...] = ("<|tool_call>",)
    closer: str = "<tool_call|>"

    def read(self, text: str, at: int, *, final: bool, tools: Tools) -> Reading:
        scanner = Scanner(text, opened(text, at, self.openers))
        scanner.expect("call:")
        name = scanner.word(" \t\r\n{}<>,\"'")
        arguments = mapping(scanner, 0)
        end = closed(text, scanner.at, self.closer, final=final)
        if end is None:
            raise Broken(f"after the call stands {text[skip(text, scanner.at)]!r}")
        return Reading(end, (ToolCall(name, arguments),))


def mapping(scanner: Scanner, depth: int) -> dict[str, Any]:
    scanner.expect("{")
    made = {}
    for _ in scanner.items("}"):
        key = string(scanner) if scanner.takes(QUOTE) else scanner.word("\r\n{}[],:<>")
        scanner.expect(":")
        made[key] = value(scanner, depth + 1)
    return made


def value(scanner: Scanner, depth: int) -> Any:
    if depth > DEEPEST:
        raise Broken(f"objects go deeper than {DEEPEST} levels")
    if scanner.takes(QUOTE):
        return string(scanner)
    if scanner.peek() == "{":
        return mapping(scanner, depth)
    if scanner.takes("["):
        return [value(scanner, depth + 1) for _ in scanner.items("]")]
    return scanner.scalar()


def string(scanner: Scanner) -> str:
    """What stands before the next quotation mark. There are no escapes."""
    end = scanner.text.find(QUOTE, scanner.at)
    if end < 0:
        raise Incomplete
    said, scanner.at = scanner.text[scanner.at : end], end + len(QUOTE)
    return said
