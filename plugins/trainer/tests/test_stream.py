"""Training on a stream: pass after pass, and from a checkpoint as if it had never been stopped."""

import json
import random

import pytest
import torch

from ft_plugin_trainer.stream import EVERY, FILE, Endless
from ftk.problems import RunError
from ftk_sdk.tiny import tiny_llama

SAVING = {"save_strategy": "steps", "save_steps": 3}


class Shuffling:
    """Rows in an order of their own in every pass."""

    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def begin(self, epoch, state=None):
        self.order = random.Random(epoch).sample(range(len(self.rows)), len(self.rows))
        self.at = state["at"] if state else 0

    def next(self):
        if self.at >= len(self.order):
            return None
        self.at += 1
        self.asked.append(self.order[self.at - 1])
        return self.rows[self.asked[-1]]

    def state(self):
        return {"at": self.at}


class Rows:
    def __init__(self, rows):
        self.step, self.accounts = Shuffling(rows), 0

    def __iter__(self):
        self.step.begin(0)
        return iter(self.step.next, None)

    def account(self):
        self.accounts += 1


def losses(folder):
    lines = (folder / "trainer_log.jsonl").read_text().splitlines()
    return [json.loads(line).get("loss") for line in lines if "loss" in json.loads(line)]


KEYS = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "max_steps": 9, **SAVING}


@pytest.mark.parametrize("count", [17, 200])
def test_a_resumed_run_on_a_stream_equals_one_that_was_never_stopped(bench, count):
    def make():
        model = tiny_llama(dtype=torch.float64)
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.2  # so that random numbers matter
        return model

    stream = Rows(bench.rows(count))
    whole = bench.trainer(rows=stream, model=make(), output_dir=str(bench.folder / "whole"), **KEYS)
    whole.train()
    assert stream.accounts >= 3
    again = Rows(bench.rows(count))
    point = str(bench.folder / "whole" / "checkpoint-6")
    resumed = bench.trainer(
        rows=again, model=make(), output_dir=str(bench.folder / "again"), resume_from_checkpoint=point, **KEYS
    )
    resumed.train()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    assert len(again.step.asked) <= 3 * 6 + EVERY + 2 * 2
    assert stream.step.asked[36:54] == again.step.asked[-len(stream.step.asked[36:]) :][:18]


def test_checkpoints_of_a_resumed_run_know_their_place(bench):
    rows = bench.rows(17)
    bench.trainer(rows=Rows(rows), output_dir=str(bench.folder / "a"), **KEYS).train()
    place = json.loads((bench.folder / "a" / "checkpoint-9" / FILE).read_text())
    assert [place["step"], place["rows"]] == [9, 54]
    keys = KEYS | {"resume_from_checkpoint": str(bench.folder / "a" / "checkpoint-3"), "gradient_accumulation_steps": 1}
    bench.trainer(rows=Rows(rows), output_dir=str(bench.folder / "b"), **keys).train()
    place = json.loads((bench.folder / "b" / "checkpoint-9" / FILE).read_text())
    assert [place["step"], place["rows"]] == [9, 18 + 12]


@pytest.mark.parametrize("rows", [0, 1, 5, 31, 32, 33, 47, 100])
def test_any_place_is_found_again(rows):
    ids = [{"input_ids": [n]} for n in range(10)]
    data = iter(Endless(Rows(ids)))
    expected = [next(data) for _ in range(150)]
    first = Endless(Rows(ids))
    reading = iter(first)
    for _ in range(rows + 7):  # the loader reads on
        next(reading)
    place = json.loads(json.dumps(first.place(rows)))
    again = Endless(Rows(ids))
    again.go_to(place, rows)
    reading = iter(again)
    assert [next(reading) for _ in range(40)] == expected[rows : rows + 40]
    assert again.place(rows + 30)["rows"] >= min(rows, rows + 30 - EVERY)


def test_an_empty_stream_is_refused(bench):
    with pytest.raises(RunError, match="holds nothing to train on"):
        bench.trainer(rows=Rows([]), **KEYS).train()


def test_a_stream_can_be_evaluated_on_again_and_again(bench):
    rows = bench.rows(11)
    streamed = bench.trainer(eval_rows=Rows(rows), output_dir=str(bench.folder / "a"))
    plain = bench.trainer(eval_rows=rows, output_dir=str(bench.folder / "b"))
    assert streamed.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"] == streamed.evaluate()["eval_loss"]


def test_a_broken_place_is_named(bench):
    bench.trainer(rows=Rows(bench.rows(17)), **KEYS).train()
    (bench.folder / "out" / "checkpoint-9" / FILE).write_text("{")
    with pytest.raises(RunError, match=f"{FILE} is broken"):
        bench.trainer(rows=Rows(bench.rows(17)), **KEYS | {"max_steps": 12}).train()
