"""Answers with thoughts and calls among text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ftk.contracts import AnswerReader, Delta, ToolParser

from .reading import Broken, Grammar, Incomplete, skip, unfinished


@dataclass(frozen=True)
class Format:
    """How answers of a family of models are written, as data.

    sections  marks around calls, open and close; "" for a section that the end of the answer closes
    dropped   marks that mean nothing to a reader
    begins    what means nothing to a reader where an answer begins, and is text elsewhere
    anew      marks after which an answer begins again: for grammars without an opener
    thought   marks around a thought, where the template does not say
    """

    grammar: Grammar
    sections: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    begins: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    thought: tuple[str, str] | None = None

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """All that a reader must not take for text."""
        closers = filter(None, self.sections.values())
        return (*self.grammar.openers, *self.sections, *closers, *self.dropped, *self.begins, *self.anew)


class FormatParser(ToolParser):
    """Reads answers of one format.

    thought  marks around a thought; ``None`` for those of the format
    """

    def __init__(self, format: Format, thought: tuple[str, str] | None = None) -> None:
        self.format, self.thought = format, thought or format.thought

    def stream(self, *, tools: Sequence[Mapping[str, Any]] = (), prompt: str = "") -> AnswerReader:
        return TextReader(self.format, self.thought, tools, prompt)


class Gathered:
    """Deltas in the making: white space waits until it is known to stand between text."""

    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self._space = {"content": "", "reasoning": ""}
        self._began = {"content": False, "reasoning": False}

    def add(self, kind: str, text: str) -> None:
        text = self._space[kind] + text
        said = text.rstrip()
        self._space[kind] = text[len(said) :]
        if not self._began[kind]:
            said = said.lstrip()
        if not said:
            return
        self._began[kind] = True
        last = self.deltas[-1] if self.deltas else Delta()
        if so_far := getattr(last, kind):
            self.deltas.pop()
            said = so_far + said
        self.deltas.append(Delta(content=said) if kind == "content" else Delta(reasoning=said))

    def take(self) -> list[Delta]:
        taken, self.deltas = self.deltas, []
        return taken


class TextReader:
    """``ftk.contracts.AnswerReader`` of a format."""

    def __init__(
        self, format: Format, thought: tuple[str, str] | None, tools: Sequence[Mapping[str, Any]], prompt: str
    ) -> None:
        self._format, self._thought, self._tools = format, thought or ("", ""), tools
        self._marks = (*format.marks, *filter(None, self._thought))
        self._pattern = re.compile("|".join(map(re.escape, sorted(self._marks, key=len, reverse=True))) or "(?!)")
        self._thinks = bool(thought) and prompt.rstrip().endswith(self._thought[0].rstrip())
        self._out = Gathered()
        self._rest = ""
        self._begun = False  # whether there was text or a call
        self._anew = True  # whether a call without an opener may stand here
        self._section = ""  # the mark that opened a section, and white space, as long as no call followed
        self._open: set[str] = set()  # closers of the sections that are open

    def feed(self, piece: str) -> list[Delta]:
        self._rest += piece
        while self._step(final=False):
            pass
        return self._out.take()

    def close(self) -> list[Delta]:
        while self._step(final=True):
            pass
        if self._section.strip():
            self._say("", final=True)
        return self._out.take()

    def _step(self, *, final: bool) -> bool:
        """Take what can be taken from the front of the rest. False when more of the answer must come first."""
        if not self._rest:
            return False
        if self._thinks:
            return self._think(final)
        if self._anew and not self._format.grammar.openers:
            taken = self._bare(final)
            if taken is not None:
                return taken
        match = self._pattern.search(self._rest)
        if match is None:
            waits = 0 if final else unfinished(self._rest, self._marks)
            cut = len(self._rest) - waits
            self._say(self._rest[:cut])
            self._rest = self._rest[cut:]
            return False
        self._say(self._rest[: match.start()])
        self._rest = self._rest[match.start() :]
        return self._mark(match[0], final)

    def _think(self, final: bool) -> bool:
        close = self._thought[1]
        thought, closed, rest = self._rest.partition(close)
        waits = 0 if closed or final else unfinished(thought, (close,))
        cut = len(thought) - waits
        self._out.add("reasoning", thought[:cut])
        self._thinks = not closed
        self._rest = rest if closed else thought[cut:]
        return bool(closed)

    def _bare(self, final: bool) -> bool | None:
        """Take a call that begins without an opener. ``None`` if there is none here."""
        at = skip(self._rest, 0)
        front = self._rest[at:]
        if not final and (not front or unfinished(front, self._marks) == len(front)):
            return False
        if not front or self._pattern.match(front):
            return None
        try:
            reading = self._format.grammar.read(self._rest, at, final=final, tools=self._tools)
        except Incomplete:
            if not final:
                return False
        except Broken:
            pass
        else:
            self._called(reading.calls, reading.end)
            self._anew = True
            return True
        self._anew = False
        return None

    def _mark(self, mark: str, final: bool) -> bool:
        """Take the mark at the front of the rest, and the calls that it begins."""
        if mark in self._format.grammar.openers:
            return self._call(mark, final)
        self._rest = self._rest[len(mark) :]
        if mark == self._thought[0] and not self._begun:
            self._thinks = True
        elif mark in self._format.begins and not self._begun:
            pass
        elif mark == self._thought[1] and not self._begun:
            pass  # how some models begin an answer without a thought
        elif mark in self._format.sections:
            self._section += mark
            self._open.add(self._format.sections[mark])
            self._anew = True
        elif mark in self._open and not self._section:
            self._open.discard(mark)
        elif mark in self._format.anew:
            self._anew = True
        elif mark not in self._format.dropped:
            self._say(mark)
        return True

    def _call(self, opener: str, final: bool) -> bool:
        try:
            reading = self._format.grammar.read(self._rest, 0, final=final, tools=self._tools)
        except Incomplete:
            if not final:
                return False
            problem = "a call is cut off"
        except Broken as e:
            problem = f"a call cannot be read: {e}"
        else:
            self._called(reading.calls, reading.end)
            return True
        self._out.deltas.append(Delta(problem=problem))
        section, self._section = self._section, ""
        if section:
            self._open.clear()
        self._say(section + opener)
        self._rest = self._rest[len(opener) :]
        return True

    def _called(self, calls: Sequence[Any], end: int) -> None:
        self._out.deltas += [Delta(call=call) for call in calls]
        self._rest = self._rest[end:]
        self._begun, self._section = True, ""

    def _say(self, text: str, *, final: bool = False) -> None:
        if self._section:
            before, self._section = self._section.strip(), self._section + text
            if not text.strip() and not final:
                return
            self._out.deltas.append(Delta(problem=f"no call follows {before!r}"))
            text, self._section = self._section, ""
            self._open.clear()
        if text.strip():
            self._begun, self._anew = True, False
        self._out.add("content", text)
