"""Rows out of Arrow, as the formats see them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Python rows of a table.

    Columns of the type ``datasets.Json`` come back exactly as they were stored. Arrow's own structs cannot tell a key
    that is missing from one that is null, so nulls inside of structs are left out: a tool call must not be given
    arguments that nobody wrote.
    """
    columns = [_values(table.column(name)) for name in table.column_names]
    return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    if isinstance(column.type, pa.JsonType):
        return [value if value is None else json.loads(value) for value in values]
    return [_without_nulls(value) for value in values] if pa.types.is_nested(column.type) else values


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
