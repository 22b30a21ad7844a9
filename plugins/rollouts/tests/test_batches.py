"""Batches of completions: what is drawn again, what they hold, what is logged of them."""

import math

import pytest
import torch

from ft_plugin_rollouts.batches import (
    at_temperature,
    drawn_logprobs,
    metric_columns,
    metric_sums,
    token_batch,
)
from ft_plugin_rollouts.prompts import Prompt
from ft_plugin_rollouts.repeating import RepeatedBatches
from ft_plugin_rollouts.rollouts import Completion, columns_of
from ft_plugin_trainer.forks import Forks
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens
from ftk_sdk.tiny import tiny_llama


def test_batches_are_drawn_several_times_and_each_epoch_in_another_order():
    sampler = RepeatedBatches(7, 2, 3, seed=1)
    first = list(sampler)
    assert len(first) == len(sampler) == 18
    for at in (0, 6, 12):
        assert first[at : at + 2] == first[at + 2 : at + 4] == first[at + 4 : at + 6]
    assert len(set(first)) == 6
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(RepeatedBatches(5, 2, 2, seed=None)) == [0, 1, 0, 1, 2, 3, 2, 3]


def test_a_temperature_divides_logits():
    logits_NV = torch.randn(3, 7, dtype=torch.float64)
    targets_N = torch.tensor([1, 4, 0])
    wanted = (logits_NV / 0.5).softmax(-1)[range(3), targets_N].log()
    torch.testing.assert_close(at_temperature(logits_NV, targets_N, temperature=0.5), wanted)


def test_completions_are_padded_on_the_right_and_prompts_carry_no_loss():
    batch = token_batch([([5, 6, 7, 8], 2), ([9], 1)], pad=3)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 3, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORE, IGNORE, 7, 8], [IGNORE] * 4]
    assert next_tokens(batch["labels"]).tolist() == [[IGNORE, 7, 8, IGNORE], [IGNORE] * 4]


def test_a_row_without_a_number_is_no_part_of_a_metric():
    columns = metric_columns([{"reward": 1.5, "kl": math.nan}, {"reward": 2.5, "kl": 3.0}])
    sums = metric_sums(columns | {"labels": torch.zeros(2, 4)})
    assert {name: [float(x) for x in pair] for name, pair in sums.items()} == {"reward": [4, 2], "kl": [3, 1]}


@pytest.mark.parametrize("forks", [None, Forks()], ids=["in rows", "in one row"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probabilities_are_those_of_what_was_drawn_from(temperature, forks):
    model = tiny_llama(dtype=torch.float64)
    batch = token_batch([([5, 6, 7, 8], 2), ([9, 10, 11], 1)], pad=3)
    found_N = drawn_logprobs(TargetLogprobs(), model, batch, temperature=temperature, forks=forks)
    logits_BTV = model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits / temperature
    logp_BTV = logits_BTV.log_softmax(-1)
    wanted = [logp_BTV[0, 1, 7], logp_BTV[0, 2, 8], logp_BTV[1, 0, 10], logp_BTV[1, 1, 11]]
    torch.testing.assert_close(found_N, torch.stack(wanted), rtol=0, atol=1e-9)


def test_rewards_are_given_every_column_that_any_row_has():
    prompts = [Prompt([1], [], {"answer": "4"}), Prompt([2], [], {"level": 3})]
    completions = [Completion([5], "a", True), Completion([6], "b", False)]
    wanted = {"answer": ["4", None], "level": [None, 3], "finished": [True, False]}
    assert columns_of(prompts, completions) == wanted
