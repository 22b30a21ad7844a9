"""What holds for every reward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from .subject import Subject

ODD = (
    "",
    " \n",
    "\u00e9\u4e2d\U0001f600",
    "\x00",
    "{",
    "```",
    "</think>",
    "<answer>",
    "\\boxed{",
    "9" * 400,
    "a " * 5000,
)
"""What a model may say before it has learnt anything."""


class RewardContract(Subject):
    """Set ``component`` and ``keys``, a ``good`` and a ``bad`` completion, and the other columns of their ``row``."""

    beside: ClassVar[Sequence[str]] = ("addon:rewards",)
    good: ClassVar[str]
    bad: ClassVar[str]
    row: ClassVar[Mapping[str, Any]] = {}

    def scores(self, *completions: str) -> list[float | None]:
        run = self.run()
        found = run.merged("ftk_rewards", into="the rewards", run=run)
        assert len(found) == 1, f"{self.component} gives the rewards {', '.join(found) or 'none'}, not one"
        prompt = [{"role": "user", "content": "a question"}]
        columns = {"finished": True, **self.row}
        (reward,) = found.values()
        given = reward(
            prompts=[prompt for _ in completions],
            completions=list(completions),
            **{name: [value for _ in completions] for name, value in columns.items()},
        )
        return [None if value is None else float(value) for value in given]

    def test_what_is_good_gets_more_than_what_is_bad(self):
        good, bad = self.scores(self.good, self.bad)
        assert good is not None and bad is not None, f"it gives {good} and {bad}"
        assert good > bad, f"what is good gets {good}, what is bad {bad}"

    def test_a_completion_gets_its_number_whatever_the_others_are(self):
        alone = self.scores(self.good) + self.scores(self.bad) + self.scores(self.good)
        together = self.scores(self.good, self.bad, self.good)
        assert together == alone, f"together they get {together}, each alone {alone}"

    def test_whatever_a_model_says_gets_a_finite_number_or_none(self):
        for text in ODD:
            try:
                (number,) = self.scores(text)
            except Exception as e:
                pytest.fail(f"{text[:20]!r} raised {type(e).__name__}: {e}")
            assert number is None or math.isfinite(number), f"{text[:20]!r} gets {number}"
