"""Streams give the same rows, account for the unusable ones, hold back rows, and go on from any place."""

import itertools
import json
import logging

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_plugin_data.config import DataConfig
from ft_plugin_data.encode import RowEncoder
from ft_plugin_data.opening import Opened
from ft_plugin_data.steps import Apart, Mixed, Shuffled, Windows
from ft_plugin_data.streaming import Source
from ft_plugin_format_alpaca.alpaca import COLUMNS, read_alpaca
from ftk.contracts import DatasetSpec

from .conftest import WordEncoder, row

KEYS = {"dataset": "d", "streaming": True, "buffer_size": 1, "preprocessing_batch_size": 2, "max_steps": 1}


def firsts(rows):
    return [r["input_ids"][0] for r in rows]


def test_a_stream_has_the_rows_of_the_files_and_accounts_for_the_dropped(folder, encoder, caplog):
    caplog.set_level(logging.WARNING, logger="ftk")
    folder.write("d", [row(1), row(2), row(3, "bad"), row(4, "bad"), row(5), row(6, "bad"), row(7)])
    stream = folder.load(encoder, **KEYS)
    rows = list(stream)
    assert [r["input_ids"] for r in rows] == [[1, 1], [2, 1], [5, 1], [7, 1]]
    assert set(rows[0]) == {"input_ids", "labels", "weights"}
    assert "2 rows of the stream dropped: word 1: a bad word (d.jsonl:3, d.jsonl:4)" in caplog.text
    stream.account()
    (account,) = json.loads((folder.out / "ledger.json").read_text())["train"]
    assert [account[key] for key in ("rows", "kept", "dropped", "sequences")] == [7, 4, 3, 4]


def test_a_stream_can_be_mixed_cut_and_split(folder, encoder):
    folder.write("d", [row(n) for n in range(1, 8)])
    folder.write("e", [row(n) for n in range(11, 15)])
    keys = KEYS | {"dataset": "d,e", "max_samples": 3}
    for strategy in ("concat", "interleave_once"):
        mixed = firsts(folder.load(encoder, **keys, mix_strategy=strategy))
        assert sorted(mixed) == [1, 2, 3, 11, 12, 13]
        assert [n for n in mixed if n < 10] == [1, 2, 3]
    run = folder.run(**KEYS | {"buffer_size": 7}, val_size=2)
    train, held = run.load_dataset("train", encoder), run.load_dataset("eval", encoder)
    assert len(firsts(held)) == 2
    assert sorted(firsts(train) + firsts(held)) == [1, 2, 3, 4, 5, 6, 7]
    assert firsts(held) == firsts(held)


@pytest.mark.parametrize("strategy", ["interleave_under", "interleave_over", "interleave_once"])
@pytest.mark.parametrize("odds", [None, "0.7,0.3"])
def test_rows_take_turns_as_in_data_that_is_encoded_before(folder, encoder, strategy, odds):
    folder.write("d", [row(n) for n in range(1, 30)])
    folder.write("e", [row(n) for n in range(41, 50)])
    keys = {"dataset": "d,e", "mix_strategy": strategy} | ({"interleave_probs": odds} if odds else {})
    streamed = firsts(folder.load(encoder, **KEYS | keys))
    plain = firsts(folder.load(encoder, **keys))
    if strategy != "interleave_over":
        assert set(streamed) == set(plain) or strategy == "interleave_under"
    else:
        assert set(streamed) == set(plain) == {*range(1, 30), *range(41, 50)}
    if odds is None:
        assert streamed[:8] == plain[:8] == [1, 41, 2, 42, 3, 43, 4, 44]
    assert len(streamed) == len(set(streamed)) or strategy == "interleave_over"


def test_a_stream_is_shuffled_within_its_buffer_by_the_seed(folder, encoder):
    folder.write("d", [row(n) for n in range(1, 21)])
    first, again, other = (
        firsts(folder.load(encoder, **KEYS | {"buffer_size": 10, "seed": seed})) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sorted(first) == list(range(1, 21))


def source(numbers, *, hub=False, **keys):
    rows = datasets.Dataset.from_list([row(n, "bad" if n % 5 == 0 else "a") for n in numbers])
    spec = DatasetSpec(name="d", source="hf", location="", formatting="alpaca")
    data = rows.to_iterable_dataset(num_shards=3) if hub else rows
    opened = Opened(spec=spec, rows=data, formatter=lambda r: read_alpaca(r, names=COLUMNS), columns=rows.column_names)
    cfg = DataConfig(preprocessing_batch_size=3, **keys)
    return Source(opened, RowEncoder("d", opened.formatter, WordEncoder()), cfg, 5)


def chain(hub=False, **keys):
    """Every step there is."""
    parts = [source(range(1, 24), hub=hub), source(range(41, 52), max_samples=8)]
    mixed = Mixed(parts, keys.get("strategy", "interleave_over"), keys.get("odds"), 3)
    apart = Apart(mixed, {1, 4, 9}, only=False)
    joined = Windows(Shuffled(apart, 6, 3), lambda rows: [{"input_ids": firsts(rows)}, {"input_ids": [len(rows)]}], 3)
    return Shuffled(joined, 2, 4)


@settings(max_examples=40, deadline=None)
@given(
    at=st.integers(0, 30),
    epoch=st.integers(0, 2),
    hub=st.booleans(),
    strategy=st.sampled_from(["concat", "interleave_under", "interleave_over", "interleave_once"]),
    odds=st.sampled_from([None, [0.3, 0.7]]),
)
def test_a_stream_goes_on_from_any_place_as_if_never_stopped(at, epoch, hub, strategy, odds):
    whole = chain(hub, strategy=strategy, odds=odds)
    whole.begin(epoch)
    list(itertools.islice(iter(whole.next, None), at))
    state = json.loads(json.dumps(whole.state()))
    rest = list(iter(whole.next, None))
    again = chain(hub, strategy=strategy, odds=odds)
    again.begin(epoch, state)
    assert list(iter(again.next, None)) == rest


def test_the_account_is_whole_after_going_on():
    first = source(range(1, 24))
    first.begin(0)
    rows = [first.next() for _ in range(10)]
    again = source(range(1, 24))
    again.begin(0, json.loads(json.dumps(first.state())))
    rows += list(iter(again.next, None))
    assert firsts(rows) == [n for n in range(1, 24) if n % 5]
    assert [again.ledger.rows, again.ledger.kept, again.ledger.dropped] == [23, 19, 4]
    again.begin(1)
    assert len(list(iter(again.next, None))) == 19
    assert again.ledger.rows == 23
