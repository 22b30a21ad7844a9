"""The format of a file that nobody described, by the names of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

PROMPTS = ("instruction", "prompt", "question")
ANSWERS = ("output", "response", "completion", "answer")
TEXTS = ("text", "content", "prompt", "instruction")


class Guess(NamedTuple):
    formatting: str
    columns: Mapping[str, str]
    """Role of a column -> its name, where it is not the format's default."""
    ranking: bool
    """There is a chosen and a rejected answer."""


def guess_format(columns: Iterable[str]) -> Guess | None:
    """How rows with these columns are to be read; ``None`` when that cannot be told."""
    have = set(columns)
    ranking = have >= {"chosen", "rejected"}
    prompt = next((name for name in PROMPTS if name in have), None)
    answer = next((name for name in ANSWERS if name in have), None)
    # "label" is a verdict on the answer only where nothing else is; elsewhere it may be a class of the text.
    verdict = {"kto_tag": "label"} if have in ({"messages", "label"}, {prompt, answer, "label"}) else {}
    if "messages" in have:
        return Guess("openai", verdict, ranking)
    if "conversations" in have:
        return Guess("sharegpt", {}, ranking)
    if "conversation" in have:
        return Guess("sharegpt", {"messages": "conversation"}, ranking)
    if prompt and ranking:
        return Guess("alpaca", _unlike({"prompt": prompt}), True)
    if ranking:
        return Guess("openai", {}, True)
    if have >= {"prompt", "completion"}:  # texts, or lists of messages
        return Guess("openai", verdict, False)
    if prompt and answer:
        return Guess("alpaca", _unlike({"prompt": prompt, "response": answer}) | verdict, False)
    text = next((name for name in TEXTS if name in have), None)
    return Guess("alpaca", _unlike({"prompt": text}), False) if text else None


def _unlike(columns: dict[str, str]) -> dict[str, str]:
    defaults = {"prompt": "instruction", "response": "output"}
    return {role: name for role, name in columns.items() if defaults[role] != name}
