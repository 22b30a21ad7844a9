"""Arrow tables written to files as they come, and mapped into memory instead of read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from ftk.problems import RunError


class Spill:
    """Tables, in order, as files of a folder. Columns without any value yet may get a type later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None
        self._count = 0

    def write(self, table: pa.Table) -> None:
        if self._writer is None or not _holds(self._schema, table.schema):
            self.close()
            self._schema = table.schema
            self._writer = pa.ipc.new_stream(self.folder / f"{self._count:05d}.arrow", table.schema)
            self._count += 1
        self._writer.write_table(table if table.schema == self._schema else _as(table, self._schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def mapped(folder: Path, name: str) -> pa.Table | None:
    """The tables of a folder as one. ``name`` is for errors."""
    tables = []
    for path in sorted(folder.glob("*.arrow")):
        with pa.memory_map(str(path)) as file:
            tables.append(pa.ipc.open_stream(file).read_all())
    return joined(tables, name)


def joined(tables: list[pa.Table], name: str) -> pa.Table | None:
    if not tables:
        return None
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as e:
        raise RunError(f"dataset {name!r}: its rows are encoded in different ways: {e}") from None


def _holds(schema: pa.Schema | None, other: pa.Schema) -> bool:
    """Whether a table of the other schema fits, because it differs in columns that are all null."""
    return (
        schema is not None
        and schema.names == other.names
        and all(mine == theirs or theirs == pa.null() for mine, theirs in zip(schema.types, other.types, strict=True))
    )


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        pa.nulls(table.num_rows, field.type) if column.type == pa.null() else column
        for column, field in zip(table.columns, schema, strict=True)
    ]
    return pa.table(columns, schema=schema)
