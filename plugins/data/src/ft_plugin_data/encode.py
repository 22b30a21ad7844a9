"""Format and encode rows, in batches, in order, in one process or several."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from tqdm.auto import tqdm

from ft_plugin_source_local.table import AT
from ftk.contracts import Encoded, Encoder, Example, Formatter
from ftk.problems import RowError, RunError

from .ledger import Ledger
from .rows import rows_of
from .truncation import TooLong

MANY = 4_000
"""Rows that are worth a process of their own, and a place in the cache."""
MOST_WORKERS = 16
IDS = pa.list_(pa.int32())

Batch = tuple[pa.Table, Sequence[int]]
"""Rows as they came from the source, and their numbers in it, from 1."""


class RowEncoder:
    """From raw rows to encoded sequences and the account of them. Picklable where formatter and encoder are."""

    def __init__(self, name: str, formatter: Formatter, encoder: Encoder) -> None:
        self.name, self.formatter, self.encoder = name, formatter, encoder

    def __call__(self, batch: Batch) -> tuple[pa.Table | None, Ledger]:
        """The table is ``None`` where no row of the batch can be used."""
        raw, numbers = batch
        ledger = Ledger(self.name)
        sequences = list(self.sequences(rows_of(raw), numbers, ledger))
        if not sequences:
            return None, ledger
        names = list(sequences[0])
        table = pa.table({name: column_of([sequence[name] for sequence in sequences]) for name in names})
        count_tokens(table, ledger)
        return table, ledger

    def sequences(
        self, rows: Sequence[dict[str, Any]], numbers: Sequence[int], ledger: Ledger
    ) -> Iterator[Mapping[str, Any]]:
        """The columns of each training sequence, in order."""
        places = [row.pop(AT, None) or f"row {number}" for row, number in zip(rows, numbers, strict=True)]
        examples = [self._example(row, place) for row, place in zip(rows, places, strict=True)]
        encoded = iter(self.encoder.encode([e for e in examples if isinstance(e, Example)]))
        for example, place in zip(examples, places, strict=True):
            result: list[Encoded] | RowError = next(encoded) if isinstance(example, Example) else example
            if isinstance(result, RowError):
                if isinstance(result, TooLong):
                    message = f"{place} of dataset {self.name!r} has {result}, and truncation is 'error'"
                    raise RunError(message, "raise cutoff_len, or choose another truncation")
                ledger.drop(str(result), place)
            elif not result:
                ledger.drop("nothing to train on", place)
            else:
                cut = sum(sequence.truncated for sequence in result)
                ledger.keep(len(result), cut, next(filter(None, (s.where for s in result)), ""), place)
                yield from (sequence.columns for sequence in result)

    def _example(self, row: Mapping[str, Any], place: str) -> Example | RowError:
        try:
            example = self.formatter(row)
        except RowError as e:
            return e
        except Exception as e:
            e.add_note(f"while the format read {place} of dataset {self.name!r}")
            raise
        media = next((kind for kind in ("images", "videos", "audios") if getattr(example, kind)), None)
        if media and not getattr(self.encoder, "reads_media", False):
            message = f"media rows need a vision template: {place} of dataset {self.name!r} has {media}"
            raise RunError(message, "use a template and a model that take them, or drop the column")
        return example


def column_of(values: list[Any]) -> pa.Array:
    """Values of one encoded column; token ids as 32-bit numbers, which hold every vocabulary in half the memory."""
    first = values[0]
    if isinstance(first, list) and first and type(first[0]) is int:
        with suppress(pa.ArrowException):
            return pa.array(values, IDS)
    array = pa.array(values)
    inner = array.type.value_type if pa.types.is_list(array.type) else None
    return array.cast(IDS) if inner in (pa.int64(), pa.null()) else array


def count_tokens(table: pa.Table, ledger: Ledger) -> None:
    """Tokens of ``*input_ids`` and those of ``*labels`` that are not -100, into the ledger."""
    for name in table.column_names:
        column = table.column(name)
        if not pa.types.is_list(column.type):
            continue
        if name.endswith("input_ids"):
            ledger.tokens += pc.sum(pc.list_value_length(column)).as_py()
        elif name.endswith("labels"):
            supervised = pc.sum(pc.not_equal(pc.list_flatten(column), -100)).as_py() or 0
            ledger.loss_tokens = (ledger.loss_tokens or 0) + supervised


class Batches:
    """Chosen rows of a dataset in Arrow form, ``size`` at a time, each part made when it is asked for."""

    def __init__(self, rows: Dataset, chosen: Sequence[int], size: int) -> None:
        self.rows, self.chosen, self.size = rows.with_format("arrow"), chosen, size

    def __len__(self) -> int:
        return -(-len(self.chosen) // self.size)

    def __getitem__(self, number: int) -> Batch:
        if number >= len(self):
            raise IndexError(number)
        part = self.chosen[number * self.size : (number + 1) * self.size]
        rows = self.rows[part.start : part.stop] if isinstance(part, range) else self.rows[list(part)]
        return rows, [index + 1 for index in part]


def encode_all(
    encode: RowEncoder, batches: Batches, workers: int, title: str, take: Callable[[pa.Table], object]
) -> Ledger:
    """Give every table of encoded rows to ``take``, in order. Raises RunError when a worker process dies."""
    ledger = Ledger(encode.name)
    gc.freeze()  # what is there already is not looked through for garbage again and again, nor copied by a fork
    try:
        _take_all(encode, batches, workers, title, take, ledger)
    finally:
        gc.unfreeze()
    return ledger


def _take_all(
    encode: RowEncoder, batches: Batches, workers: int, title: str, take: Callable[[pa.Table], object], ledger: Ledger
) -> None:
    with tqdm(total=len(batches.chosen), desc=title, unit=" rows", disable=None, leave=False) as bar:
        for table, part in _results(encode, batches, workers):
            ledger.add(part)
            if table is not None:
                take(table)
            bar.update(part.rows)


def worker_count(wanted: int | None, rows: int) -> int:
    """As many processes as were asked for; else one for each processor, where rows are many."""
    if wanted is not None:
        return wanted
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, MOST_WORKERS, rows // MANY)


def _results(encode: RowEncoder, batches: Batches, workers: int) -> Iterator[tuple[pa.Table | None, Ledger]]:
    workers = min(workers, len(batches))
    if workers <= 1:
        yield from map(encode, batches)
        return
    # A fork shares the data and the tokenizer instead of copying them; nothing has touched a GPU yet.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    try:
        with ProcessPoolExecutor(workers, multiprocessing.get_context(method), _begin, (encode, batches)) as pool:
            waiting: deque[Future] = deque()
            for number in range(len(batches)):
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(_encode_here, number))
            while waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool:
        hint = "lower preprocessing_num_workers: it may have run out of memory"
        raise RunError(f"dataset {encode.name!r}: a preprocessing worker died", hint) from None


_here: list[tuple[RowEncoder, Batches]] = []
"""In a worker process: what it encodes with, and what; sent once instead of with every batch."""


def _begin(encode: RowEncoder, batches: Batches) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _here.append((encode, batches))


def _encode_here(number: int) -> tuple[pa.Table | None, Ledger]:
    encode, batches = _here[-1]
    return encode(batches[number])
