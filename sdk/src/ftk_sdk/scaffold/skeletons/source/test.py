import sqlite3
from contextlib import closing

import pytest
from ft_plugin_skeleton_name import plugin
from ft_plugin_skeleton_name.table import rows_of

from ftk.problems import RunError
from ftk_sdk.contracts import PluginContract, SourceContract


def make_table(path, rows, table="rows"):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"create table {table} (question text, answer text)")
        database.executemany(f"insert into {table} values (:question, :answer)", rows)
    return str(path)


class TestPlugin(PluginContract):
    plugin = plugin


class TestSkeletonName(SourceContract):
    component = "source:skeleton-name"

    def write(self, folder, rows):
        return make_table(folder / "data.sqlite", rows)


def test_a_table_that_is_not_there_is_an_error_that_names_it(tmp_path):
    location = make_table(tmp_path / "data.sqlite", [], table="other")
    with pytest.raises(RunError, match="cannot read table 'rows'"):
        rows_of(location, table="rows")
