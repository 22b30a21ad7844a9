"""Messages and tools brought to the one form that templates are written for.

Content is text, arguments are objects, keys without a value are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ftk.problems import RowError

from .pack import Thought

ROLES = ("system", "user", "assistant", "tool")
_KEPT = ("reasoning_content", "name", "tool_call_id")


def normal_messages(messages: Sequence[Mapping[str, Any]], *, without: Thought | None = None) -> list[dict[str, Any]]:
    """The messages as templates read them; ``weight`` is left out.

    without: markers of the thoughts to take out of the answers. Raises RowError for what no template could use.
    """
    if not messages:
        raise RowError("the conversation is empty")
    normal = [_message(message, f"turn {i} ({message.get('role')})") for i, message in enumerate(messages, start=1)]
    return [_without_thought(message, without) for message in normal] if without else normal


def message_weights(messages: Sequence[Mapping[str, Any]]) -> list[float]:
    """Loss weight of each message: 1 unless it says otherwise."""
    weights = []
    for i, message in enumerate(messages, start=1):
        weight = message.get("weight")
        if weight is None:
            weight = 1.0
        if not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise RowError(f"turn {i}: weight={weight!r} is not a number of at least 0")
        weights.append(float(weight))
    return weights


def normal_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tool schemas with the ``{"type": "function", "function": ...}`` around them."""
    return [_tool(tool, i) for i, tool in enumerate(tools, start=1)]


def _tool(tool: Any, number: int) -> dict[str, Any]:
    if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping):
        return dict(tool)
    if isinstance(tool, Mapping) and "name" in tool:
        return {"type": "function", "function": dict(tool)}
    raise RowError(f"tool {number} is not a function schema with a 'name'")


def _message(message: Mapping[str, Any], turn: str) -> dict[str, Any]:
    role = message.get("role")
    if role not in ROLES:
        raise RowError(f"{turn}: the role is none of {', '.join(ROLES)}")
    calls = [_call(call, turn) for call in message.get("tool_calls") or ()]
    if calls and role != "assistant":
        raise RowError(f"{turn}: only the assistant calls tools")
    content = message.get("content")
    if content is None and not calls and not message.get("reasoning_content"):
        raise RowError(f"{turn}: there is no content")
    normal = {"role": role, "content": _text(content, turn)}
    normal |= {key: message[key] for key in _KEPT if message.get(key) is not None}
    return normal | ({"tool_calls": calls} if calls else {})


def _text(content: Any, turn: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence):
        raise RowError(f"{turn}: the content is a {type(content).__name__}, not text")
    parts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        text = part.get("text") if isinstance(part, Mapping) else part
        if kind != "text":
            raise RowError(f"{turn}: a part is of type {kind!r}; templates take text only so far")
        if not isinstance(text, str):
            raise RowError(f"{turn}: a part has no text")
        parts.append(text)
    return "".join(parts)


def _call(call: Any, turn: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise RowError(f"{turn}: a tool call has no name")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as e:
            raise RowError(f"{turn}: the arguments of {name!r} are not JSON: {e}") from None
    if not isinstance(arguments or {}, Mapping):
        raise RowError(f"{turn}: the arguments of {name!r} are not an object")
    normal = {"type": "function", "function": {"name": name, "arguments": dict(arguments or {})}}
    return normal if call.get("id") is None else {"id": call["id"], **normal}


def _without_thought(message: dict[str, Any], thought: Thought) -> dict[str, Any]:
    if message["role"] != "assistant":
        return message
    message = {key: value for key, value in message.items() if key != "reasoning_content"}
    before, opening, rest = message["content"].partition(thought.open)
    if opening and thought.close in rest:
        message["content"] = before + rest.partition(thought.close)[2].lstrip("\n")
    return message
