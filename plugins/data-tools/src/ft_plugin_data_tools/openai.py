"""Examples as messages of the OpenAI chat API; raw text, and prompts without answers, in columns of their own."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ft_plugin_data.roles import MEDIA
from ft_plugin_format_alpaca.alpaca import COLUMNS as TEXT_COLUMNS
from ft_plugin_format_alpaca.alpaca import RAW_TEXT
from ft_plugin_format_openai.openai import COLUMNS
from ftk.contracts import Example, Message
from ftk.problems import RowError

from .writing import names_for

ROLES = ("messages", "tools", "kto_tag", *MEDIA)
PAIRS = ("messages", "tools", "chosen", "rejected", *MEDIA)
TEXTS = ("prompt", *MEDIA)
PROMPTS = ("prompt", "system", "history", "tools", *MEDIA)


class OpenAIWriter:
    """Rows that the format ``openai`` reads; texts and prompts are read by ``alpaca``, which has columns for them."""

    def __init__(self, kind: str, others: Collection[str]) -> None:
        self.pairs, self.texts = kind == "pairs", kind in ("texts", "prompts")
        defaults = TEXT_COLUMNS if self.texts else COLUMNS
        if kind == "texts":
            defaults = defaults | {"prompt": next((name for name in RAW_TEXT if name not in others), "text")}
        roles = {"texts": TEXTS, "prompts": PROMPTS, "pairs": PAIRS}.get(kind, ROLES)
        self.names = names_for(roles, defaults, others)
        usual = TEXT_COLUMNS if self.texts else COLUMNS
        columns = {role: name for role, name in self.names.items() if name != usual[role]}
        self.entry: dict[str, Any] = {"formatting": "alpaca" if self.texts else "openai"}
        self.entry |= {"columns": columns} if columns else {}
        self.entry |= {"ranking": True} if self.pairs else {}

    def row(self, example: Example) -> dict[str, Any]:
        values: dict[str, Any] = {}
        media = {kind: list(getattr(example, kind)) for kind in MEDIA}
        if self.texts:
            values = {"prompt": example.text, "tools": list(example.tools), **_before(example.messages[:-1])}
        else:
            turns = [*example.messages, *example.chosen, *example.rejected]
            inline = {kind: _places(turns, kind) for kind in MEDIA}
            # Values of parts stand in the parts; those of a column, which come first, in the column.
            own = {kind: iter(_tail(media, kind, count)) for kind, count in inline.items()}
            values["messages"] = [_message(turn, own) for turn in example.messages]
            values["tools"] = list(example.tools)
            if self.pairs:
                values |= {
                    "chosen": [_message(turn, own) for turn in example.chosen],
                    "rejected": [_message(turn, own) for turn in example.rejected],
                }
            else:
                values["kto_tag"] = example.desirable
        written = {self.names[role]: value for role, value in (values | media).items() if value not in (None, [])}
        return {**written, **example.columns}


def _before(turns: Sequence[Message]) -> dict[str, Any]:
    """The turns before a prompt as the columns of ``alpaca``."""
    system = turns[0]["content"] if turns and turns[0]["role"] == "system" else None
    said = [turn["content"] for turn in turns if turn["role"] != "system"]
    return {"system": system, "history": [list(pair) for pair in zip(said[::2], said[1::2], strict=True)]}


def _places(turns: Sequence[Message], kind: str) -> int:
    """How many parts of the turns are of a kind of media."""
    return sum(part["type"] == kind[:-1] for turn in turns for part in _parts(turn))


def _parts(turn: Message) -> Sequence[Mapping[str, Any]]:
    content = turn.get("content")
    return content if isinstance(content, list) else ()


def _tail(media: dict[str, list[Any]], kind: str, count: int) -> list[Any]:
    """Takes the last ``count`` values out of ``media``."""
    if count > len(media[kind]):
        raise RowError(f"{count} places for {kind}, and {len(media[kind])} {kind}")
    media[kind], tail = media[kind][: len(media[kind]) - count], media[kind][len(media[kind]) - count :]
    return tail


def _message(turn: Message, media: Mapping[str, Iterator[Any]]) -> dict[str, Any]:
    written: dict[str, Any] = dict(turn)
    if parts := _parts(turn):
        written["content"] = [
            dict(part) if part["type"] == "text" else {**part, part["type"]: next(media[f"{part['type']}s"])}
            for part in parts
        ]
    if calls := turn.get("tool_calls"):
        written["tool_calls"] = [_call(call) for call in calls]
    return written


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as text, as the API has them: what merges objects of different keys must not add to them."""
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}
