"""What a model wrote, read back: content, thought and tool calls. Plain types, as they pass between plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .rows import Message


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that an answer makes."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    """As the model wrote it; most formats have none."""

    def as_message(self) -> dict[str, Any]:
        """An entry of ``Message.tool_calls``."""
        call = {"type": "function", "function": {"name": self.name, "arguments": dict(self.arguments)}}
        return {"id": self.id, **call} if self.id else call


@dataclass(frozen=True, slots=True)
class Delta:
    """What has become known of an answer: one of these."""

    content: str = ""
    reasoning: str = ""
    call: ToolCall | None = None
    problem: str = ""
    """Why the text that follows, which looks like a call, is none."""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A whole answer. Text is without the white space around it."""

    content: str = ""
    reasoning: str = ""
    """The thought before the answer."""
    tool_calls: tuple[ToolCall, ...] = ()
    problems: tuple[str, ...] = ()
    """What was wrong with calls that could not be read; their text is part of the content."""

    @classmethod
    def of(cls, deltas: Iterable[Delta]) -> ParsedAnswer:
        """The answer that deltas add up to."""
        all_of_them = list(deltas)
        return cls(
            content="".join(d.content for d in all_of_them),
            reasoning="".join(d.reasoning for d in all_of_them),
            tool_calls=tuple(d.call for d in all_of_them if d.call is not None),
            problems=tuple(d.problem for d in all_of_them if d.problem),
        )

    def as_message(self) -> Message:
        """The turn of the assistant that it is."""
        message = Message(role="assistant", content=self.content)
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.as_message() for call in self.tool_calls]
        return message


class AnswerReader(Protocol):
    """Reads one answer as it comes. Wherever the text is cut into pieces, the deltas add up to the same answer."""

    def feed(self, piece: str) -> list[Delta]:
        """What the next piece makes known."""
        ...

    def close(self) -> list[Delta]:
        """What the end of the answer makes known."""
        ...


class ToolParser(Protocol):
    """Reads answers of one format. It never raises: a call that it cannot read comes back as text, with a problem.

    Subclass it and write ``stream``; ``parse`` is made of that.
    """

    def stream(self, *, tools: Sequence[Mapping[str, Any]] = (), prompt: str = "") -> AnswerReader:
        """A reader of one answer.

        tools   schemas of the conversation; formats that write every value as bare text take the types from them
        prompt  what the model was given, or its end: a template may begin the answer, and open its thought, there
        """
        ...

    def parse(self, text: str, *, tools: Sequence[Mapping[str, Any]] = (), prompt: str = "") -> ParsedAnswer:
        """A whole answer, control tokens that belong to calls and thoughts included."""
        reader = self.stream(tools=tools, prompt=prompt)
        return ParsedAnswer.of([*reader.feed(text), *reader.close()])
