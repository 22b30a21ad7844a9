"""Rows that are read and encoded while training."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pyarrow as pa
from datasets import IterableDataset

from ftk.contracts import Encoder

from .config import DataConfig
from .encode import RowEncoder
from .ledger import Ledger
from .mixing import mix
from .opening import Opened

WARNINGS = 5
"""Batches of a stream whose dropped rows are reported; more would drown the log."""


class StreamEncoder:
    """Encodes batches of one dataset; rows that cannot be used are left out and reported. Picklable."""

    def __init__(self, encode: RowEncoder) -> None:
        self.encode, self.seen, self.warned = encode, 0, 0

    def __call__(self, raw: pa.Table) -> pa.Table:
        table, ledger = self.encode((raw, range(self.seen + 1, self.seen + raw.num_rows + 1)))
        self.seen += raw.num_rows
        if ledger.dropped and self.warned < WARNINGS:
            self.warned += 1
            self._warn(ledger)
        return pa.table({}) if table is None else table

    def _warn(self, ledger: Ledger) -> None:
        for reason in ledger.commonest():
            places = ", ".join(reason.places)
            message = "dataset %r: %d rows of the stream dropped: %s (%s)"
            logging.getLogger("ftk").warning(message, ledger.name, reason.rows, reason.text, places)


def stream(opened: Sequence[Opened], encoder: Encoder, cfg: DataConfig, seed: int) -> IterableDataset:
    """The datasets as one stream of encoded rows, mixed, not shuffled."""
    parts = []
    for part in opened:
        rows = part.rows if cfg.max_samples is None else part.rows.take(cfg.max_samples)
        encode = StreamEncoder(RowEncoder(part.spec.name, part.formatter, encoder))
        rows = rows.with_format("arrow").map(
            encode, batched=True, batch_size=cfg.preprocessing_batch_size, remove_columns=list(part.columns)
        )
        parts.append(rows.with_format(None))
    return mix(parts, cfg, seed)


def split_stream(data: IterableDataset, cfg: DataConfig, seed: int) -> tuple[IterableDataset, IterableDataset | None]:
    """(train, validation): shuffled within the buffer, then the first ``val_size`` rows held back."""
    data = data.shuffle(seed=seed, buffer_size=cfg.buffer_size)
    held = int(cfg.val_size)
    return (data.skip(held), data.take(held)) if held else (data, None)
