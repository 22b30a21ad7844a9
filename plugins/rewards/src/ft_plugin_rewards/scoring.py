"""Calling rewards: weights, limits of time, and failures that are counted instead of ending a run."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftk.contracts import Message
from ftk.problems import RunError

from .config import RewardsConfig
from .files import names_of
from .specs import Reward

if TYPE_CHECKING:
    from ftk.run import Run


@dataclass(frozen=True, slots=True)
class Scores:
    """One entry for each completion."""

    totals: list[float]
    """Weighted sums; NaN where no reward gave a number."""
    parts: dict[str, list[float | None]]
    """Each reward's own numbers, without its weight; ``None`` where it did not apply or failed."""
    failures: dict[str, int]
    """How many completions each reward failed on."""


class Rewards:
    """All rewards of a run."""

    def __init__(self, run: Run) -> None:
        config = run.config[RewardsConfig]
        self.rewards: dict[str, Reward] = run.merged("ftk_rewards", into="the rewards", run=run)
        if not self.rewards:
            raise RunError("no reward is named, and there is nothing to learn from", "set reward_funcs: exact_answer")
        self.weights = dict.fromkeys(self.rewards, 1.0)
        names = names_of(config.reward_funcs or ()).values()
        self.weights |= dict(zip(names, config.reward_weights or (), strict=False))
        self.timeout, self.logger = config.reward_timeout, run.logger
        self._worked: set[str] = set()
        self._told: set[str] = set()
        if self.timeout and not can_interrupt():
            message = "reward_timeout needs the main thread of a Unix process"
            raise RunError(message, "set reward_timeout: 0, and let rewards limit themselves")

    def score(
        self, prompts: Sequence[Sequence[Message]], completions: Sequence[str], columns: Mapping[str, Sequence[Any]]
    ) -> Scores:
        """Call every reward with everything. A failure counts for the completions it concerns, and the run goes on.

        Raises RunError where a reward that has never worked fails on all completions: it will not work later either.
        """
        parts: dict[str, list[float | None]] = {}
        failures: dict[str, int] = {}
        for name, reward in self.rewards.items():
            values, reasons = self._call(reward, prompts, completions, columns)
            parts[name], failures[name] = values, len(reasons)
            if len(reasons) < len(completions):
                self._worked.add(name)
            elif reasons and name not in self._worked:
                message = f"reward {name!r} failed on all of its first {len(reasons)} completions: {reasons[0]}"
                raise RunError(message, f"it is given prompts, completions, {', '.join(columns)}")
            if reasons and name not in self._told:
                self._told.add(name)
                self.logger.warning(
                    "reward %r failed on %d of %d completions; such failures are counted in the log: %s",
                    *(name, len(reasons), len(completions), reasons[0]),
                )
        return Scores(self._totals(parts, len(completions)), parts, failures)

    def _call(self, reward: Reward, prompts, completions, columns) -> tuple[list[float | None], list[str]]:
        n = len(completions)
        try:
            with at_most(self.timeout):
                given = reward(prompts=list(prompts), completions=list(completions), **columns)
            given = list(given)
        except TookTooLong:
            return [None] * n, [f"it took longer than reward_timeout={self.timeout}"] * n
        except Exception as e:
            return [None] * n, [f"{type(e).__name__}: {e}"] * n
        if len(given) != n:
            return [None] * n, [f"it gave {len(given)} numbers for {n} completions"] * n
        values, reasons = [], []
        for value in given:
            number = number_of(value)
            if value is not None and number is None:
                reasons.append(f"it gave {value!r}, which is no finite number")
            values.append(number)
        return values, reasons

    def _totals(self, parts: Mapping[str, Sequence[float | None]], n: int) -> list[float]:
        totals = []
        for i in range(n):
            known = [self.weights[name] * v for name, values in parts.items() if (v := values[i]) is not None]
            totals.append(math.fsum(known) if known else math.nan)
        return totals


def number_of(value: Any) -> float | None:
    """As a finite float; ``None`` for everything else. Scalars of numpy and torch are numbers."""
    if isinstance(value, (str, bytes)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


class TookTooLong(BaseException):
    """Not an ``Exception``: a reward that catches everything must not catch this."""


def can_interrupt() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TookTooLong in what runs longer, also in the middle of a regular expression. 0: no limit.

    A limit within another is the shorter of both; the outer one goes on behind it.
    """
    if not seconds:
        yield
        return

    def stop(signum: int, frame: Any) -> None:
        raise TookTooLong

    outer, _ = signal.getitimer(signal.ITIMER_REAL)
    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, outer or seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:  # not at once: who catches the end of the inner limit shall not catch that of the outer one with it
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - began), 0.05))
