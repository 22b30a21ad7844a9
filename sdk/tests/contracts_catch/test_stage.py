"""The stage contract passes a good stage, and each of its assertions catches a broken one."""

import itertools

import pytest
import torch

from ft_plugin_data.truncation import Fitting
from ft_plugin_sft.stage import Sft, SftEncoder
from ft_plugin_trainer.objective import NextToken
from ft_plugin_trainer.trainer import FtkTrainer
from ftk.contracts import Encoded, Example
from ftk.markers import hookimpl
from ftk_sdk.contracts import StageContract
from ftk_sdk.fakes import installed_with, plugin

CALLS = itertools.count()


class SayContract(StageContract):
    example = Example(
        messages=[{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "Five"}]
    )
    loss_on = {"labels": ["Five<|im_end|>"]}


class TestAGoodStage(SayContract):
    component = "stage:sft"


class Scaled(NextToken):
    """A loss times some factor."""

    def factor(self):
        return 1.0

    def sums(self, model, batch):
        sums = super().sums(model, batch)
        loss, count = sums["loss"]
        return {**sums, "loss": (loss * self.factor(), count)}

    @classmethod
    def stage(cls):
        class Stage(Sft):
            @hookimpl
            def ftk_build_trainer(self, run, parts):
                return FtkTrainer(run, parts, cls())

        return Stage


class NotANumberTrainer(FtkTrainer):
    def log(self, logs, *args, **kwargs):
        super().log({**logs, "loss": float("nan")} if "loss" in logs else logs, *args, **kwargs)


class NotANumber(Sft):
    @hookimpl
    def ftk_build_trainer(self, run, parts):
        return NotANumberTrainer(run, parts, NextToken())


class Unseeded(Scaled):
    def factor(self):
        return 1 + next(CALLS) / 100


class Zero(Scaled):
    def factor(self):
        return 0.0


class CountsFromTheStart(Scaled):
    """Depends on something that no checkpoint holds."""

    calls = 0

    def factor(self):
        self.calls += 1
        return 1 / self.calls


class MeanOfMeans(NextToken):
    """Every micro-batch counts alike, whatever it holds."""

    def count(self, batch):
        return torch.tensor(1.0)

    def sums(self, model, batch):
        loss, _ = super().sums(model, batch)["loss"]
        return {"loss": (loss / super().count(batch), self.count(batch))}

    @classmethod
    def stage(cls):
        class Stage(Sft):
            @hookimpl
            def ftk_build_trainer(self, run, parts):
                return FtkTrainer(run, parts, cls())

        return Stage


class TrainsOnPrompts(Sft):
    @hookimpl
    def ftk_encoder(self, run, tokenizer, template):
        return SftEncoder(tokenizer, Fitting(template, cutoff_len=512, train_on="all"))


class RaisesEncoder(SftEncoder):
    def encode(self, examples):
        return [[Encoded({"labels": [1], "turns": example.messages[0]})] for example in examples]


class Raises(Sft):
    @hookimpl
    def ftk_encoder(self, run, tokenizer, template):
        return RaisesEncoder(tokenizer, Fitting(template, cutoff_len=512))


class AcceptsEncoder(SftEncoder):
    def encode(self, examples):
        return [[Encoded({"labels": []})] for _ in examples]


class Accepts(Sft):
    @hookimpl
    def ftk_encoder(self, run, tokenizer, template):
        return AcceptsEncoder(tokenizer, Fitting(template, cutoff_len=512))


class RefusesEncoder(SftEncoder):
    def encode(self, examples):
        return [ValueError("no") for _ in examples]


class Refuses(Sft):
    @hookimpl
    def ftk_encoder(self, run, tokenizer, template):
        return RefusesEncoder(tokenizer, Fitting(template, cutoff_len=512))


FINITE = "test_its_losses_are_finite_and_the_same_every_time"
MASK = "test_exactly_what_it_documents_carries_loss"
EMPTY = "test_a_row_without_anything_to_train_on_is_refused"
BROKEN = [
    (FINITE, NotANumber, "its losses are [nan"),
    (FINITE, Unseeded.stage(), "with one seed its losses are"),
    ("test_it_trains", Zero.stage(), "no weight has changed"),
    ("test_resumed_it_goes_on_as_if_never_stopped", CountsFromTheStart.stage(), "resumed, its losses are"),
    ("test_its_curve_does_not_depend_on_how_a_batch_is_cut", MeanOfMeans.stage(), "depend on how a batch is cut"),
    (MASK, TrainsOnPrompts, "in labels these carry loss: ['<|im_start|>user"),
    (MASK, Refuses, "the example is refused"),
    (EMPTY, Raises, "an empty example raised IndexError"),
    (EMPTY, Accepts, "an empty example became [Encoded("),
]


@pytest.mark.parametrize(("method", "broken", "message"), BROKEN)
def test_a_broken_stage_is_caught(caught, tmp_path, tiny_model_dir, method, broken, message):
    class Contract(SayContract):
        component = "stage:broken"
        plugins = installed_with(
            plugin(offers={"stage:broken": broken}, fields={"requires": ("trainer:transformers",)})
        )

    assert message in caught(Contract, method, tmp_path=tmp_path, tiny_model_dir=tiny_model_dir)
