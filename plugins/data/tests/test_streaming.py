"""Streams give the same rows, leave out and report the unusable ones, and hold back rows for validation."""

import logging

from .conftest import row

KEYS = {"dataset": "d", "streaming": True, "buffer_size": 1, "preprocessing_batch_size": 2, "max_steps": 1}


def test_a_stream_has_the_rows_of_the_files_and_reports_the_dropped(folder, encoder, caplog):
    caplog.set_level(logging.WARNING, logger="ftk")
    folder.write("d", [row(1), row(2), row(3, "bad"), row(4, "bad"), row(5), row(6, "bad"), row(7)])
    rows = list(folder.load(encoder, **KEYS))
    assert [r["input_ids"] for r in rows] == [[1, 1], [2, 1], [5, 1], [7, 1]]
    assert set(rows[0]) == {"input_ids", "labels", "weights"}
    assert "2 rows of the stream dropped: word 1: a bad word (d.jsonl:3, d.jsonl:4)" in caplog.text


def test_a_stream_can_be_mixed_cut_and_split(folder, encoder):
    folder.write("d", [row(n) for n in range(1, 8)])
    folder.write("e", [row(n) for n in range(11, 15)])
    keys = KEYS | {"dataset": "d,e", "max_samples": 3}
    for strategy in ("concat", "interleave_once"):
        mixed = [r["input_ids"][0] for r in folder.load(encoder, **keys, mix_strategy=strategy)]
        assert sorted(mixed) == [1, 2, 3, 11, 12, 13]
        assert [n for n in mixed if n < 10] == [1, 2, 3]
    run = folder.run(**KEYS, val_size=2)
    train, held = run.load_dataset("train", encoder), run.load_dataset("eval", encoder)
    assert [r["input_ids"][0] for r in held] == [1, 2]
    assert [r["input_ids"][0] for r in train] == [3, 4, 5, 6, 7]


def test_a_stream_is_shuffled_within_its_buffer_by_the_seed(folder, encoder):
    folder.write("d", [row(n) for n in range(1, 21)])
    first, again, other = (
        [r["input_ids"][0] for r in folder.load(encoder, **KEYS | {"buffer_size": 10, "seed": seed})]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sorted(first) == list(range(1, 21))
