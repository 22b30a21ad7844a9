"""Rows that are read and encoded while training, from a place that can be kept and found again.

A stream is a chain of steps. Each gives one row at a time, and tells its state as JSON: where it is in its data, and
what it holds in its hands. A run that goes on from that state sees the very rows that it would have seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, IterableDataset

from ftk.contracts import Encoder

from .config import DataConfig
from .encode import Batches, RowEncoder
from .ledger import Ledger
from .opening import Opened
from .steps import Mixed, Row, Several, State, Step, Windows

WARNINGS = 5
"""Batches of a stream whose dropped rows are reported; more would drown the log."""


class Source(Several):
    """The encoded rows of one dataset, in order. Its ledger is that of the first pass."""

    def __init__(self, part: Opened, encode: RowEncoder, cfg: DataConfig, seed: int) -> None:
        self.rows, self.encode, self.size, self.most = part.rows, encode, cfg.preprocessing_batch_size, cfg.max_samples
        self.seed, self.warned = seed, 0
        self.ledger = Ledger(encode.name)

    def begin(self, epoch: int, state: State | None = None) -> None:
        self.epoch = epoch
        before = self._before = state["before"] if state else {"seen": 0, "place": None, "ledger": None}
        if before["ledger"]:
            self.ledger = Ledger.from_dict(before["ledger"])
        elif epoch == 0:
            self.ledger = Ledger(self.encode.name)
        self._seen = before["seen"]
        self._batches = self._read(before["place"])
        self._refill(state)

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
