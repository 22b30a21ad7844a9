"""Format and encode rows, in batches, in order, in one process or several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from ft_plugin_source_local.table import AT
from ftk.contracts import Encoded, Encoder, Example, Formatter
from ftk.problems import RowError, RunError

from .ledger import Ledger
from .rows import rows_of
from .truncation import TooLong

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
    array = pa.array(values)
    inner = array.type.value_type if pa.types.is_list(array.type) else None
    return array.cast(pa.list_(pa.int32())) if inner in (pa.int64(), pa.null()) else array


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


def encode_all(
    encode: RowEncoder, batches: Sequence[Batch], workers: int, title: str
) -> tuple[pa.Table | None, Ledger]:
    """All batches, their order kept. Raises RunError when a worker process dies."""
    ledger = Ledger(encode.name)
    tables = []
    total = sum(len(numbers) for _, numbers in batches)
    with tqdm(total=total, desc=title, unit=" rows", disable=None, leave=False) as bar:
        for table, part in _results(encode, batches, workers):
            ledger.add(part)
            tables += [] if table is None else [table]
            bar.update(part.rows)
    return _concatenated(tables, encode.name), ledger


def _results(encode: RowEncoder, batches: Sequence[Batch], workers: int) -> Iterator[tuple[pa.Table | None, Ledger]]:
    workers = min(workers, len(batches))
    if workers <= 1:
        yield from map(encode, batches)
        return
    context = multiprocessing.get_context()
    try:
        with ProcessPoolExecutor(workers, context, _take_encoder, (encode,)) as pool:
            yield from pool.map(_encode_here, batches)
    except BrokenProcessPool:
        hint = "lower preprocessing_num_workers: it may have run out of memory"
        raise RunError(f"dataset {encode.name!r}: a preprocessing worker died", hint) from None


_encoder_here: list[RowEncoder] = []
"""In a worker process: what it encodes with, sent once instead of with every batch."""


def _take_encoder(encode: RowEncoder) -> None:
    _encoder_here.append(encode)


def _encode_here(batch: Batch) -> tuple[pa.Table | None, Ledger]:
    return _encoder_here[-1](batch)


def _concatenated(tables: list[pa.Table], name: str) -> pa.Table | None:
    if not tables:
        return None
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as e:
        raise RunError(f"dataset {name!r}: its rows are encoded in different ways: {e}") from None
