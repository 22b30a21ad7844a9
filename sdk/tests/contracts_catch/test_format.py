"""The format contract passes a good format, and each of its assertions catches a broken one."""

from functools import partial

import pytest

from ftk.contracts import Example
from ftk.markers import hookimpl
from ftk.problems import RowError
from ftk_sdk.contracts import FormatContract
from ftk_sdk.fakes import installed_with, plugin


def read(row, text):
    if not isinstance(row.get(text), str):
        raise RowError(f"column {text!r} holds no text")
    return Example(text=row[text])


class Lines:
    @hookimpl
    def ftk_formatter(self, run, spec):
        return partial(read, text=spec.columns.get("text", "text"))


class LinesContract(FormatContract):
    read = (({"line": "a"}, Example(text="a")),)
    refused = ({"line": 3}, {})
    spec = {"columns": {"text": "line"}}


class TestAGoodFormat(LinesContract):
    component = "format:lines"
    plugins = installed_with(plugin(offers={"format:lines": Lines}))


def shout(row):
    return Example(text=row["line"].upper())


def read_anything(row):
    return Example(text=str(row.get("line")))


def read_and_pop(row):
    return Example(text=row.pop("line"))


class Shouts:
    @hookimpl
    def ftk_formatter(self, run, spec):
        return shout


class Anything:
    @hookimpl
    def ftk_formatter(self, run, spec):
        return read_anything


class Pops:
    @hookimpl
    def ftk_formatter(self, run, spec):
        return read_and_pop


class Local:
    @hookimpl
    def ftk_formatter(self, run, spec):
        return lambda row: Example(text=row["line"])


BROKEN = [
    ("test_rows_become_these_examples", Shouts, "text='A'"),
    ("test_a_row_that_it_cannot_use_is_a_row_error", Anything, "{'line': 3} should be refused"),
    ("test_a_row_that_it_cannot_use_is_a_row_error", Shouts, "a row that it cannot use is a RowError"),
    ("test_it_leaves_the_row_as_it_was", Pops, "it changed the row to {}"),
    ("test_it_can_be_sent_to_a_worker_process", Local, "it cannot be pickled"),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_format_is_caught(caught, method, broken, message):
    class Contract(LinesContract):
        component = "format:broken"
        plugins = installed_with(plugin(offers={"format:broken": broken}))

    assert message in caught(Contract, method)


@pytest.mark.parametrize("method", ["test_rows_become_these_examples", "test_a_row_that_it_cannot_use_is_a_row_error"])
def test_a_contract_without_rows_proves_nothing(caught, method):
    class Contract(TestAGoodFormat):
        read = refused = ()

    assert "give at least one row" in caught(Contract, method)
