"""Rows that are read and encoded while training, from a place that can be kept and found again.

A stream is a chain of steps. Each gives one row at a time, and tells its state as JSON: where it is in its data, and
what it holds in its hands. A run that goes on from that state sees the very rows that it would have seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from datasets import Dataset, IterableDataset

from ftk.contracts import Encoder

from .config import DataConfig
from .encode import Batches, RowEncoder
from .ledger import Ledger
from .opening import Opened

WARNINGS = 5
"""Batches of a stream whose dropped rows are reported; more would drown the log."""

Row = dict[str, Any]
State = dict[str, Any]


class Step(Protocol):
    def begin(self, epoch: int, state: State | None = None) -> None:
        """Be at the beginning of a pass over the data, or in the middle of it."""

    def next(self) -> Row | None:
        """The next row; ``None`` at the end of the pass."""

    def state(self) -> State:
        """For ``begin``. Rows in it are shared, not copied."""


class Source:
    """The encoded rows of one dataset, in order. Its ledger is that of the first pass."""

    def __init__(self, part: Opened, encode: RowEncoder, cfg: DataConfig, seed: int) -> None:
        self.rows, self.encode, self.size, self.most = part.rows, encode, cfg.preprocessing_batch_size, cfg.max_samples
        self.seed, self.warned = seed, 0
        self.ledger = Ledger(encode.name)

    def begin(self, epoch: int, state: State | None = None) -> None:
        self.epoch = epoch
        self._before: State = state["before"] if state else {"seen": 0, "place": None, "ledger": None}
        if kept := self._before["ledger"]:
            self.ledger = Ledger.from_dict(kept)
        elif epoch == 0:
            self.ledger = Ledger(self.encode.name)
        self._seen = self._before["seen"]
        self._batches = self._read(self._before["place"])
        self._rows: list[Row] = []
        self._taken = 0
        if state and state["taken"]:
            self._fill()
            self._taken = state["taken"]

    def next(self) -> Row | None:
        while self._taken >= len(self._rows):
            if not self._fill():
                return None
        self._taken += 1
        return self._rows[self._taken - 1]

    def state(self) -> State:
        return {"before": self._before, "taken": self._taken}

    def _fill(self) -> bool:
        """Encode the next batch."""
        ledger = self.ledger.as_dict()
        place, raw = next(self._batches, (None, None))
        if raw is None or (self.most is not None and self._seen >= self.most):
            return False
        self._before = {"seen": self._seen, "place": place, "ledger": ledger}
        raw = raw if self.most is None else raw.slice(0, self.most - self._seen)
        table, account = self.encode((raw, range(self._seen + 1, self._seen + raw.num_rows + 1)))
        self._seen += raw.num_rows
        if self.epoch == 0:
            self.ledger.add(account)
            self._warn(account)
        self._rows, self._taken = [] if table is None else table.to_pylist(), 0
        return True

    def _read(self, place: Any) -> Iterator[tuple[Any, pa.Table]]:
        """Batches of raw rows from a place on, each with its own place."""
        if isinstance(self.rows, Dataset):
            batches = Batches(self.rows, range(len(self.rows)), self.size)
            return ((number, batches[number][0]) for number in range(place or 0, len(batches)))
        return self._stream(self.rows, place)

    def _stream(self, rows: IterableDataset, place: Any) -> Iterator[tuple[Any, pa.Table]]:
        if rows.num_shards > 1:  # the order of files; that of rows is a later step's
            rows = rows.shuffle(seed=self.seed, buffer_size=1)
        rows = rows.with_format("arrow")
        rows.set_epoch(self.epoch)
        if place is not None:
            rows.load_state_dict(place)
        batches = rows.iter(self.size)
        while True:
            place = rows.state_dict()
            raw = next(batches, None)
            if raw is None:
                return
            yield place, raw

    def _warn(self, account: Ledger) -> None:
        if not account.dropped or self.warned >= WARNINGS:
            return
        self.warned += 1
        for reason in account.commonest():
            places = ", ".join(reason.places)
            message = "dataset %r: %d rows of the stream dropped: %s (%s)"
            logging.getLogger("ftk").warning(message, account.name, reason.rows, reason.text, places)


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


class Windows:
    """Rows made of the rows of a window by a function."""

    def __init__(self, inner: Step, function: Callable[[Sequence[Row]], list[Row]], size: int) -> None:
        self.inner, self.function, self.size = inner, function, size

    def begin(self, epoch: int, state: State | None = None) -> None:
        self.inner.begin(epoch, state and state["before"])
        self._before = state["before"] if state else None
        self._rows: list[Row] = []
        self._taken = 0
        if state and state["taken"]:
            self._fill()
            self._taken = state["taken"]

    def state(self) -> State:
        return {"before": self._before, "taken": self._taken}

    def next(self) -> Row | None:
        while self._taken >= len(self._rows):
            if not self._fill():
                return None
        self._taken += 1
        return self._rows[self._taken - 1]

    def _fill(self) -> bool:
        self._before = self.inner.state()
        window = [row for _, row in zip(range(self.size), iter(self.inner.next, None), strict=False)]
        self._rows, self._taken = self.function(window) if window else [], 0
        return bool(window)


class Stream:
    """A chain of steps as the trainer sees it. Iterating makes one pass.

    ``account`` shows and writes the ledgers of what has been read.
    """

    def __init__(self, step: Step, sources: Sequence[Source], account: Callable[[list[Ledger]], None]) -> None:
        self.step, self.sources, self._account = step, sources, account

    def __iter__(self) -> Iterator[Row]:
        self.step.begin(0)
        return iter(self.step.next, None)

    def in_windows(self, function: Callable[[Sequence[Row]], list[Row]], size: int) -> Stream:
        """The stream with every ``size`` rows in the hands of a function that makes other rows of them."""
        return Stream(Windows(self.step, function, size), self.sources, self._account)

    def account(self) -> None:
        self._account([source.ledger for source in self.sources])


def generator(seed: Sequence[int], state: Mapping[str, Any] | None) -> np.random.Generator:
    random = np.random.Generator(np.random.PCG64(list(seed)))
    if state is not None:
        random.bit_generator.state = state
    return random


def sources_of(opened: Sequence[Opened], encoder: Encoder, cfg: DataConfig, seed: int) -> list[Source]:
    return [Source(part, RowEncoder(part.spec.name, part.formatter, encoder), cfg, seed) for part in opened]


def mixed(sources: Sequence[Source], cfg: DataConfig, seed: int) -> Step:
    """One step of several, not shuffled."""
    return sources[0] if len(sources) == 1 else Mixed(sources, cfg.mix_strategy, cfg.interleave_probs, seed)


def held_back(cfg: DataConfig, seed: int) -> set[int]:
    """Which rows of every pass are for validation: drawn from the first ``buffer_size``."""
    held = int(cfg.val_size)
    drawn = np.random.default_rng(seed).choice(max(cfg.buffer_size, held), held, replace=False)
    return set(drawn.tolist())
