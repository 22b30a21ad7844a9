"""Vendors' own templates, where a machine has them, to compare with."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from ftk.problems import RowError

from .battery import BATTERY
from .engine import ChatTemplate
from .messages import normal_messages, normal_tools
from .pack import Facts, Original
from .rendering import Jinja

TODAY = datetime(2024, 7, 26)
"""The date of originals that print one."""
_NOW = re.compile(r"""strftime_now\((['"])(.*?)\1\)""")
_NEXT = {"role": "user", "content": "Next?"}

Reform = Callable[[str, list[dict], list[dict]], list[dict]]
"""Name of the template, messages and tools to messages in the form that the original reads."""


@cache
def find_originals() -> Mapping[str, str]:
    """Texts by SHA-256: trl's templates, and those in the folder ``originals`` of FTK_CONFORMANCE_DIR."""
    folders = [Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent")) / "originals"]
    if (spec := importlib.util.find_spec("trl")) is not None and spec.origin:
        folders.append(Path(spec.origin).parent / "chat_templates")
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.jinja")]
    return {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}


def alike(
    facts: Facts, tokenizer: Any, original: Original, *, reform: Reform = lambda _, messages, tools: messages
) -> tuple[list[str], dict[str, str]]:
    """Conversations of the battery that a template and its original write alike, whole and as prompts; and the others.

    The first are titles; the second say, by title, where the two part. One that either refuses is in neither.
    """
    settings = original.settings
    ours = ChatTemplate(facts, tokenizer, default_system=original.default_system, variables=settings)
    text = find_originals()[original.sha256]
    known = Jinja(text, {})
    lost = {"tools": not known.takes_tool_calls, "thoughts": not known.takes_thoughts}
    text = _NOW.sub(lambda call: repr(TODAY.strftime(call[2])), text)

    def theirs(messages: list[dict], tools: list[dict], asked: bool) -> str:
        normal = reform(facts.name, normal_messages(messages), normal_tools(tools))
        rendered, _ = render_jinja_template(
            [_in_parts(normal) if original.in_parts else normal],
            tools=normal_tools(tools) or None,
            chat_template=text,
            add_generation_prompt=asked,
            **tokenizer.special_tokens_map,
            **settings,
        )
        after = "" if asked or messages[-1]["role"] != "assistant" else original.after
        return original.before + rendered[0] + after

    same, different = [], {}
    for title, (messages, tools) in BATTERY.items():
        has = {title, *traits(messages, tools)}
        if any(lost.get(trait) or trait in original.without for trait in has):
            continue
        cases = _cases(messages, has, original)
        tools = [] if original.no_schemas else tools
        try:
            made = [ours.render(turns, tools=tools, generation_prompt=asked) for turns, asked in cases]
            ours.weighted(messages, tools, "last")
        except RowError:
            continue
        try:
            wanted = [theirs(turns, tools, asked) for turns, asked in cases]
        except Exception:  # somebody's program: this is how it refuses
            continue
        gaps = [first_gap(a, b) for a, b in zip(made, wanted, strict=True) if a != b]
        if gaps:
            different[title] = gaps[0]
        else:
            same.append(title)
    return same, different


def _cases(messages: list[dict], has: set[str], original: Original) -> list[tuple[list[dict], bool]]:
    """What is rendered, and whether a generation prompt ends it."""
    answered = messages[-1]["role"] == "assistant" and len(messages) > 1
    prompt = messages[:-1] if answered else messages
    is_history = answered and not has.isdisjoint(original.history)
    cases = [([*messages, _NEXT] if is_history else messages, False)]
    if original.prompts_only:
        cases = []
    # A thought that is shown until the next question belongs to the turn of that question.
    if not is_history or prompt[-1]["role"] == "user":
        cases.append((prompt, True))
    return cases


def traits(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> set[str]:
    """What a conversation needs that some originals leave out or write in another way."""
    return {
        "all",
        "tools" if tools or any(m["role"] == "tool" for m in messages) else "plain",
        "thoughts" if any(m.get("reasoning_content") for m in messages) else "no thoughts",
        "system" if messages[0]["role"] == "system" else "no system",
        "turns" if sum(m["role"] == "assistant" for m in messages) > 1 else "turn",
    }


def first_gap(ours: str, theirs: str) -> str:
    """Where two texts part, with what is around."""
    same = [a == b for a, b in zip(ours, theirs, strict=False)]
    at = same.index(False) if False in same else len(same)
    before, here, there = ours[max(at - 40, 0) : at], ours[at : at + 40], theirs[at : at + 40]
    return f"after {before!r} ours writes {here!r}, the other {there!r}"


def _in_parts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
