"""Whether a completion has the wanted form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from ftk.markers import hookimpl
from ftk.run import Run

from .config import RewardsConfig
from .specs import Reward


class Provider:
    @hookimpl
    def ftk_rewards(self, run: Run) -> dict[str, Reward]:
        wanted = re.compile(run.config[RewardsConfig].rewards_format, re.DOTALL)
        return {"format": partial(matches, wanted=wanted)}


def matches(*, completions: Sequence[str], wanted: re.Pattern[str], **columns: Any) -> list[float]:
    """1 for a completion that ``wanted`` matches as a whole, white space around it left out; else 0."""
    return [float(wanted.fullmatch(text.strip()) is not None) for text in completions]
