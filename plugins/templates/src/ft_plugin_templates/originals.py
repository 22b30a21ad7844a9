"""Vendors' own templates, where a machine has them, for the tests of packs to compare with."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from ftk.problems import RowError

from .battery import BATTERY
from .contract import tokenizer_for
from .engine import ChatTemplate
from .messages import normal_messages, normal_tools
from .pack import read
from .rendering import Jinja

TODAY = datetime(2024, 7, 26)
"""The date of originals that print one."""
_NOW = re.compile(r"""strftime_now\((['"])(.*?)\1\)""")


@cache
def find_originals() -> Mapping[str, str]:
    """Texts by SHA-256: trl's templates, and those in the folder ``originals`` of FTK_CONFORMANCE_DIR."""
    folders = [Path(os.environ.get("FTK_CONFORMANCE_DIR", "/nonexistent")) / "originals"]
    if (spec := importlib.util.find_spec("trl")) is not None and spec.origin:
        folders.append(Path(spec.origin).parent / "chat_templates")
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.jinja")]
    return {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}


def count_alike(
    package: str,
    name: str,
    original: str,
    *,
    without: Sequence[str] = (),
    default_system: str | None = None,
    before: str = "",
    after: str = "",
    in_parts: bool = False,
    whole: bool = True,
    **settings: Any,
) -> int:
    """How many conversations of the battery a template and its original write alike, whole and as prompts.

    without         what it is no original for: titles, or "tools", "thoughts", "system", "no system", "turns"
    default_system  in place of the template's own, for an original without one
    before, after   what the template alone writes in front of a conversation, and behind its last answer
    in_parts        the original takes content as a list of parts
    whole           False compares prompts only
    settings        variables of both

    Conversations that the template refuses do not count. AssertionError names the first one with a difference.
    """
    facts = read(package, name)
    tokenizer = tokenizer_for(facts)
    ours = ChatTemplate(facts, tokenizer, default_system=default_system, variables=settings)
    original = _NOW.sub(lambda call: repr(TODAY.strftime(call[2])), original)
    known = Jinja(original, {})
    lost = {"tools": not known.takes_tool_calls, "thoughts": not known.takes_thoughts}
    alike = 0
    for title, (messages, tools) in BATTERY.items():
        if any(lost.get(trait) or trait in without for trait in {title, *_traits(messages, tools)}):
            continue
        prompt = messages[:-1] if messages[-1]["role"] == "assistant" and len(messages) > 1 else messages
        cases = [(prompt, True), (messages, False)] if whole else [(prompt, True)]
        try:
            texts = [ours.render(turns, tools=tools, generation_prompt=asked) for turns, asked in cases]
            ours._weighted(messages, tools, "last")
        except RowError:
            continue
        for (turns, asked), text in zip(cases, texts, strict=True):
            theirs, _ = render_jinja_template(
                [_in_parts(normal_messages(turns)) if in_parts else normal_messages(turns)],
                tools=normal_tools(tools) or None,
                chat_template=original,
                add_generation_prompt=asked,
                **tokenizer.special_tokens_map,
                **settings,
            )
            expected = before + theirs[0] + ("" if asked or turns[-1]["role"] != "assistant" else after)
            assert text == expected, f"{name}, {title!r}"
        alike += 1
    return alike


def _traits(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> set[str]:
    """What a conversation needs that some originals leave out or write in another way."""
    return {
        "tools" if tools or any(m["role"] == "tool" for m in messages) else "",
        "thoughts" if any(m.get("reasoning_content") for m in messages) else "",
        "system" if messages[0]["role"] == "system" else "no system",
        "turns" if sum(m["role"] == "assistant" for m in messages) > 1 else "",
    }


def _in_parts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
