"""Jinja text to conversation text, by the same environment as ``apply_chat_template`` of transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from ftk.problems import RowError

_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_THOUGHT = re.compile(r"\b(reasoning_content|reasoning|thinking)\b")

Span = tuple[int, int]
"""Start and end, in characters, of a stretch of the rendered text."""


class Jinja:
    """A chat template bound to the special tokens of a tokenizer. Settings of the run are written into its text."""

    def __init__(
        self,
        text: str,
        special_tokens: Mapping[str, Any],
        *,
        default_system: str = "",
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.text = _preamble(default_system, variables or {}) + text
        self.special_tokens = dict(special_tokens)
        self.is_marked = bool(_MARK.search(text))
        self.takes_tools = bool(re.search(r"\btools\b", text))
        self.takes_tool_calls = bool(re.search(r"\btool_calls\b", text))
        self.takes_thoughts = bool(_THOUGHT.search(text))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        generation_prompt: bool = False,
    ) -> tuple[str, list[Span]]:
        """The text, and the stretches of it that are marked as the model's own. Raises RowError."""
        try:
            (text,), spans = render_jinja_template(
                [list(messages)],
                tools=list(tools) or None,
                chat_template=self.text,
                return_assistant_tokens_mask=self.is_marked,
                add_generation_prompt=generation_prompt,
                **self.special_tokens,
            )
        except Exception as e:  # a chat template is somebody's program: whatever it raises is about this row
            raise RowError(f"the template cannot render it: {e}") from e
        return text, spans[0] if spans else []


def _preamble(default_system: str, variables: Mapping[str, Any]) -> str:
    """Jinja that gives variables a value unless a caller does, and conversations a system prompt unless they have one.

    Written in front of the template rather than passed to it, so that a saved tokenizer renders what was trained.
    """
    out = "".join(
        f"{{%- set {name} = {name} if {name} is defined else {_literal(value)} %}}\n"
        for name, value in variables.items()
    )
    if default_system:
        message = f"{{'role': 'system', 'content': {_literal(default_system)}}}"
        out += (
            "{%- if not messages or messages[0]['role'] != 'system' %}\n"
            f"{{%- set messages = [{message}] + messages %}}\n"
            "{%- endif %}\n"
        )
    return out


def _literal(value: Any) -> str:
    # JSON's string escapes, true, false and numbers are Jinja's too, but for the surrogate pairs of ensure_ascii.
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
