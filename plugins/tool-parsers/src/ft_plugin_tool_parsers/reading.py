"""What a grammar of calls is, and the steps that all of them share.

A decision about the beginning of a text holds whatever follows: so a stream, wherever it is cut, gives what the whole
text gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ftk.contracts import ToolCall

Tools = Sequence[Mapping[str, Any]]


class Incomplete(Exception):
    """What is there may become a call; more of the text will tell."""


class Broken(Exception):
    """What is there is no call, whatever follows. The reason quotes no more than the character that told."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Calls, and where the text goes on after them."""

    end: int
    calls: tuple[ToolCall, ...]


class Grammar(Protocol):
    """How calls are written."""

    @property
    def openers(self) -> Sequence[str]:
        """What a call begins with. Empty: a call begins without any, where an answer may begin."""
        ...

    def read(self, text: str, at: int, *, final: bool, tools: Tools) -> Reading:
        """The calls at a position, where an opener stands if there are any. Raises Incomplete or Broken.

        final  no more text will come
        """
        ...


def skip(text: str, at: int, characters: str = " \t\r\n") -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def opened(text: str, at: int, openers: Sequence[str]) -> int:
    """The position after the opener."""
    return at + next((len(opener) for opener in openers if text.startswith(opener, at)), 0)


def stands(text: str, at: int, mark: str) -> bool:
    """Whether a mark stands at a position. Raises Incomplete if it may come to."""
    if text.startswith(mark, at):
        return True
    if mark.startswith(text[at:]):
        raise Incomplete
    return False


def closed(text: str, at: int, closer: str, *, final: bool) -> int | None:
    """The position after the closer that stands here after white space; ``None`` if something else does.

    What a call needs is there already: at the end of the text a closer may be missing.
    """
    if not closer:
        return at
    at = skip(text, at)
    try:
        return at + len(closer) if stands(text, at, closer) else None
    except Incomplete:
        if final:
            return len(text)
        raise


def unfinished(text: str, marks: Sequence[str]) -> int:
    """How many of the last characters may be the beginning of a mark."""
    longest = max(map(len, marks), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        tail = text[-length:]
        if any(len(mark) > length and mark.startswith(tail) for mark in marks):
            return length
    return 0


def word_until(text: str, at: int, marks: Sequence[str]) -> tuple[str, int]:
    """A name, without the white space around it, and where the first of the marks stands that end it."""
    found = [i for i in (text.find(mark, at) for mark in marks) if i >= 0]
    end = min(found, default=len(text) - unfinished(text[at:], marks))
    word = text[at:end].strip()
    if wrong := [c for c in word if c.isspace() or c in "<>{}\"'"]:
        raise Broken(f"there is no {wrong[0]!r} in names")
    if not found:
        raise Incomplete
    if not word:
        raise Broken("the call has no name")
    return word, end
