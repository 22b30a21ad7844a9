"""Large datasets are encoded by several processes into the cache, and found there by the next run."""

import json
import os

import pyarrow as pa
import pytest

from ft_plugin_data import cache, encoded
from ft_plugin_data.spill import Spill, joined, mapped
from ftk.problems import RunError

from .conftest import Unused, WordEncoder, first_tokens, row

ROWS = 300


@pytest.fixture
def large(folder, tmp_path, monkeypatch):
    """A dataset that counts as large."""
    monkeypatch.setenv("FTK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoded, "MANY", 100)
    folder.write("d", [row(n % 90 + 1, "bad" if n % 7 == 0 else "a b") for n in range(ROWS)])
    return {"dataset": "d", "preprocessing_batch_size": 50}


def entries(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "data").iterdir())


def test_the_second_run_finds_what_the_first_has_made(folder, large, tmp_path):
    first = folder.load(WordEncoder(), **large)
    account = (folder.out / "ledger.json").read_text()
    (key,) = entries(tmp_path)
    assert sorted(p.name for p in (tmp_path / "cache" / "data" / key).iterdir()) == ["00000.arrow", "made.json"]
    again = folder.load(Unused(), **large)
    assert again.to_list() == first.to_list()
    assert (folder.out / "ledger.json").read_text() == account


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_and_cache_change_neither_rows_nor_account(folder, large, workers, monkeypatch):
    data = folder.load(WordEncoder(), **large, preprocessing_num_workers=workers)
    account = (folder.out / "ledger.json").read_text()
    monkeypatch.setattr(encoded, "MANY", 10**6)
    plain = folder.load(WordEncoder(name="x"), **large)
    assert plain.to_list() == data.to_list()
    assert (folder.out / "ledger.json").read_text() == account
    assert len(data) == ROWS - len(range(0, ROWS, 7))


def test_other_data_options_or_code_are_another_entry(folder, large, tmp_path, monkeypatch):
    folder.load(WordEncoder(), **large)
    folder.load(WordEncoder(cutoff_len=3), **large)
    folder.load(WordEncoder(), **large, max_samples=150)
    assert len(entries(tmp_path)) == 3
    monkeypatch.setattr(cache, "package_code", lambda name: "changed")
    folder.load(WordEncoder(), **large)
    assert len(entries(tmp_path)) == 4
    file = folder.path / "d.jsonl"
    file.write_text(file.read_text() + json.dumps(row(5)) + "\n")
    assert len(folder.load(WordEncoder(), **large)) == ROWS - len(range(0, ROWS, 7)) + 1


def test_overwrite_cache_makes_it_anew(folder, large, tmp_path):
    folder.load(WordEncoder(), **large)
    (key,) = entries(tmp_path)
    file = tmp_path / "cache" / "data" / key / "00000.arrow"
    before = file.stat().st_ino
    data = folder.load(WordEncoder(), **large, overwrite_cache=True)
    assert file.stat().st_ino != before
    assert len(first_tokens(data)) == 257


def test_a_run_that_is_stopped_leaves_nothing_half_done(folder, large, tmp_path):
    class Fails(WordEncoder):
        def encode(self, examples):
            if examples[0].messages[0]["content"] == "w" * 15:
                raise RunError("no space")
            return super().encode(examples)

    folder.write("d", [row(n % 90 + 1) for n in range(ROWS)])
    with pytest.raises(RunError, match="no space"):
        folder.load(Fails(), **large | {"preprocessing_batch_size": 7})
    assert entries(tmp_path) == []


def test_a_broken_entry_is_made_anew(folder, large, tmp_path):
    first = folder.load(WordEncoder(), **large).to_list()
    (key,) = entries(tmp_path)
    (tmp_path / "cache" / "data" / key / "00000.arrow").write_bytes(b"junk")
    assert folder.load(WordEncoder(), **large).to_list() == first


def test_entries_that_nobody_used_for_a_month_are_removed(folder, large, tmp_path):
    folder.load(WordEncoder(), **large)
    (key,) = entries(tmp_path)
    os.utime(tmp_path / "cache" / "data" / key, (0, 0))
    folder.load(WordEncoder(cutoff_len=3), **large)
    assert key not in entries(tmp_path)
    assert len(entries(tmp_path)) == 1


def test_small_data_is_not_cached(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FTK_CACHE", str(tmp_path / "cache"))
    folder.write("d", [row(1)])
    folder.load(WordEncoder(), dataset="d")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_is_named(folder, large, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FTK_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError) as error:
        folder.load(WordEncoder(), **large)
    assert "cannot write to the cache" in str(error.value)
    assert "FTK_CACHE" in error.value.hint


def test_a_column_may_get_its_type_later(tmp_path):
    spill = Spill(tmp_path)
    tables = [
        pa.table({"ids": pa.array([[1]]), "weights": pa.nulls(1)}),
        pa.table({"ids": pa.array([[2]]), "weights": pa.array([[0.5]])}),
        pa.table({"ids": pa.array([[3]]), "weights": pa.nulls(1)}),
    ]
    for table in tables:
        spill.write(table)
    spill.close()
    assert mapped(tmp_path, "d").to_pydict() == {"ids": [[1], [2], [3]], "weights": [None, [0.5], None]}
    assert mapped(tmp_path, "d").equals(joined(tables, "d"))
    assert len(list(tmp_path.iterdir())) == 2
    assert mapped(tmp_path / "none", "d") is None
