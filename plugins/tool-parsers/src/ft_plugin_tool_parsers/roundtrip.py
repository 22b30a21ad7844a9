"""What a model would write where a conversation ends with its answer, and whether a parser reads it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftk.contracts import Message, ParsedAnswer, Template, ToolCall, ToolParser
from ftk.problems import RowError

from .reading import Tools

PROBE = ToolCall("get-weather", {"city": "Oslo", "days": 2, "at": {"hours": [6, 18]}})
"""A call that formats tell apart by: a dash in the name, text, a number and an object."""
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
    call: dict[str, Any] = {**PROBE.as_message(), "id": "call00001"}
    question, answer = Message(role="user", content="Oslo?"), Message(role="assistant", content="", tool_calls=[call])
    for tools in ([_TOOL], []):  # some templates have a place for calls alone
        try:
            prompt = template.render([question], tools=tools, generation_prompt=True)
            whole = template.render([question, answer], tools=tools)
        except RowError:
            continue
        same = alike(prompt, whole)
        return parser.parse(without_stops(whole[same:], template), tools=tools, prompt=prompt[:same])
    return None


def alike(prompt: str, whole: str) -> int:
    """How much the two have in common: a prompt may have thoughts, or open one, where the answer has none."""
    same = next((i for i, pair in enumerate(zip(prompt, whole, strict=False)) if len(set(pair)) > 1), len(prompt))
    mark = prompt.rfind("<", 0, same)
    return mark if same < len(prompt) and mark > prompt.rfind(">", 0, same) else same


def suits(read: ParsedAnswer) -> bool:
    """Whether that is the call."""
    return [(call.name, call.arguments) for call in read.tool_calls] == [(PROBE.name, PROBE.arguments)]
