"""What every data format needs: columns by their role, and values checked on the way out.

Light, and free of any format's own rules, so that third-party formats can use it too. Functions raise RowError with a
text that says what is wrong with the row; which row it is, the ledger knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftk.contracts import Message
from ftk.problems import RowError, RunError

KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
MEDIA = ("images", "videos", "audios")


def resolve_names(
    defaults: Mapping[str, str], given: Mapping[str, str], what: str, needed: Sequence[str] = ()
) -> dict[str, str]:
    """Role -> column (or tag), the user's names over the format's defaults.

    A role that the user does not name keeps its default, unless the user gave that very column to another role. An
    empty name switches a role off. Raises RunError for a role that the format does not know, and for one of ``needed``
    that is left without a name.
    """
    for role in given:
        if role not in defaults:
            raise RunError(f"{what}: unknown role {role!r}", f"roles are {', '.join(defaults)}")
    taken = set(given.values())
    kept = {role: name for role, name in defaults.items() if role not in given and name not in taken}
    names = {role: name for role, name in (kept | dict(given)).items() if name}
    for role in needed:
        if role not in names:
            raise RunError(f"{what}: {role!r} has no name", f"{defaults[role]!r} is its usual one")
    return names


class Row:
    """A row seen through the roles of its columns."""

    __slots__ = ("names", "row")

    def __init__(self, row: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self.row, self.names = row, names

    def name(self, role: str) -> str:
        return self.names.get(role, role)

    def has(self, role: str) -> bool:
        """Whether the data has such a column, whatever this row holds in it."""
        return self.names.get(role) in self.row

    def get(self, role: str) -> Any:
        """The value, or ``None`` where there is no such column."""
        return self.row.get(self.names.get(role, ""))

    def need(self, role: str) -> Any:
        """The value of a column that must be there."""
        if not self.has(role):
            raise RowError(f"missing column {self.name(role)!r} (columns there: {', '.join(self.row)})")
        return self.get(role)

    def text(self, role: str) -> str:
        """The value as text; empty where there is none."""
        return as_text(self.get(role), f"column {self.name(role)!r}")

    def media(self) -> dict[str, list[Any]]:
        """The lists of images, videos and audios, as fields of an Example."""
        values = {role: self.get(role) for role in MEDIA}
        return {role: v if isinstance(v, list) else [v] for role, v in values.items() if v}

    def verdict(self) -> bool | None:
        """The column ``kto_tag``: whether the answer is a good one."""
        value = self.get("kto_tag")
        if value in (None, ""):
            return None
        words = {"true": True, "false": False, "1": True, "0": False}
        if (word := str(value).strip().lower()) in words:
            return words[word]
        raise RowError(f"column {self.name('kto_tag')!r} is {value!r}, neither true nor false")

    def rest(self) -> dict[str, Any]:
        """The columns that have no role."""
        roles = set(self.names.values())
        return {name: value for name, value in self.row.items() if name not in roles}


def as_text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"{what} is {KINDS.get(type(value), 'no text')}, not text")
    return value


def as_json(value: Any, what: str) -> Any:
    """The value itself, or what it says when it is JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        shown = value if len(value) <= 40 else value[:40] + "..."
        raise RowError(f"{what} is not valid JSON: {shown!r}") from None


def as_tools(value: Any, what: str = "column 'tools'") -> Sequence[dict[str, Any]]:
    """Function schemas from JSON text, one or several, wrapped in ``{"type": "function"}`` where they are not."""
    value = as_json(value or None, what)
    if not value:
        return ()
    out = []
    for tool in value if isinstance(value, list) else [value]:
        tool = as_json(tool, what)
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RowError(f"{what}: a tool has no name")
        out.append(tool if "function" in tool else {"type": "function", "function": tool})
    return out


def as_call(value: Any, what: str) -> dict[str, Any]:
    """A tool call in the form of the OpenAI API, its arguments always an object."""
    if not isinstance(value, dict):
        raise RowError(f"{what}: a tool call is {KINDS.get(type(value), 'null')}, not an object")
    function = as_json(value.get("function", value), what)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError(f"{what}: a tool call has no name")
    arguments = as_json(function.get("arguments") or {}, f"{what}: arguments of {function['name']!r}")
    if not isinstance(arguments, dict):
        raise RowError(
            f"{what}: arguments of {function['name']!r} are {KINDS.get(type(arguments), 'null')}, not an object"
        )
    call = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": value["id"], **call} if value.get("id") else call


def with_system(cells: Row, messages: list[Message]) -> list[Message]:
    """The conversation with what the column ``system`` says, unless it has a system turn of its own."""
    system = cells.text("system")
    if system and messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    return messages


def answer_turns(cells: Row, role: str, as_turn: Callable[[str], Any]) -> list[Any]:
    """A column of an answer as turns: it holds one, several, or its text, of which ``as_turn`` makes one."""
    value = cells.need(role)
    if not value:
        raise RowError(f"empty answer: column {cells.name(role)!r} is empty")
    value = as_turn(value) if isinstance(value, str) else value
    return value if isinstance(value, list) else [value]


def read_answers(cells: Row, role: str, turns: list[Any], read: Callable[[list[Any]], list[Message]]) -> list[Message]:
    """The messages of a chosen or rejected answer. Errors name the column."""
    what = f"column {cells.name(role)!r}"
    try:
        messages = read(turns)
    except RowError as e:
        raise RowError(f"{what}: {e}") from None
    if messages[0]["role"] != "assistant":
        raise RowError(f"{what} begins with a {messages[0]['role']} turn, not with an answer")
    return messages


def check_turns(turns: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
    """Refuse what no template can render. ``turns`` are pairs: number in the data, message."""
    if not any(message["role"] in ("user", "assistant") for _, message in turns):
        raise RowError("the conversation is empty")
    before: tuple[int, Mapping[str, Any]] | None = None
    for number, message in turns:
        role = message["role"]
        if before and role == before[1]["role"] and role in ("user", "assistant"):
            raise RowError(f"turns {before[0]} and {number} are both {role} turns")
        if role == "tool" and not (before and (before[1]["role"] == "tool" or before[1].get("tool_calls"))):
            raise RowError(f"turn {number}: a tool's answer without a call before it")
        if role in ("user", "assistant") and not message.get("content") and not message.get("tool_calls"):
            raise RowError(f"turn {number}: empty {'answer' if role == 'assistant' else 'user turn'}")
        before = (number, message)
