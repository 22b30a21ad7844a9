"""The source contract passes a good source, and each of its assertions catches a broken one."""

import json
from pathlib import Path

import datasets
import pytest

from ftk.markers import hookimpl
from ftk.problems import RunError
from ftk_sdk.contracts import SourceContract
from ftk_sdk.fakes import installed_with, plugin


def rows_of(location):
    try:
        return json.loads(Path(location).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no file {location!r}") from None


class JsonArray:
    @hookimpl
    def ftk_open_source(self, run, spec):
        return datasets.Dataset.from_list(rows_of(spec.location))


class JsonContract(SourceContract):
    def write(self, folder, rows):
        path = folder / "rows.json"
        path.write_text(json.dumps(list(rows)), encoding="utf-8")
        return str(path)


class TestAGoodSource(JsonContract):
    component = "source:json-array"
    plugins = installed_with(plugin(offers={"source:json-array": JsonArray}))


class DropsEmpty:
    @hookimpl
    def ftk_open_source(self, run, spec):
        return datasets.Dataset.from_list([row for row in rows_of(spec.location) if row["answer"]])


class Once:
    @hookimpl
    def ftk_open_source(self, run, spec):
        return iter(rows_of(spec.location))


class Renames:
    @hookimpl
    def ftk_open_source(self, run, spec):
        return datasets.Dataset.from_list(rows_of(spec.location)).rename_column("answer", "reply")


class Raises:
    @hookimpl
    def ftk_open_source(self, run, spec):
        return datasets.Dataset.from_list(json.loads(Path(spec.location).read_text(encoding="utf-8")))


class Silent:
    @hookimpl
    def ftk_open_source(self, run, spec):
        return []


class Vague:
    @hookimpl
    def ftk_open_source(self, run, spec):
        raise RunError("something went wrong")


BROKEN = [
    ("test_it_gives_the_rows_as_they_were_written", DropsEmpty, "it gave [{'question': 'What is 2 + 3?'"),
    ("test_it_can_be_read_twice", Once, "the second reading differs from the first"),
    ("test_rows_have_columns", Once, "list_iterator has no column_names"),
    ("test_rows_have_columns", Renames, "its columns are ['question', 'reply']"),
    ("test_a_location_that_is_not_there_is_an_error_that_names_it", Raises, "raised FileNotFoundError"),
    ("test_a_location_that_is_not_there_is_an_error_that_names_it", Silent, "is not there, and it was opened"),
    ("test_a_location_that_is_not_there_is_an_error_that_names_it", Vague, "the error does not name"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_source_is_caught(caught, tmp_path, method, broken, message):
    class Contract(JsonContract):
        component = "source:broken"
        plugins = installed_with(plugin(offers={"source:broken": broken}))

    assert message in caught(Contract, method, tmp_path=tmp_path)
