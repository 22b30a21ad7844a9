"""Values in notations that are neither JSON nor marked text, read from left to right."""

from __future__ import annotations

import re
from typing import Any

from .reading import Broken, Incomplete, skip, stands

DEEPEST = 64
"""Levels of lists and objects; more is refused rather than left to the interpreter's stack."""

_NUMBER = re.compile(r"-?(0|[1-9]\d{0,999})(\.\d{1,999})?([eE][+-]?\d{1,9})?")
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_QUOTED = {quote: re.compile(rf"{quote}([^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+){quote}", re.DOTALL) for quote in "'\""}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0", "\n": ""}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|[^xuU]|.)", re.DOTALL)


class Scanner:
    """A position in a text. Methods move it, and raise Incomplete or Broken."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at

    def peek(self) -> str:
        """The next character that is no white space."""
        self.at = skip(self.text, self.at)
        if self.at == len(self.text):
            raise Incomplete
        return self.text[self.at]

    def takes(self, mark: str) -> bool:
        """Whether the mark comes next; it is taken then."""
        self.peek()
        if stands(self.text, self.at, mark):
            self.at += len(mark)
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.takes(mark):
            raise Broken(f"{mark!r} is expected at {self.text[self.at]!r}")

    def word(self, ends: str) -> str:
        """Characters up to one of ``ends``, which stays; at least one."""
        self.peek()
        end = self.at
        while end < len(self.text) and self.text[end] not in ends:
            end += 1
        if end == len(self.text):
            raise Incomplete
        word, self.at = self.text[self.at : end].strip(), end
        if not word:
            raise Broken(f"a name is expected at {self.text[end]!r}")
        return word

    def items(self, closer: str) -> Any:
        """Goes around once for each item up to the closer, which is taken; commas stand between."""
        first = True
        while not self.takes(closer):
            if not first:
                self.expect(",")
            first = False
            yield

    def scalar(self) -> Any:
        """A number, truth value or null."""
        word = self.word(" \t\r\n,()[]{}:='\"<|")
        if word in _WORDS:
            return _WORDS[word]
        if not (number := _NUMBER.fullmatch(word)):
            raise Broken(f"{word[:40]!r} is not a value")
        return float(word) if number[2] or number[3] else int(word)

    def quoted(self) -> str:
        """A string between quotation marks of either kind, with the escapes of Python and JSON."""
        match = _QUOTED[self.peek()].match(self.text, self.at)
        if match is None:
            raise Incomplete
        inside, self.at = match[1], match.end()
        if "\\" not in inside:
            return inside
        said = _ESCAPE.sub(_unescaped, inside)
        # JSON writes a character beyond the first 65,536 as two escapes.
        return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape, escape if escape in "\\'\"/" else match[0])
