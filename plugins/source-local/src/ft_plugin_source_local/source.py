"""Opening local files as datasets."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from ftk.markers import hookimpl
from ftk.problems import RunError

from .files import READERS, data_files, file_type
from .table import to_table


class LocalSource:
    @hookimpl
    def ftk_open_source(self, spec) -> Dataset:
        if spec.split != "train":
            raise RunError(f"{spec.name}: split {spec.split!r}: local files have no splits", "name the file itself")
        table = read_files(data_files(Path(spec.location)))
        try:
            # A fingerprint of our own: datasets would pickle and hash the whole table to make one.
            return Dataset(InMemoryTable(table), fingerprint=uuid4().hex)
        except (ValueError, TypeError, pa.ArrowException) as e:
            raise RunError(f"{spec.location}: a column's type cannot be used: {e}") from None


def read_files(files: list[Path]) -> pa.Table:
    """The rows of files of one type, in the order of the files and of the rows in them.

    Raises RunError naming file and place when one is broken, or when there are no rows.
    """
    if file_type(files[0]) in READERS:
        return _rows_required(files, to_table(row for path in files for row in READERS[file_type(path)](path)))
    tables = [read_parquet(path) if file_type(path) == "parquet" else read_arrow(path) for path in files]
    for path, table in zip(files, tables, strict=True):
        _check_columns(files[0], tables[0].schema, path, table.schema)
    return _rows_required(files, _without_dictionaries(pa.concat_tables(tables, promote_options="default")))


def _rows_required(files: list[Path], table: pa.Table) -> pa.Table:
    if not table.num_rows:
        raise RunError(f"{files[0] if len(files) == 1 else files[0].parent}: no rows: the data is empty")
    return table


def read_parquet(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as e:
        raise RunError(f"{path}: broken parquet file: {_first_line(e)}", "is the file truncated?") from None


def read_arrow(path: Path) -> pa.Table:
    """A stream, as datasets writes it, or a file, as Feather does."""
    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                return pa.ipc.open_file(source).read_all()
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError) as e:
        raise RunError(f"{path}: broken arrow file: {_first_line(e)}", "is the file truncated?") from None


def _check_columns(first: Path, wanted: pa.Schema, path: Path, schema: pa.Schema) -> None:
    for field in schema:
        was = wanted.field(field.name).type if field.name in wanted.names else pa.null()
        if was != field.type and pa.null() not in (was, field.type):
            message = f"column {field.name!r} is {was} in {first.name}, and {field.type} in {path.name}"
            raise RunError(f"{path.parent}: {message}", "convert one of the files")


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Dictionary-encoded columns, such as pandas' categories, as plain ones: datasets knows none."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
