"""Conversations as lists of ``{"from": ..., "value": ...}`` turns, with tool calls; pairs and verdicts too."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ft_plugin_data.roles import (
    MEDIA,
    Row,
    answer_turns,
    as_call,
    as_json,
    as_text,
    as_tools,
    check_turns,
    read_answers,
    resolve_names,
    with_system,
)
from ftk.contracts import Example, Formatter, Message
from ftk.markers import hookimpl
from ftk.problems import RowError

COLUMNS = {
    "messages": "conversations",
    "system": "system",
    "tools": "tools",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "kto_tag",
    **{kind: kind for kind in MEDIA},
}
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
NEEDED = ("role_tag", "content_tag", "assistant_tag")
ROLES = ("user", "assistant", "observation", "function", "system")
ALSO = {"user": "user", "assistant": "assistant", "tool": "observation", "system": "system", "function": "observation"}
"""Role words of chat APIs, understood beside the tags where no tag has claimed them."""

THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)

Turn = tuple[int, Message]
"""Number of the turn in the data, from 1, and what it says."""


class ShareGPTFormat:
    @hookimpl
    def ftk_formatter(self, spec) -> Formatter:
        names = resolve_names(COLUMNS, spec.columns, f"dataset {spec.name!r}: columns")
        tags = resolve_names(TAGS, spec.tags, f"dataset {spec.name!r}: tags", NEEDED)
        return partial(read_sharegpt, names=names, tags=tags, ranking=spec.ranking)


def read_sharegpt(
    row: Mapping[str, Any],
    *,
    names: Mapping[str, str],
    tags: Mapping[str, str] = TAGS,
    ranking: bool = False,
) -> Example:
    """An example of a row. Raises RowError naming the turn, counted from 1."""
    cells = Row(row, names)
    read = partial(_messages, tags=tags)
    messages = with_system(cells, read(as_json(cells.need("messages"), f"column {cells.name('messages')!r}")))
    shared = {"tools": as_tools(cells.get("tools")), "columns": cells.rest(), **cells.media()}
    if ranking:
        said = lambda text: {tags["role_tag"]: tags["assistant_tag"], tags["content_tag"]: text}
        chosen, rejected = (
            read_answers(cells, role, answer_turns(cells, role, said), read) for role in ("chosen", "rejected")
        )
        if messages[-1]["role"] == "assistant":
            raise RowError("the conversation ends with an answer, where chosen and rejected should follow a question")
        return Example(messages=messages, chosen=chosen, rejected=rejected, **shared)
    return Example(messages=messages, desirable=cells.verdict(), **shared)


def _messages(value: Any, tags: Mapping[str, str]) -> list[Message]:
    turns = _turns(value, tags)
    check_turns(turns)
    return [message for _, message in turns]


def _turns(value: Any, tags: Mapping[str, str]) -> list[Turn]:
    if not value:
        raise RowError("the conversation is empty")
    if not isinstance(value, list):
        raise RowError("the conversation is not a list of turns")
    words = ALSO | {tags[f"{role}_tag"]: role for role in ROLES if f"{role}_tag" in tags}
    turns: list[Turn] = []
    for number, turn in enumerate(value, start=1):
        message = _message(number, turn, tags, words)
        before = turns[-1][1] if turns else None
        # Data of this form writes one answer of text and calls as several turns.
        if before and before["role"] == message["role"] == "assistant" and message.get("tool_calls"):
            turns[-1] = (turns[-1][0], _joined(before, message))
        elif message["role"] != "system" or message["content"]:
            turns.append((number, message))
    return turns


def _message(number: int, turn: Any, tags: Mapping[str, str], words: Mapping[str, str]) -> Message:
    if not isinstance(turn, dict):
        raise RowError(f"turn {number}: not an object")
    role, content = (_entry(number, turn, tags[tag], tag.removesuffix("_tag")) for tag in ("role_tag", "content_tag"))
    kind = words.get(role) if isinstance(role, str) else None
    if kind is None:
        raise RowError(f"turn {number}: unknown role {role!r} (known: {', '.join(words)})")
    if kind == "function":
        return _calls(number, content)
    if kind == "observation":
        return {"role": "tool", "content": content if isinstance(content, str) else _as_written(content)}
    return {"role": kind, "content": as_text(content, f"turn {number}: {tags['content_tag']!r}")}


def _entry(number: int, turn: Mapping[str, Any], key: str, plain: str) -> Any:
    """``turn[key]``, or what a chat API calls it."""
    for name in (key, plain):
        if name in turn:
            return turn[name]
    raise RowError(f"turn {number}: no {key!r} (keys there: {', '.join(turn)})")


def _calls(number: int, content: Any) -> Message:
    """A turn of one tool call or a list of them, perhaps after a thought."""
    message: Message = {"role": "assistant", "content": ""}
    if isinstance(content, str) and (thought := THOUGHT.match(content)):
        message["reasoning_content"] = thought[1].strip()
        content = content[thought.end() :]
    calls = as_json(content, f"turn {number}: the tool call")
    calls = calls if isinstance(calls, list) else [calls]
    message["tool_calls"] = [as_call(call, f"turn {number}") for call in calls]
    if not message["tool_calls"]:
        raise RowError(f"turn {number}: no tool call in it")
    return message


def _joined(first: Message, second: Message) -> Message:
    joined: Message = {**first, "tool_calls": [*first.get("tool_calls", []), *second["tool_calls"]]}
    if thought := second.get("reasoning_content"):
        joined["reasoning_content"] = "\n\n".join(filter(None, [first.get("reasoning_content"), thought]))
    return joined


def _as_written(content: Any) -> str:
    return "" if content is None else json.dumps(content, ensure_ascii=False)
