"""Answers compared as mathematical expressions, by math-verify."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from math_verify import parse, verify

from ft_plugin_rewards.exact_answer import final
from ft_plugin_rewards.scoring import TookTooLong, at_most
from ft_plugin_rewards.specs import Reward
from ftk.markers import hookimpl
from ftk.run import Run

from .config import RewardMathConfig


class Provider:
    @hookimpl
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        # It warns at every call that its own limits of time are off; they would take the place of ours.
        logging.getLogger("math_verify").setLevel(logging.ERROR)
        return {"math_verify": partial(math_verify, seconds=run.config[RewardMathConfig].reward_math_timeout)}


def math_verify(
    *, completions: Sequence[str], answer: Sequence[Any], seconds: float, **columns: Any
) -> list[float | None]:
    """1 or 0; ``None`` where the data has no answer that can be read as an expression."""
    return [equal(said, wanted, seconds) for said, wanted in zip(completions, answer, strict=True)]


def equal(said: str, wanted: Any, seconds: float) -> float | None:
    try:
        with at_most(seconds):
            if not (gold := expression(wanted)):
                return None
            return float(verify(gold, parse(said, parsing_timeout=None), timeout_seconds=None))
    except TookTooLong:
        return 0.0


def expression(wanted: Any) -> list[Any]:
    """An answer of the data as math-verify reads it: LaTeX with or without its dollars, or a plain number."""
    if wanted is None:
        return []
    text, _ = final(str(wanted))
    return parse(f"${text.strip().strip('$')}$", parsing_timeout=None) or parse(text, parsing_timeout=None)
