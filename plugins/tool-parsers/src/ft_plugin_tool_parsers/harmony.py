"""The harmony format of gpt-oss: an answer is a chain of messages, each with a header that says what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftk.contracts import AnswerReader, Delta, ToolCall, ToolParser

from .answer import Gathered
from .json_calls import arguments_of, json_value
from .reading import Broken, Incomplete, skip, unfinished

BODY = "<|message|>"
START = "<|start|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>", START)
HEADS = ("<|channel|>", "<|constrain|>", "to=", BODY, *ENDS)
_MARK = re.compile("|".join(map(re.escape, (BODY, *ENDS))))
_END = re.compile("|".join(map(re.escape, ENDS)))
_TO = re.compile(r"\bto=([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*([a-z]+)")


class Harmony(ToolParser):
    def stream(self, *, tools: Sequence[Mapping[str, Any]] = (), prompt: str = "") -> AnswerReader:
        return HarmonyReader()


class HarmonyReader:
    """Channel ``analysis`` is the thought, the others are content; what is addressed to a function is a call."""

    def __init__(self) -> None:
        self._out = Gathered()
        self._rest = ""
        self._kind = ""  # of the body that is being read: "content", "reasoning", "call"; "" in a header
        self._head = ""  # the header of that body
        self._role = False  # whether the header begins with the name of a role

    def feed(self, piece: str) -> list[Delta]:
        self._rest += piece
        while self._step(final=False):
            pass
        return self._out.take()

    def close(self) -> list[Delta]:
        while self._step(final=True):
            pass
        return self._out.take()

    def _step(self, *, final: bool) -> bool:
        if not self._kind:
            return self._header(final)
        if self._kind == "call":
            return self._call(final)
        match = _END.search(self._rest)
        if match is None:
            cut = len(self._rest) - (0 if final else unfinished(self._rest, ENDS))
        else:
            cut = match.start()
        self._out.add(self._kind, self._rest[:cut])
        self._rest = self._rest[cut:]
        if match is not None:
            self._kind = ""
        return match is not None

    def _header(self, final: bool) -> bool:
        front = self._rest.lstrip()
        if not front:
            return False
        if not self._role and not front.startswith(HEADS):
            if not final and unfinished(front, HEADS) == len(front):
                return False
            self._kind = "content"  # an answer without any header
            return True
        match = _MARK.search(self._rest)
        if match is None:
            return False
        head, self._rest = self._rest[: match.start()], self._rest[match.end() :]
        self._role = match[0] == START
        if match[0] == BODY:
            self._head = head + BODY
            channel = _CHANNEL.search(head)
            self._kind = "reasoning" if channel and channel[1] == "analysis" else "content"
            if _TO.search(head):
                self._kind = "call"
            else:
                self._out.add(self._kind, "\n\n")  # between two messages; nothing before the first
        return True

    def _call(self, final: bool) -> bool:
        try:
            call, end = self._read(final)
        except Incomplete:
            if not final:
                return False
            problem = "a call is cut off"
        except Broken as e:
            problem = f"a call cannot be read: {e}"
        else:
            self._out.deltas.append(Delta(call=call))
            self._rest, self._kind = self._rest[end:], ""
            return True
        self._out.deltas.append(Delta(problem=problem))
        self._out.add("content", self._head)
        self._kind = "content"
        return True

    def _read(self, final: bool) -> tuple[ToolCall, int]:
        """The call whose body is the rest, and where the next header begins."""
        value: Any = {}
        at = skip(self._rest, 0)
        if not self._rest.startswith(ENDS, at):
            value, at = json_value(self._rest, at)
        at = skip(self._rest, at)
        rest = self._rest[at:]
        if not rest.startswith(ENDS) and not (final and not rest):
            if not final and unfinished(rest, ENDS) == len(rest):
                raise Incomplete
            raise Broken(f"after the arguments stands {rest[0]!r}")
        to = _TO.search(self._head)
        return ToolCall((to[1] if to else "").removeprefix("functions."), arguments_of(value)), at
