"""Rows of a table in an SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets

from ftk.contracts import DatasetSpec
from ftk.markers import hookimpl
from ftk.problems import RunError

if TYPE_CHECKING:
    from ftk.run import Run


class SkeletonName:
    @hookimpl
    def ftk_open_source(self, run: Run, spec: DatasetSpec) -> datasets.Dataset:
        return datasets.Dataset.from_list(rows_of(spec.location, table=spec.subset or "rows"))


def rows_of(location: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table. Raises RunError when the file or the table is not there."""
    if not Path(location).is_file():
        raise RunError(f"there is no file {location!r}", "correct the location of the dataset")
    with closing(sqlite3.connect(f"file:{location}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        quoted = '"' + table.replace('"', '""') + '"'
        try:
            return [dict(row) for row in database.execute(f"select * from {quoted}")]
        except sqlite3.DatabaseError as e:
            raise RunError(f"cannot read table {table!r} of {location!r}: {e}", "name the table as 'subset'") from e
