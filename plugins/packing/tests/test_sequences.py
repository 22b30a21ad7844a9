"""What packed rows hold, from data in memory and from streams."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from ft_plugin_data.streaming import Stream
from ft_plugin_packing.collate import PackedCollator
from ft_plugin_packing.sequences import LENGTHS, packed
from ft_plugin_trainer.encoding import NextTokenCollator
from ftk.problems import RunError

IGNORE = -100


def documents(count=30, *, seed=0, longest=20):
    """Row ``n`` consists of tokens ``1000 * n``, ``1000 * n + 1`` and so on."""
    lengths = np.random.default_rng(seed).integers(2, longest + 1, count)
    ids = [list(range(1000 * n, 1000 * n + int(length))) for n, length in enumerate(lengths, 1)]
    return [{"input_ids": i, "labels": [IGNORE, *i[1:]], "weights": None} for i in ids]


def pack(rows, capacity=32, **options):
    return packed(rows, capacity, **{"isolated": True, "window": 8, "seed": 1, **options})


def parts(row):
    """The documents of a packed row."""
    edges = np.cumsum([0, *row[LENGTHS]])
    return [row["input_ids"][i:j] for i, j in pairwise(edges)]


def test_every_document_is_in_one_row_whole():
    rows = documents()
    made = pack(Dataset.from_list(rows))
    found = [part for i in range(len(made)) for part in parts(made[i])]
    assert sorted(found) == [row["input_ids"] for row in rows]
    assert all(sum(made[i][LENGTHS]) == len(made[i]["labels"]) <= 32 for i in range(len(made)))
    assert str(made) == f"30 documents in {len(made)} sequences of 32 tokens, {made.tokens / len(made) / 32:.2%} full"


def test_the_first_token_of_a_document_is_no_target():
    rows = [{"input_ids": [n] * 4, "labels": [n] * 4} for n in (1, 2)]
    (row,) = list(pack(Dataset.from_list(rows)))
    assert row["labels"] == [IGNORE, 1, 1, 1, IGNORE, 2, 2, 2]


def test_a_document_without_weights_counts_as_1_beside_one_that_has_them():
    rows = [
        {"input_ids": [5, 6, 7], "labels": [5, 6, 7], "weights": None},
        {"input_ids": [8, 9], "labels": [8, 9], "weights": [0.0, 0.5]},
    ]
    assert pack(Dataset.from_list(rows))[0]["weights"] == [1.0, 1.0, 1.0, 0.0, 0.5]


def test_selected_rows_are_packed_as_they_are_selected():
    rows = documents()
    made = pack(Dataset.from_list(rows).select([4, 2, 9]))
    assert sorted(part[0] for i in range(len(made)) for part in parts(made[i])) == [3000, 5000, 10000]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_collates_them_with_positions_that_begin_anew(workers):
    made = pickle.loads(pickle.dumps(pack(Dataset.from_list(documents()))))
    collate = PackedCollator(NextTokenCollator(0))
    for batch in DataLoader(made, batch_size=2, collate_fn=collate, num_workers=workers):
        assert set(batch) == {"input_ids", "labels", "position_ids"}
        ids, positions = batch["input_ids"], batch["position_ids"]
        assert positions[ids > 0].equal(ids[ids > 0] % 1000)
        for row in positions[ids == 0].split((ids == 0).sum(1).tolist()):
            assert row.tolist() == list(range(len(row)))


def test_plain_rows_are_collated_as_without_packing():
    rows, plain = documents(3), NextTokenCollator(0)
    batch, expected = PackedCollator(plain)(rows), plain(rows)
    assert batch.keys() == expected.keys()
    assert all(batch[name].equal(expected[name]) for name in batch)


def test_a_row_longer_than_cutoff_len_is_refused():
    with pytest.raises(RunError, match="packing: lengths from 7 to 18 do not fit into bins of 10 tokens"):
        pack(Dataset.from_list([*documents(5), *documents(1, seed=3)]), capacity=10)


class Documents:
    """A step of a stream that has rows in memory."""

    def __init__(self, rows):
        self.rows = rows

    def begin(self, epoch, state=None):
        self.at = state or 0

    def state(self):
        return self.at

    def next(self):
        self.at += 1
        return self.rows[self.at - 1] if self.at <= len(self.rows) else None


def stream(rows):
    return Stream(Documents(rows), (), lambda ledgers: None)


def test_a_stream_is_packed_in_parts_and_loses_nothing():
    rows = documents()
    made = list(pack(stream(rows)))
    assert sorted(part for row in made for part in parts(row)) == [row["input_ids"] for row in rows]
    first = {part[0] // 1000 for row in made[:2] for part in parts(row)}
    assert first <= set(range(1, 9)), "the first part is the first 8 documents"
    assert made == list(pack(stream(rows))) != list(pack(stream(rows), seed=2))


def test_a_stream_goes_on_where_it_was_left():
    made = pack(stream(documents()))
    straight, taken = list(made), []
    made.step.begin(0)
    for _ in range(5):
        taken.append(made.step.next())
    again = pack(stream(documents()))
    again.step.begin(0, made.step.state())
    assert taken + list(iter(again.step.next, None)) == straight


def long_texts():
    """Two texts as they are encoded for pre-training at ``cutoff_len=6``, the first of them in parts."""
    return [
        {"input_ids": [1, 2, 3, 4, 5, 6], "labels": [1, 2, 3, 4, 5, 6]},
        {"input_ids": [6, 7, 8], "labels": [IGNORE, 7, 8]},
        {"input_ids": [9, 10, 11, 12], "labels": [9, 10, 11, 12]},
    ]


@pytest.mark.parametrize("make", [Dataset.from_list, stream])
@pytest.mark.parametrize("block", [2, 5, 6, 12, 50])
def test_concatenated_every_token_but_the_first_is_a_target_once_with_all_before_it(make, block):
    rows = list(pack(make(long_texts()), block, isolated=False))
    targets = [label for row in rows for label in row["labels"][1:]]
    assert targets == list(range(2, 13))
    assert all(row["input_ids"] == row["labels"] and len(row["labels"]) <= block for row in rows)
    assert all(LENGTHS not in row for row in rows)
    assert [len(row["labels"]) for row in rows[:-1]] == [block] * (len(rows) - 1)
