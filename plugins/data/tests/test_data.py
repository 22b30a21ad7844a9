"""The data of a run: order, mixing, splits, the ledger, what is kept and what is refused."""

import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from ftk.problems import RunError
from ftk_sdk.testing import make_run

from .conftest import COMPONENTS, WordEncoder, first_tokens, row


def numbers(count, start=1):
    return [row(n) for n in range(start, start + count)]


def test_datasets_are_joined_in_the_order_in_which_they_are_named(folder, encoder):
    folder.write("one", numbers(5))
    folder.write("two", numbers(3, start=11))
    data = folder.load(encoder, dataset="two, one")
    assert first_tokens(data) == [11, 12, 13, 1, 2, 3, 4, 5]
    assert data[0] == {"input_ids": [11, 1], "labels": [-100, 1], "weights": None}
    assert [len(data), data.features["input_ids"].feature.dtype] == [8, "int32"]


@pytest.mark.parametrize(
    "keys", [{"preprocessing_batch_size": 3}, {"preprocessing_batch_size": 2, "preprocessing_num_workers": 3}]
)
def test_batches_and_workers_change_neither_rows_nor_account(folder, encoder, keys):
    folder.write("d", [row(n, "bad" if n % 5 == 0 else "a b") for n in range(1, 21)])
    plain = folder.load(encoder, dataset="d")
    account = (folder.out / "ledger.json").read_text()
    assert folder.load(encoder, dataset="d", **keys).to_list() == plain.to_list()
    assert (folder.out / "ledger.json").read_text() == account


def test_every_row_is_accounted_for_with_its_place(folder, caplog):
    caplog.set_level(logging.INFO, logger="ftk")
    rows = [row(1, "a b c d e f"), row(2, ""), row(3, "fine"), {"output": "x"}, row(5, "so bad"), row(6, "bad")]
    folder.write("d", rows)
    folder.load(WordEncoder(cutoff_len=4), dataset="d")
    (account,) = json.loads((folder.out / "ledger.json").read_text())["train"]
    assert [account[key] for key in ("rows", "kept", "dropped", "sequences")] == [6, 2, 4, 2]
    assert [account[key] for key in ("truncated", "truncated_tokens", "tokens", "loss_tokens")] == [1, 3, 6, 4]
    assert account["reasons"] == [
        {"text": "word 2: a bad word", "rows": 2, "tokens": 0, "places": ["d.jsonl:5", "d.jsonl:6"]},
        {"text": "empty answer: column 'output' is empty", "rows": 1, "tokens": 0, "places": ["d.jsonl:2"]},
        {"text": "empty prompt: column 'instruction' is empty", "rows": 1, "tokens": 0, "places": ["d.jsonl:4"]},
    ]
    assert "dropped 2: word 2: a bad word (d.jsonl:5, d.jsonl:6)" in caplog.text
    assert "cut off 3 tokens of 1 rows: raise cutoff_len to keep them" in caplog.text


@pytest.mark.parametrize(
    ("limit", "stops"), [("2", False), ("1", True), ("20%", False), ("19%", True), (None, False), (0, True)]
)
def test_more_unusable_rows_than_max_drop_stop_the_run(folder, encoder, limit, stops):
    folder.write("d", [*numbers(8), row(9, "bad"), row(10, "bad")])
    if not stops:
        assert len(folder.load(encoder, dataset="d", max_drop=limit)) == 8
        return
    with pytest.raises(RunError) as error:
        folder.load(encoder, dataset="d", max_drop=limit)
    assert "2 of 10 rows are unusable, max_drop is" in str(error.value)
    assert "most often: word 1: a bad word (2 rows: d.jsonl:9, d.jsonl:10)" in str(error.value)
    assert (folder.out / "ledger.json").exists()


def test_one_percent_is_the_limit_unless_the_config_says_otherwise(folder, encoder):
    folder.write("d", [*numbers(98), row(99, "bad"), row(100, "bad")])
    keys = {"dataset": "d", "dataset_dir": str(folder.path), "output_dir": str(folder.out)}
    with pytest.raises(RunError) as error:
        make_run(keys, components=COMPONENTS).load_dataset("train", encoder)
    assert "2 of 100 rows are unusable, max_drop is 1%; most often: word 1: a bad word (2 rows: " in str(error.value)
    assert "set max_drop: 2%" in error.value.hint
    assert len(make_run(keys | {"max_drop": "2%"}, components=COMPONENTS).load_dataset("train", encoder)) == 98


def test_nothing_usable_and_nothing_with_loss_stop_the_run(folder, encoder):
    folder.write("bad", [row(1, "bad"), row(2, "bad")])
    with pytest.raises(RunError, match="dataset 'bad': none of its 2 rows can be used; most often: word 1: a bad word"):
        folder.load(encoder, dataset="bad")
    folder.write("long", [{"instruction": "a " * 200, "output": "x"}])
    with pytest.raises(RunError, match="dataset 'long': not one of its 100 tokens carries loss"):
        folder.load(encoder, dataset="long")
    folder.write("empty", [])
    with pytest.raises(RunError, match="no rows: the data is empty"):
        folder.load(encoder, dataset="empty")


def test_max_samples_are_the_first_rows_of_each_dataset(folder, encoder):
    folder.write("one", numbers(5))
    folder.write("two", numbers(3, start=11))
    assert first_tokens(folder.load(encoder, dataset="one,two", max_samples=2)) == [1, 2, 11, 12]


def test_num_samples_uses_each_row_once_before_any_twice(folder, encoder):
    folder.write("few", numbers(10), entry={"num_samples": 4})
    folder.write("many", numbers(4), entry={"num_samples": 7})
    few = first_tokens(folder.load(encoder, dataset="few"))
    assert len(set(few)) == 4
    assert few == first_tokens(folder.load(encoder, dataset="few"))
    assert few != first_tokens(folder.load(encoder, dataset="few", seed=1))
    many = first_tokens(folder.load(encoder, dataset="many"))
    assert sorted(many[:4]) == [1, 2, 3, 4]
    assert len(many) == 7


def test_places_of_sampled_rows_are_those_in_the_source(folder, encoder):
    table = pa.table({"instruction": ["a", "b", "c"], "output": ["x", "bad", "y"]})
    pq.write_table(table, folder.path / "p.parquet")
    folder.register("p", {"file_name": "p.parquet", "num_samples": 3})
    folder.load(encoder, dataset="p")
    (account,) = json.loads((folder.out / "ledger.json").read_text())["train"]
    assert account["reasons"][0]["places"] == ["row 2"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("interleave_under", {1, 2, 3, 11, 12, 13}),
        ("interleave_over", {1, 2, 3, 4, 5, 11, 12, 13}),
        ("interleave_once", {1, 2, 3, 4, 5, 11, 12, 13}),
    ],
)
def test_interleaving_alternates_until_its_strategy_says_stop(folder, encoder, strategy, expected):
    folder.write("one", numbers(5))
    folder.write("two", numbers(3, start=11))
    tokens = first_tokens(folder.load(encoder, dataset="one,two", mix_strategy=strategy))
    assert tokens[:6] == [1, 11, 2, 12, 3, 13]
    assert set(tokens) == expected
    assert (len(tokens) > len(expected)) == (strategy == "interleave_over")


def test_interleaving_with_odds_depends_on_the_seed_alone(folder, encoder):
    folder.write("one", numbers(30))
    folder.write("two", numbers(30, start=41))
    keys = {"dataset": "one,two", "mix_strategy": "interleave_under", "interleave_probs": "0.9,0.1"}
    tokens = first_tokens(folder.load(encoder, **keys))
    assert tokens == first_tokens(folder.load(encoder, **keys))
    assert tokens != first_tokens(folder.load(encoder, **keys, seed=7))
    assert sum(token < 40 for token in tokens) > 20


@pytest.mark.parametrize(("val_size", "held"), [(0.25, 5), (4, 4), (1, 1)])
def test_val_size_holds_back_what_datasets_itself_would(folder, encoder, val_size, held):
    folder.write("d", numbers(20))
    run = folder.run(dataset="d", val_size=val_size)
    train, validation = run.load_dataset("train", encoder), run.load_dataset("eval", encoder)
    plain = Dataset.from_dict({"n": list(range(1, 21))}).train_test_split(test_size=held, seed=42)
    assert first_tokens(train) == plain["train"]["n"]
    assert first_tokens(validation) == plain["test"]["n"]


def test_val_size_that_leaves_nothing_is_an_error(folder, encoder):
    folder.write("d", numbers(3))
    for size in (3, 0.99):
        with pytest.raises(RunError, match="leaves none to train on"):
            folder.load(encoder, dataset="d", val_size=size)


def test_eval_datasets_are_one_or_each_by_itself(folder, encoder):
    folder.write("one", numbers(3))
    folder.write("two", numbers(2, start=11))
    keys = {"dataset": "one", "eval_dataset": "two,one"}
    assert first_tokens(folder.load(encoder, "eval", **keys)) == [11, 12, 1, 2, 3]
    each = folder.load(encoder, "eval", **keys, eval_on_each_dataset=True)
    assert {name: first_tokens(data) for name, data in each.items()} == {"two": [11, 12], "one": [1, 2, 3]}
    assert json.loads((folder.out / "ledger.json").read_text()).keys() == {"eval-two", "eval-one"}


def test_without_anything_to_evaluate_on_there_is_no_eval_data(folder, encoder):
    folder.write("d", numbers(3))
    assert folder.load(encoder, "eval", dataset="d") is None


def test_a_run_that_only_evaluates_encodes_no_training_data(folder, encoder):
    folder.write("d", numbers(3))
    keys = {"do_train": False, "do_eval": True, "eval_dataset": "d"}
    assert folder.load(encoder, "train", **keys) is None
    assert len(folder.load(encoder, "eval", **keys)) == 3


def test_the_plan_records_the_hash_of_each_file(folder, encoder):
    file = folder.write("d", numbers(3))
    folder.load(encoder, dataset="d")
    record = json.loads((folder.out / "plan.json").read_text())["data"]["train"]["d"]
    assert record["source"] == "local"
    assert list(record["sha256"]) == [str(file)]
    assert len(record["sha256"][str(file)]) == 64


def test_tool_calls_lose_and_gain_no_argument_on_the_way(folder):
    seen = []

    class Keep(WordEncoder):
        def _encode(self, example):
            seen.extend([example.messages[1]["tool_calls"][0]["function"]["arguments"], example.tools[0]])
            return [super()._encode(example)[0]]

    arguments = [{"a": 1, "none": None}, {"b": ["x", 2, {"c": None}]}]
    tools = [{"name": "f", "parameters": {"properties": {"a": {"default": None}}}}, {"name": "g"}]
    rows = [
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": a}}]},
                {"role": "tool", "content": "r"},
                {"role": "assistant", "content": "done"},
            ],
            "tools": [tool],
        }
        for a, tool in zip(arguments, tools, strict=True)
    ]
    folder.write("d", rows, entry={"formatting": "openai"})
    folder.load(Keep(), dataset="d")
    assert seen[0::2] == arguments
    assert [tool["function"] for tool in seen[1::2]] == tools


def test_nulls_that_parquet_put_into_objects_are_not_taken_for_arguments(folder):
    seen = []

    class Keep(WordEncoder):
        def _encode(self, example):
            seen.append(example.messages)
            return super()._encode(example)

    rows = [
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b", "reasoning_content": "hm"}],
    ]
    pq.write_table(pa.table({"messages": rows}), folder.path / "p.parquet")
    folder.load(Keep(), dataset="p.parquet")
    assert seen == rows


def test_media_rows_are_named_in_a_run_of_text(folder, encoder):
    folder.write("d", [row(1), row(2) | {"images": ["cat.png"]}])
    with pytest.raises(RunError, match=r"media rows need a vision template: d.jsonl:2 of dataset 'd' has images"):
        folder.load(encoder, dataset="d")


def test_an_error_that_no_format_should_make_says_where_it_happened(folder):
    class Broken(WordEncoder):
        def _encode(self, example):
            return example.no_such_field

    folder.write("d", [row(1)])
    with pytest.raises(AttributeError):
        folder.load(Broken(), dataset="d")


def test_a_file_named_directly_is_read_by_its_columns(folder, encoder, tmp_path):
    file = tmp_path / "chat.jsonl"
    file.write_text('{"question": "ab", "answer": "x"}\n')
    assert first_tokens(folder.load(encoder, dataset=str(file))) == [2]
    pq.write_table(pa.table({"text": ["abc d"]}), tmp_path / "t.parquet")
    assert folder.load(encoder, dataset=str(tmp_path / "t.parquet"))["input_ids"][:] == [[3, 1]]
    pq.write_table(pa.table({"x": ["abc d"]}), tmp_path / "u.parquet")
    with pytest.raises(RunError, match="no format is known for the columns x"):
        folder.load(encoder, dataset=str(tmp_path / "u.parquet"))


def test_weights_in_one_dataset_and_none_in_another_can_be_mixed(folder):
    class Weighted(WordEncoder):
        def _encode(self, example):
            (encoded,) = super()._encode(example)
            if len(encoded.columns["input_ids"]) > 2:
                encoded.columns["weights"] = [0.5] * len(encoded.columns["input_ids"])
            return [encoded]

    folder.write("one", [row(1)])
    folder.write("two", [row(2, "a b"), row(3)])
    data = folder.load(Weighted(), dataset="one,two", preprocessing_batch_size=1)
    assert data["weights"][:] == [None, [0.5, 0.5, 0.5], None]
