"""Answers cut short between what a template writes before their text and what it writes behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Protocol, runtime_checkable

from ftk.contracts import Message, Tokens

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What bytes that are no whole character are decoded to."""
BYTES = 4
"""Of the longest character in UTF-8: where each byte is a token, as many tokens make one character."""


@runtime_checkable
class Decodes(Protocol):
    """A template that offers the text of tokens, so that no character is cut in two."""

    def decode(self, ids: Sequence[int]) -> str: ...


def outlines_of(answer: Message) -> list[tuple[Message, Message]]:
    """The answer beside itself with one letter for its text; the same without a text, with one for its thought."""
    thought, text = answer.get("reasoning_content"), answer.get("content")
    out: list[tuple[Message, Message]] = []
    if text and isinstance(text, str):
        out.append((answer, {**answer, "content": unlike(text)}))
    elif not thought:
        out.append((answer, answer))
    if thought:
        answer = {**answer, "content": ""} if text else answer
        out.append((answer, {**answer, "reasoning_content": unlike(thought)}))
    return out


def unlike(text: str) -> str:
    """A letter that the text neither begins nor ends with."""
    return next(letter for letter in "xyz" if letter not in (text.strip()[:1], text.strip()[-1:]))


def spliced(whole: Tokens, outline: Tokens, length: int, template: object) -> Tokens | None:
    """The beginning of ``whole`` with the end that it has in common with ``outline``: what follows the text.

    At most ``length`` tokens, less where the last character would not be whole, as far as ``template`` can tell;
    ``None`` where there is no room for a single character.
    """
    a, b = whole.input_ids, outline.input_ids
    opening, closing = alike(a, b), alike(reversed(a), reversed(b))
    head, tail = length - closing, len(a) - closing
    if isinstance(template, Decodes):
        text = template.decode(a[opening : min(head + BYTES, tail)])
        starts = range(head, max(head - BYTES, opening), -1)
        cut = next((at for at in starts if is_whole(template.decode(a[opening:at]), text)), None)
        if cut is None and head - opening < BYTES:
            return None
        head = head if cut is None else cut
    return Tokens([*a[:head], *a[tail:]], [*whole.weights[:head], *whole.weights[tail:]])


def alike(a: Iterable[int], b: Iterable[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def is_whole(beginning: str, text: str) -> bool:
    """Whether a text's beginning ends with a character of it."""
    return not beginning.endswith(BROKEN) or text.startswith(beginning)
