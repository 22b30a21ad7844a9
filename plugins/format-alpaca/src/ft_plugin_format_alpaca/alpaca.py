"""One instruction and its answer in a row; or pairs of answers, verdicts, prompts alone, or raw text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ft_plugin_data.roles import MEDIA, Row, as_json, as_text, as_tools, resolve_names
from ftk.contracts import Example, Formatter, Message
from ftk.markers import hookimpl
from ftk.problems import RowError

COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "system": "system",
    "history": "history",
    "tools": "tools",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "kto_tag",
    **{kind: kind for kind in MEDIA},
}
RAW_TEXT = ("text", "content")
"""Columns that hold no prompt; what stands beside them is no part of a conversation, whatever it is called."""


class AlpacaFormat:
    @hookimpl
    def ftk_formatter(self, spec) -> Formatter:
        names = resolve_names(COLUMNS, spec.columns, f"dataset {spec.name!r}: columns")
        return partial(read_alpaca, names=names, ranking=spec.ranking)


def read_alpaca(row: Mapping[str, Any], *, names: Mapping[str, str], ranking: bool = False) -> Example:
    """An example of a row. Raises RowError.

    Where the data has no column for answers, a prompt is raw text to some stages and a conversation to others: it has
    both ``text``, the prompt alone, and ``messages``. ``RAW_TEXT`` has no messages.
    """
    cells = Row(row, names)
    cells.need("prompt")
    # Two parts of one prompt, joined as LLaMA-Factory joins them; an empty part leaves no empty line.
    prompt = "\n".join(part for part in (cells.text("prompt"), cells.text("query")) if part)
    if not prompt:
        raise RowError(f"empty prompt: column {cells.name('prompt')!r} is empty")
    alone = not ranking and not cells.has("response")
    if alone and cells.name("prompt") in RAW_TEXT:
        return Example(text=prompt, columns=cells.rest(), **cells.media())
    system = cells.text("system")
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages += [*_history(cells), {"role": "user", "content": prompt}]
    shared = {"tools": as_tools(cells.get("tools")), "columns": cells.rest(), **cells.media()}
    if ranking:
        chosen, rejected = _pair(cells)
        return Example(messages=messages, chosen=chosen, rejected=rejected, **shared)
    if alone:
        return Example(text=prompt, messages=messages, **shared)
    return Example(messages=[*messages, *_answer(cells, "response")], desirable=cells.verdict(), **shared)


def _pair(cells: Row) -> tuple[list[Message], list[Message]]:
    """Two columns, or one with a list of two answers, the better one first."""
    both = cells.get("response")
    if cells.has("chosen") or cells.has("rejected") or not isinstance(both, list):
        return _answer(cells, "chosen"), _answer(cells, "rejected")
    what = f"column {cells.name('response')!r}"
    if len(both) != 2:
        raise RowError(f"{what}: {len(both)} ranked answers, where a pair has two")
    better, worse = (_said(as_text(text, what), what) for text in both)
    return better, worse


def _answer(cells: Row, role: str) -> list[Message]:
    cells.need(role)
    return _said(cells.text(role), f"column {cells.name(role)!r}")


def _said(text: str, what: str) -> list[Message]:
    if not text:
        raise RowError(f"empty answer: {what} is empty")
    return [{"role": "assistant", "content": text}]


def _history(cells: Row) -> list[Message]:
    """Earlier turns, ``[[question, answer], ...]``."""
    messages: list[Message] = []
    what = f"column {cells.name('history')!r}"
    for number, pair in enumerate(as_json(cells.get("history") or [], what), start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(f"{what}: entry {number} is not a pair of question and answer")
        question, answer = (as_text(part, f"{what}: entry {number}") for part in pair)
        if not question or not answer:
            raise RowError(f"{what}: entry {number}: empty {'answer' if question else 'question'}")
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages
