import sqlite3
from contextlib import closing

import pytest
from ft_plugin_skeleton_name import plugin
from ft_plugin_skeleton_name.table import rows_of

from ftk.problems import RunError
from ftk_sdk.contracts import PluginContract, SourceContract
from ftk_sdk.testing import make_plan


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


def test_a_dataset_of_its_name_brings_it_into_the_plan():
    assert "source:skeleton-name" in make_plan({"dataset": "skeleton-name:data.sqlite"})
