"""The steps of a stream: each gives one row at a time, and tells its state as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Row = dict[str, Any]
State = dict[str, Any]


class Step(Protocol):
    def begin(self, epoch: int, state: State | None = None) -> None:
        """Be at the beginning of a pass over the data, or in the middle of it."""

    def next(self) -> Row | None:
        """The next row; ``None`` at the end of the pass."""

    def state(self) -> State:
        """For ``begin``. Rows in it are shared, not copied."""


class Several:
    """What steps share that make several rows at once: ``_fill`` makes the next ones, from ``_before`` on."""

    _before: State | None

    def next(self) -> Row | None:
        while self._taken >= len(self._rows):
            if not self._fill():
                return None
        self._taken += 1
        return self._rows[self._taken - 1]

    def state(self) -> State:
        return {"before": self._before, "taken": self._taken}

    def _refill(self, state: State | None) -> None:
        self._rows: list[Row] = []
        self._taken = 0
        if state and state["taken"]:
            self._fill()
            self._taken = state["taken"]

    def _fill(self) -> bool:
        raise NotImplementedError


class Mixed:
    """Rows of several steps, end to end or in turns, as ``mix_strategy`` and ``interleave_probs`` say."""

    def __init__(self, parts: Sequence[Step], strategy: str, odds: Sequence[float] | None, seed: int) -> None:
        self.parts, self.strategy, self.odds, self.seed = parts, strategy, odds, seed

    def begin(self, epoch: int, state: State | None = None) -> None:
        count = len(self.parts)
        start = {"turn": 0, "ended": [False] * count, "passes": [0] * count, "random": None, "parts": [None] * count}
        state = start | (state or {})
        self.epoch, self.turn = epoch, state["turn"]
        self.ended, self.passes = list(state["ended"]), list(state["passes"])
        self.random = generator((self.seed, epoch, 1), state["random"])
        for part, passes, kept in zip(self.parts, self.passes, state["parts"], strict=True):
            part.begin(epoch + passes, kept)

    def state(self) -> State:
        return {
            "turn": self.turn,
            "ended": list(self.ended),
            "passes": list(self.passes),
            "random": self.random.bit_generator.state,
            "parts": [part.state() for part in self.parts],
        }

    def next(self) -> Row | None:
        while not self._is_over():
            here = self._drawn()
            row = self.parts[here].next()
            if row is None:
                self.ended[here] = True
                if self.strategy != "interleave_over" or self._is_over():
                    continue
                self.passes[here] += 1  # some rows come again until every dataset has ended
                self.parts[here].begin(self.epoch + self.passes[here])
                row = self.parts[here].next()
                if row is None:
                    return None
            self.turn = (here + 1) % len(self.parts) if self.strategy != "concat" else here
            return row
        return None

    def _is_over(self) -> bool:
        return any(self.ended) if self.strategy == "interleave_under" else all(self.ended)

    def _drawn(self) -> int:
        """Whose turn it is, of those that have not ended, or in ``interleave_over`` of all."""
        able = [i for i, ended in enumerate(self.ended) if not ended or self.strategy == "interleave_over"]
        if self.strategy == "concat":
            return able[0]
        if self.odds is None:
            return next((i for i in able if i >= self.turn), able[0])
        odds = np.array([self.odds[i] for i in able])
        if not odds.sum():
            return able[0]
        return int(self.random.choice(able, p=odds / odds.sum()))


class Apart:
    """Leaves out, or gives only, the rows at some places of the pass."""

    def __init__(self, inner: Step, places: set[int], *, only: bool) -> None:
        self.inner, self.places, self.only = inner, places, only
        self.last = max(places, default=-1)

    def begin(self, epoch: int, state: State | None = None) -> None:
        self.at = state["at"] if state else 0
        self.inner.begin(epoch, state and state["inner"])

    def state(self) -> State:
        return {"at": self.at, "inner": self.inner.state()}

    def next(self) -> Row | None:
        while not (self.only and self.at > self.last) and (row := self.inner.next()) is not None:
            self.at += 1
            if (self.at - 1 in self.places) == self.only:
                return row
        return None


class Shuffled:
    """Rows drawn at random from a buffer, which is kept full."""

    def __init__(self, inner: Step, size: int, seed: int) -> None:
        self.inner, self.size, self.seed = inner, size, seed

    def begin(self, epoch: int, state: State | None = None) -> None:
        self.buffer = list(state["buffer"]) if state else []
        self.ended = state["ended"] if state else False
        self.random = generator((self.seed, epoch, 2), state and state["random"])
        self.inner.begin(epoch, state and state["inner"])

    def state(self) -> State:
        random = self.random.bit_generator.state
        return {"buffer": list(self.buffer), "ended": self.ended, "random": random, "inner": self.inner.state()}

    def next(self) -> Row | None:
        buffer = self.buffer
        while not self.ended and len(buffer) < self.size:
            row = self.inner.next()
            if row is None:
                self.ended = True
            else:
                buffer.append(row)
        if not buffer:
            return None
        drawn = int(self.random.integers(len(buffer)))
        buffer[drawn], buffer[-1] = buffer[-1], buffer[drawn]
        return buffer.pop()


class Windows(Several):
    """Rows that a function makes of the rows of a window."""

    def __init__(self, inner: Step, function: Callable[[Sequence[Row]], list[Row]], size: int) -> None:
        self.inner, self.function, self.size = inner, function, size

    def begin(self, epoch: int, state: State | None = None) -> None:
        self.inner.begin(epoch, state and state["before"])
        self._before = state["before"] if state else None
        self._refill(state)

    def _fill(self) -> bool:
        self._before = self.inner.state()
        window = [row for _, row in zip(range(self.size), iter(self.inner.next, None), strict=False)]
        self._rows, self._taken = self.function(window) if window else [], 0
        return bool(window)


def generator(seed: Sequence[int], state: Mapping[str, Any] | None) -> np.random.Generator:
    random = np.random.Generator(np.random.PCG64(list(seed)))
    if state is not None:
        random.bit_generator.state = state
    return random
