"""Rows as Arrow tables that give every value back as it was.

Arrow has one type per column and merges objects: ``{"a": 1}`` beside ``{"b": 2}`` comes back as
``{"a": 1, "b": None}``, and a column of texts and lists is refused. A tool call's arguments must not change, so a
column stays plain only where all its values are of one scalar type; every other column holds JSON text, typed
``datasets.Json``, which readers decode. A missing value and a top-level ``null`` are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

import pyarrow as pa

from ftk.problems import RunError

AT = "__at__"
"""Name of the column that says where a row stands: ``file:line``."""

CHUNK = 2_000
"""Rows turned into Arrow at a time: an Arrow string array ends at 2 GB, which leaves 1 MB for each row."""

SCALARS = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


def to_table(rows: Iterable[tuple[str, dict[str, Any]]]) -> pa.Table:
    """Rows, each with its place, as a table with a column ``__at__``. Raises RunError for text that is not Unicode."""
    iterator = iter(rows)
    chunks: list[dict[str, pa.Array]] = []
    while part := list(islice(iterator, CHUNK)):
        places = [at for at, _ in part]
        names = dict.fromkeys(name for _, row in part for name in row)
        chunks.append({name: _array(name, [row.get(name) for _, row in part], places) for name in names})
        chunks[-1][AT] = pa.array(places, pa.string())
    if not chunks:
        return pa.table({AT: pa.array([], pa.string())})
    names = dict.fromkeys(name for chunk in chunks for name in chunk if name != AT)
    return pa.table({name: _joined([_column(chunk, name) for chunk in chunks]) for name in [*names, AT]})


def _column(chunk: dict[str, pa.Array], name: str) -> pa.Array:
    return chunk[name] if name in chunk else pa.nulls(len(chunk[AT]))


def _array(name: str, values: list[Any], places: list[str]) -> pa.Array:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    try:
        if len(kinds) == 1 and (plain := SCALARS.get(kinds.pop())):
            return pa.array(values, plain)
    except OverflowError:
        pass  # an integer beyond 64 bits stays whole as JSON
    except UnicodeEncodeError:
        raise _not_unicode(name, values, places) from None
    try:
        return _json(values)
    except UnicodeEncodeError:
        raise _not_unicode(name, values, places) from None


def _json(values: list[Any]) -> pa.Array:
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def _joined(arrays: list[pa.Array]) -> pa.ChunkedArray:
    """Chunks as one column; where their types differ, as JSON."""
    types = {array.type for array in arrays} - {pa.null()}
    if not types:
        return pa.chunked_array([array.cast(pa.string()) for array in arrays])
    if len(types) > 1:
        arrays = [array if isinstance(array.type, pa.JsonType) else _json(array.to_pylist()) for array in arrays]
        types = {pa.json_()}
    (kind,) = types
    return pa.chunked_array([pa.nulls(len(array), kind) if array.type == pa.null() else array for array in arrays])


def _not_unicode(name: str, values: list[Any], places: list[str]) -> RunError:
    for value, at in zip(values, places, strict=True):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as e:
            half = ascii(e.object[e.start])
            return RunError(f"{at}: column {name!r} holds {half}, half of a character", "remove it, or write the pair")
    raise AssertionError("called without a value that is not Unicode")
