"""Conversations in the form of the OpenAI chat API: roles, content parts, tool calls, thoughts, weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from ft_plugin_data.roles import (
    KINDS,
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
    "messages": "messages",
    "prompt": "prompt",
    "completion": "completion",
    "system": "system",
    "tools": "tools",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "kto_tag",
    **{kind: kind for kind in MEDIA},
}
TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function",
    "system_tag": "system",
}
NEEDED = ("role_tag", "content_tag")
ROLES = {
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "developer": "system",
}
TAGGED = {"user": "user", "assistant": "assistant", "observation": "tool", "function": "tool", "system": "system"}
LIST = re.compile(r"\s*\[\s*(\{|\])")
PARTS = {"image": "images", "image_url": "images", "video": "videos", "audio": "audios", "input_audio": "audios"}


class OpenAIFormat:
    @hookimpl
    def ftk_formatter(self, spec) -> Formatter:
        names = resolve_names(COLUMNS, spec.columns, f"dataset {spec.name!r}: columns")
        tags = resolve_names(TAGS, spec.tags, f"dataset {spec.name!r}: tags", NEEDED)
        return partial(read_openai, names=names, tags=tags, ranking=spec.ranking)


def read_openai(
    row: Mapping[str, Any],
    *,
    names: Mapping[str, str],
    tags: Mapping[str, str] = TAGS,
    ranking: bool = False,
) -> Example:
    """An example of a row. Raises RowError naming the turn, counted from 1.

    For pairs, ``chosen`` and ``rejected`` are the turns after the prompt, or whole conversations; where there is no
    prompt, it is what these have in common at the beginning.
    """
    cells = Row(row, names)
    media: dict[str, list[Any]] = cells.media()
    words = ROLES | {tags[f"{old}_tag"]: role for old, role in TAGGED.items() if f"{old}_tag" in tags}
    read = partial(_messages, tags=tags, words=words, media=media)
    shared = {"tools": as_tools(cells.get("tools")), "columns": cells.rest()}
    if not ranking:
        messages = with_system(cells, read(_conversation(cells)))
        return Example(messages=messages, desirable=cells.verdict(), **shared, **media)
    chosen, rejected = (answer_turns(cells, role, _said) for role in ("chosen", "rejected"))
    prompt, repeated = _prompt(cells, _common(chosen, rejected))
    if not prompt:
        raise RowError(f"no prompt: missing column {cells.name('messages')!r} (columns there: {', '.join(row)})")
    answers = {"chosen": chosen[repeated:], "rejected": rejected[repeated:]}
    messages = with_system(cells, read(prompt))
    answers = {role: read_answers(cells, role, turns, read) for role, turns in answers.items()}
    return Example(messages=messages, **answers, **shared, **media)


def _prompt(cells: Row, common: list[Any]) -> tuple[list[Any], int]:
    """The turns before the answers, and how many turns at the beginning of both answers repeat them."""
    if not (cells.has("messages") or cells.has("prompt")):
        return common, len(common)
    given = _conversation(cells)
    if common[: len(given)] == given:
        return given, len(given)
    if common and given[: len(common)] == common:  # the column holds one of the two conversations
        return common, len(common)
    return given, 0


def _conversation(cells: Row) -> list[Any]:
    if cells.has("messages") or not cells.has("prompt"):
        return _listed(cells, "messages")
    prompt = cells.need("prompt")
    # A text that begins like a list of objects is one, written down.
    written = isinstance(prompt, str) and not LIST.match(prompt)
    turns = [{"role": "user", "content": prompt}] if written else _listed(cells, "prompt")
    return [*turns, *answer_turns(cells, "completion", _said)] if cells.has("completion") else turns


def _listed(cells: Row, role: str) -> list[Any]:
    value = as_json(cells.need(role), f"column {cells.name(role)!r}")
    if not value:
        raise RowError("the conversation is empty")
    if not isinstance(value, list):
        raise RowError(f"column {cells.name(role)!r} is not a list of messages")
    return value


def _said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _common(first: list[Any], second: list[Any]) -> list[Any]:
    """The turns that both begin with, but for a last answer that is the same in both."""
    count = 0
    for a, b in zip(first[:-1], second[:-1], strict=False):
        if a != b:
            break
        count += 1
    return first[:count]


def _messages(
    value: list[Any], *, tags: Mapping[str, str], words: Mapping[str, str], media: dict[str, list[Any]]
) -> list[Message]:
    turns = []
    for number, turn in enumerate(value, start=1):
        message = _message(f"turn {number}", turn, tags, words, media)
        if message["role"] != "system" or message["content"]:
            turns.append((number, message))
    check_turns(turns)
    return [message for _, message in turns]


def _message(
    which: str, turn: Any, tags: Mapping[str, str], words: Mapping[str, str], media: dict[str, list[Any]]
) -> Message:
    if not isinstance(turn, dict):
        raise RowError(f"{which} is {KINDS.get(type(turn), 'null')}, not an object")
    key = tags["role_tag"]
    if key not in turn:
        raise RowError(f"{which}: no {key!r} (keys there: {', '.join(turn)})")
    role = words.get(turn[key]) if isinstance(turn[key], str) else None
    if role is None:
        raise RowError(f"{which}: unknown role {turn[key]!r} (known: {', '.join(words)})")
    message: Message = {"role": role, "content": ""}
    calls = [*_written_calls(turn, which)]
    _take_content(message, turn.get(tags["content_tag"]), which, calls, media)
    if thought := turn.get("reasoning_content") or turn.get("reasoning"):
        message["reasoning_content"] = as_text(thought, f"{which}: 'reasoning_content'")
    if calls and role != "assistant":
        raise RowError(f"{which}: a {role} turn cannot call tools")
    if calls:
        message["tool_calls"] = [as_call(call, which) for call in calls]
    for name in ("name", "tool_call_id"):
        if turn.get(name) is not None:
            message[name] = turn[name]
    weight = turn.get("weight", turn.get("loss_weight"))
    if weight is not None:
        if not isinstance(weight, (int, float)):
            raise RowError(f"{which}: weight={weight!r} is not a number")
        message["weight"] = float(weight)
    return message


def _written_calls(turn: Mapping[str, Any], which: str) -> list[Any]:
    calls = as_json(turn.get("tool_calls") or [], f"{which}: 'tool_calls'")
    calls = calls if isinstance(calls, list) else [calls]
    return [*calls, turn["function_call"]] if turn.get("function_call") else calls


def _take_content(message: Message, content: Any, which: str, calls: list[Any], media: dict[str, list[Any]]) -> None:
    """Content into the message: text as text, parts sorted into text, thought, calls and media."""
    if not isinstance(content, list):
        if isinstance(content, dict) and message["role"] == "tool":
            content = json.dumps(content, ensure_ascii=False)
        message["content"] = as_text(content, f"{which}: content")
        return
    parts: list[dict[str, Any]] = []
    for part in content:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        kind = part.get("type") if isinstance(part, dict) else None
        # "value" is where LLaMA-Factory's v1 data keeps what the API keeps under the part's type.
        value = part.get(kind, part.get("value")) if kind else None
        if kind == "text":
            parts.append({"type": "text", "text": as_text(value, f"{which}: a text part")})
        elif kind in ("reasoning", "thinking"):
            earlier = message.get("reasoning_content")
            thought = as_text(value, f"{which}: a {kind} part")
            message["reasoning_content"] = f"{earlier}\n{thought}" if earlier else thought
        elif kind == "tool_call":
            calls.append(as_json(value, f"{which}: a tool call"))
        elif kind in PARTS:
            parts.append({"type": PARTS[kind][:-1]})
            media.setdefault(PARTS[kind], []).append(value.get("url", value) if isinstance(value, dict) else value)
        else:
            raise RowError(f"{which}: unknown part {kind!r} (known: text, reasoning, tool_call, {', '.join(PARTS)})")
    if all(part["type"] == "text" for part in parts):
        message["content"] = "".join(part["text"] for part in parts)
    else:
        message["content"] = parts
