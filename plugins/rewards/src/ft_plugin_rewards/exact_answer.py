"""Whether a completion gives the answer that the data has, as a number where that is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ftk.markers import hookimpl

from .specs import Reward

_NUMBER = re.compile(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")


class Provider:
    @hookimpl
    def ftk_rewards(self) -> dict[str, Reward]:
        return {"exact_answer": exact_answer}


def exact_answer(*, completions: Sequence[str], answer: Sequence[Any], **columns: Any) -> list[float | None]:
    """1 or 0 for each; ``None`` where the data has no answer."""
    pairs = zip(completions, answer, strict=True)
    return [None if wanted is None else float(agree(said, str(wanted))) for said, wanted in pairs]


def agree(said: str, wanted: str) -> bool:
    """Whether two texts end in the same answer: the same number, or else the same words."""
    wanted, _ = final(wanted)
    said, marked = final(said)
    if _NUMBER.fullmatch(wanted.strip(" $.%\n")):
        number, found = as_number(wanted), _NUMBER.findall(said)
        if number is None or not found or (marked and len(found) > 1):
            return False
        return as_number(found[-1]) == number
    return plain(said) == plain(wanted)


def final(text: str) -> tuple[str, bool]:
    """The part of a text that is marked as its answer, or all of it, and whether it was marked.

    Marks are ``<answer>``, ``\\boxed{}``, and the ``####`` of GSM8K; the last one counts.
    """
    for mark in (_TAGGED, _BOXED):
        if found := mark.findall(text):
            return found[-1], True
    _, sign, after = text.rpartition("####")
    return (after, True) if sign else (text, False)


def as_number(text: str) -> Fraction | None:
    found = _NUMBER.search(text)
    try:
        return Fraction(found[0].replace(",", "")) if found else None
    except (ValueError, ZeroDivisionError):
        return None


def plain(text: str) -> str:
    """Words only: case, space and punctuation around them do not matter."""
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'`*$")
