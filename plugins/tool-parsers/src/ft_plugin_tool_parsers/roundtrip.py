"""What a model would write where a conversation ends with its answer, and whether a parser reads it back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from ftk.contracts import Message, ParsedAnswer, Template, ToolCall, ToolParser
from ftk.problems import RowError

from .reading import Tools

PROBE = ToolCall("get-weather", {"city": "Oslo", "days": 2, "at": {"hours": [6, 18]}})
"""A call that formats tell apart by: a dash in the name, text, a number and an object."""
_IDS = ("call00001", f"functions.{PROBE.name}:0")
"""Mistral's templates want nine letters and digits; Kimi's write the id in place of the name."""
_TYPES = {"city": "string", "days": "integer", "at": "object"}
_TOOL = {
    "type": "function",
    "function": {
        "name": PROBE.name,
        "description": "Tells the weather",
        "parameters": {
            "type": "object",
            "properties": {key: {"type": kind, "description": key} for key, kind in _TYPES.items()},
            "required": list(_TYPES),
        },
    },
}


def written(template: Template, messages: Sequence[Message], tools: Tools = ()) -> tuple[str, str]:
    """The prompt for the last message, and the answer as text, without what ends it. Raises RowError."""
    prompt = template.render(messages[:-1], tools=tools, generation_prompt=True)
    whole = template.render(messages, tools=tools)
    if not whole.startswith(prompt):
        raise RowError("the prompt for the answer is not how the conversation with it begins")
    return prompt, without_stops(whole[len(prompt) :], template)


def without_stops(text: str, template: Template) -> str:
    text = text.rstrip()
    while ends := [stop for stop in template.stop if stop and text.endswith(stop)]:
        text = text.removesuffix(max(ends, key=len)).rstrip()
    return text


def read_back(parser: ToolParser, template: Template, messages: Sequence[Message], tools: Tools = ()) -> ParsedAnswer:
    """What the parser makes of the last message as the template writes it. Raises RowError."""
    prompt, answer = written(template, messages, tools)
    return parser.parse(answer, tools=tools, prompt=prompt)


def tried(parser: ToolParser, template: Template) -> ParsedAnswer | None:
    """What the parser makes of a call that the template writes; ``None`` if the template writes none."""
    read = None
    for tools, identifier in product(([_TOOL], []), _IDS):  # some templates have a place for calls alone
        call: dict[str, Any] = {**PROBE.as_message(), "id": identifier}
        question = Message(role="user", content="Oslo?")
        answer = Message(role="assistant", content="", tool_calls=[call])
        try:
            prompt = template.render([question], tools=tools, generation_prompt=True)
            whole = template.render([question, answer], tools=tools)
        except RowError:
            continue
        same = alike(prompt, whole)
        read = parser.parse(without_stops(whole[same:], template), tools=tools, prompt=prompt[:same])
        if suits(read):
            return read
    return read


def alike(prompt: str, whole: str) -> int:
    """How much the two have in common: a prompt may have thoughts, or open one, where the answer has none."""
    same = next((i for i, pair in enumerate(zip(prompt, whole, strict=False)) if len(set(pair)) > 1), len(prompt))
    mark = prompt.rfind("<", 0, same)
    return mark if same < len(prompt) and mark > prompt.rfind(">", 0, same) else same


def suits(read: ParsedAnswer) -> bool:
    """Whether that is the call."""
    return [(call.name, call.arguments) for call in read.tool_calls] == [(PROBE.name, PROBE.arguments)]
