"""Encoded data that is kept: found again when it is the same, refused when it is not, never half-written."""

import json

import pytest
from datasets import Dataset

from ftk.problems import RunError

from .conftest import Unused, WordEncoder, first_tokens, row


@pytest.fixture
def kept(folder, encoder, tmp_path):
    folder.write("d", [row(1), row(2, "bad"), row(3)])
    keys = {"dataset": "d", "tokenized_path": str(tmp_path / "kept")}
    assert first_tokens(folder.load(encoder, **keys)) == [1, 3]
    return keys


def test_the_same_data_is_found_again_with_its_account(folder, kept):
    account = json.loads((folder.out / "ledger.json").read_text())
    (folder.out / "ledger.json").unlink()
    assert first_tokens(folder.load(Unused(), **kept)) == [1, 3]
    assert json.loads((folder.out / "ledger.json").read_text()) == account
    with pytest.raises(RunError, match="1 of 3 rows are unusable"):
        folder.load(Unused(), **kept, max_drop="0")


def test_another_encoder_other_rows_and_other_options_are_told_apart(folder, kept):
    with pytest.raises(RunError, match=r"was made in another way: encoder .* was \"words-100\", is \"words-50\""):
        folder.load(WordEncoder(cutoff_len=50), **kept)
    with pytest.raises(RunError, match=r"max_samples was null, is 1"):
        folder.load(WordEncoder(), **kept, max_samples=1)
    folder.write("d", [row(1)])
    with pytest.raises(RunError, match=r"datasets.1 d.data was"):
        folder.load(WordEncoder(), **kept)
    assert first_tokens(folder.load(WordEncoder(), **kept, overwrite_cache=True)) == [1]
    assert first_tokens(folder.load(Unused(), **kept)) == [1]


def test_columns_named_otherwise_are_told_apart(folder, kept):
    folder.register("d", {"file_name": "d.jsonl", "columns": {"query": ""}})
    with pytest.raises(RunError, match=r"datasets.1 d.format was"):
        folder.load(WordEncoder(), **kept)


def test_the_held_back_part_is_split_from_the_kept_data(folder, kept):
    run = folder.run(**kept, val_size=1)
    train, held = run.load_dataset("train", Unused()), run.load_dataset("eval", Unused())
    assert sorted(first_tokens(train) + first_tokens(held)) == [1, 3]


def test_eval_data_is_kept_beside_the_training_data(folder, kept, encoder, tmp_path):
    keys = kept | {"eval_dataset": "d", "eval_on_each_dataset": True}
    folder.load(encoder, "eval", **keys)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["eval-d", "train"]
    assert first_tokens(folder.load(Unused(), "eval", **keys)["d"]) == [1, 3]


def test_a_folder_that_ftk_did_not_write_is_refused(folder, encoder, tmp_path):
    folder.write("d", [row(1)])
    Dataset.from_dict({"input_ids": [[1]]}).save_to_disk(str(tmp_path / "other" / "train"))
    with pytest.raises(RunError, match="does not hold data that ftk encoded"):
        folder.load(encoder, dataset="d", tokenized_path=str(tmp_path / "other"))


def test_a_run_that_fails_keeps_nothing(folder, encoder, tmp_path):
    folder.write("d", [row(1, "bad")])
    with pytest.raises(RunError, match="none of its 1 rows"):
        folder.load(encoder, dataset="d", tokenized_path=str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()
