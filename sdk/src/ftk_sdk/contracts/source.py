"""What holds for every source of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ftk.contracts import DatasetSpec
from ftk.problems import FtkError

from .subject import Subject


class SourceContract(Subject):
    """Set ``component``, and write ``write``."""

    rows: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"question": "What is 2 + 3?", "answer": "5"},
        {"question": 'Quote "this", please,\nin two lines', "answer": ""},
        {"question": "\u00bfQu\u00e9 hora es? \u4f60\u597d \U0001f600", "answer": "noon"},
    )

    def write(self, folder: Path, rows: Sequence[Mapping[str, Any]]) -> str:
        """Put the rows where the source finds them; returns the location that the user would write."""
        raise NotImplementedError

    def open(self, location: str) -> Any:
        name = self.component.partition(":")[2]
        spec = DatasetSpec(name="rows", source=name, location=location, formatting="alpaca")
        return self.run().open_source(spec)

    def test_it_gives_the_rows_as_they_were_written(self, tmp_path):
        opened = [visible(row) for row in self.open(self.write(tmp_path, self.rows))]
        wanted = [dict(row) for row in self.rows]
        assert opened == wanted, f"it gave {opened!r}"

    def test_it_can_be_read_twice(self, tmp_path):
        opened = self.open(self.write(tmp_path, self.rows))
        assert list(opened) == list(opened), "the second reading differs from the first"

    def test_rows_have_columns(self, tmp_path):
        opened = self.open(self.write(tmp_path, self.rows))
        columns = getattr(opened, "column_names", None)
        assert columns, f"{type(opened).__name__} has no column_names: give a Dataset or an IterableDataset"
        assert set(visible(dict.fromkeys(columns))) == set(self.rows[0]), f"its columns are {columns}"

    def test_a_location_that_is_not_there_is_an_error_that_names_it(self, tmp_path):
        location = self.missing(self.write(tmp_path, self.rows))
        try:
            list(self.open(location))
        except FtkError as e:
            assert location in str(e), f"the error does not name {location!r}: {e}"
        except Exception as e:
            pytest.fail(f"{location!r} raised {type(e).__name__}: {e}; raise a RunError that says what to do")
        else:
            pytest.fail(f"{location!r} is not there, and it was opened")

    def missing(self, location: str) -> str:
        """A location of the same form where nothing is."""
        path = Path(location)
        return str(path.with_name(f"missing-{path.name}"))


def visible(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without columns such as ``__at__``, in which a source says where a row was."""
    return {name: value for name, value in row.items() if not name.startswith("__")}
