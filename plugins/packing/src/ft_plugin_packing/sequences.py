"""Rows of several documents, made when they are asked for: the data itself is neither copied nor moved."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch.utils.data import Dataset

from ft_plugin_data.streaming import Stream
from ft_plugin_trainer.targets import IGNORE
from ftk.problems import RunError

from .bins import Bins, fill

LENGTHS = "document_lengths"
"""Column of a packed row: the numbers of tokens of its documents, in order."""
WINDOW = 4096
"""Documents of a stream that are packed together, at most."""

Row = dict[str, Any]


class Packed(Dataset):
    """Row ``i`` holds the documents of bin ``i``."""

    def __init__(self, rows: datasets.Dataset, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        lengths, _ = measured(rows)
        self.tokens = int(lengths.sum())
        self.bins = fitted(lengths, capacity)

    def __str__(self) -> str:
        full = self.tokens / (len(self) * self.capacity)
        return f"{len(self.rows)} documents in {len(self)} sequences of {self.capacity} tokens, {full:.2%} full"

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: int) -> Row:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Row]:
        """All rows of a batch at once, as torch's loader asks for them."""
        bins = [self.bins[i] for i in indices]
        documents = iter(as_rows(self.rows[np.concatenate(bins).tolist()]))
        return [joined([next(documents) for _ in members]) for members in bins]


class Concatenated(Dataset):
    """All documents one after the other, cut into blocks.

    Each block but the first begins with the last token of the one before, as context only, so that every token but the
    very first is a target exactly once.
    """

    def __init__(self, rows: datasets.Dataset, block: int) -> None:
        self.rows, self.block = rows, block
        lengths, repeated = measured(rows)
        self.starts = np.concatenate([[0], np.cumsum(lengths - repeated)])
        """Where in the stream of tokens each document begins."""

    def __str__(self) -> str:
        return f"{len(self.rows)} documents one after the other in {len(self)} sequences of {self.block} tokens"

    def __len__(self) -> int:
        return blocks_of(int(self.starts[-1]), self.block)

    def __getitem__(self, index: int) -> Row:
        if index >= len(self):
            raise IndexError(index)
        start, stop = span(index, self.block)
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        last = int(np.searchsorted(self.starts, stop, "left"))
        here = start - int(self.starts[first])
        return run_together(as_rows(self.rows[first:last]), here, here + self.block)


class PackWindow:
    """Packs the documents of a part of a stream, the same documents always alike."""

    def __init__(self, capacity: int, *, isolated: bool, seed: int) -> None:
        self.capacity, self.isolated, self.seed = capacity, isolated, seed

    def __call__(self, documents: Sequence[Row]) -> list[Row]:
        return self._packed(documents) if self.isolated else self._cut(documents)

    def _packed(self, documents: Sequence[Row]) -> list[Row]:
        lengths = np.array([len(row["input_ids"]) for row in documents])
        bins = fitted(lengths, self.capacity)
        rows = [joined([documents[i] for i in bins[b]]) for b in range(len(bins))]
        # Nothing shuffles a stream after this, and bins of many short documents come first.
        random.Random(f"{self.seed} {lengths.tolist()}").shuffle(rows)
        return rows

    def _cut(self, documents: Sequence[Row]) -> list[Row]:
        total = sum(len(row["input_ids"]) - (row["labels"][0] == IGNORE) for row in documents)
        spans = [span(i, self.capacity) for i in range(blocks_of(total, self.capacity))]
        whole = run_together(documents, 0, total)
        return [{**{name: values[i:j] for name, values in whole.items()}, "weights": None} for i, j in spans]


def packed(rows: Any, capacity: int, *, isolated: bool, window: int, seed: int) -> Any:
    """Rows of documents -> rows of up to ``capacity`` tokens. Raises RunError for rows that are no documents.

    ``window`` and ``seed`` are for streams.
    """
    if isinstance(rows, Stream):
        return rows.in_windows(PackWindow(capacity, isolated=isolated, seed=seed), min(window, WINDOW))
    return Packed(rows, capacity) if isolated else Concatenated(rows, capacity)


def fitted(lengths: np.ndarray, capacity: int) -> Bins:
    try:
        return fill(lengths, capacity)
    except ValueError as e:
        raise RunError(f"packing: {e} tokens", "encode the data with the same cutoff_len") from None


def measured(rows: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The number of tokens of each row, and 1 where the first is a repetition that only gives context, else 0."""
    lengths, repeated = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for table in rows.select_columns(["input_ids", "labels"]).with_format("arrow").iter(10_000):
        lengths.append(pc.list_value_length(table["input_ids"]).to_numpy().astype(np.int64))
        first = pc.equal(pc.list_element(table["labels"], 0), pa.scalar(IGNORE))
        repeated.append(first.to_numpy().astype(np.int64))
    return np.concatenate(lengths), np.concatenate(repeated)


def as_rows(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def joined(documents: Sequence[Row]) -> Row:
    """One row of several documents. What would be predicted from another document is no target."""
    weights = None
    if any(row.get("weights") is not None for row in documents):
        weights = _flat(row.get("weights") or [1.0] * len(row["input_ids"]) for row in documents)
    return {
        "input_ids": _flat(row["input_ids"] for row in documents),
        "labels": _flat([IGNORE, *row["labels"][1:]] for row in documents),
        "weights": weights,
        LENGTHS: [len(row["input_ids"]) for row in documents],
    }


def run_together(documents: Sequence[Row], start: int, stop: int) -> Row:
    """Tokens ``start`` to ``stop`` of the documents one after the other, without the repetitions."""
    parts: dict[str, Iterator[list[int]]] = {
        name: (row[name][row["labels"][0] == IGNORE :] for row in documents) for name in ("input_ids", "labels")
    }
    return {name: _flat(lists)[start:stop] for name, lists in parts.items()}


def blocks_of(tokens: int, block: int) -> int:
    return max(1, -(-(tokens - 1) // (block - 1))) if tokens else 0


def span(index: int, block: int) -> tuple[int, int]:
    """From where to where in the stream of tokens a block goes."""
    return index * (block - 1), index * (block - 1) + block


def _flat(lists: Any) -> list[Any]:
    return list(chain.from_iterable(lists))
