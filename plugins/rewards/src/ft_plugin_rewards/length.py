"""Shortness: a completion that was cut off is as bad as one that is too long."""

from __future__ import annotations

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
        return {"length": partial(shortness, limit=run.config[RewardsConfig].rewards_length)}


def shortness(*, completions: Sequence[str], finished: Sequence[bool], limit: int, **columns: Any) -> list[float]:
    """1 up to ``limit`` characters, falling in a line to 0 at twice as many; 0 for what has not ended by itself."""
    pairs = zip(completions, finished, strict=True)
    return [min(1.0, max(0.0, 2.0 - len(text) / limit)) if whole else 0.0 for text, whole in pairs]
