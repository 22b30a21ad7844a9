"""Examples as messages of the OpenAI chat API; raw text as a column ``text``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ft_plugin_data.roles import MEDIA
from ft_plugin_format_alpaca.alpaca import COLUMNS as TEXT_COLUMNS
from ft_plugin_format_openai.openai import COLUMNS
from ftk.contracts import Example, Message
from ftk.problems import RowError

from .writing import names_for

ROLES = ("messages", "tools", "kto_tag", *MEDIA)
PAIRS = ("messages", "tools", "chosen", "rejected", *MEDIA)


class OpenAIWriter:
    """Rows that the format ``openai`` reads; raw texts are read by ``alpaca``, which has a column for them."""

    def __init__(self, kind: str, others: Collection[str]) -> None:
        self.pairs, self.texts = kind == "pairs", kind == "texts"
        defaults = TEXT_COLUMNS | {"prompt": "text"} if self.texts else COLUMNS
        roles = ("prompt", *MEDIA) if self.texts else PAIRS if self.pairs else ROLES
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
            values["prompt"] = example.text
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
