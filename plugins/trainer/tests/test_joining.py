"""Rows put together into one, against the same rows in a padded batch."""

import copy

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from ft_plugin_trainer.forks import NAME, Forks
from ft_plugin_trainer.joining import joined, joined_for
from ft_plugin_trainer.targets import IGNORE, TargetLogprobs, next_tokens
from ftk_sdk.tiny import tiny_llama

FIRST, SECOND, SYSTEM = list(range(10, 20)), list(range(30, 38)), [5, 6]
ROWS = {
    "two prompts of several completions": [
        *((SYSTEM + FIRST + end, 12) for end in ([50, 51, 52], [50, 51], [53])),
        *((SYSTEM + SECOND + end, 10) for end in ([60, 61], [62, 63, 64, 65])),
    ],
    "a completion without loss": [
        ([*FIRST, 50, 51], 10),
        ([*FIRST, 52, 53], 12),
        ([*FIRST, 54], 10),
        ([*FIRST, 55], 10),
    ],
    "the same row twice": [([*FIRST, 50], 10), ([*FIRST, 50], 10)],
    "nothing alike": [(FIRST, 1), (SECOND, 3), ([3], 1), (SYSTEM, 0)],
}


def batch_of(rows):
    width = max(len(ids) for ids, _ in rows)
    ids_RS = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    real_RS = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
    labels_RS = torch.where(real_RS == 1, ids_RS, IGNORE)
    for labels_S, (_, start) in zip(labels_RS, rows, strict=True):
        labels_S[:start] = IGNORE
    return {"input_ids": ids_RS, "attention_mask": real_RS, "labels": labels_RS}


def logprobs_of(model, inputs):
    return TargetLogprobs()(model, inputs, next_tokens(inputs.pop("labels"))).logprobs_N


@pytest.mark.parametrize("name", ROWS)
def test_joined_rows_have_the_log_probabilities_and_gradients_of_a_padded_batch(name):
    plain = tiny_llama(vocab_size=128, dtype=torch.float64)
    model, batch, forks = copy.deepcopy(plain), batch_of(ROWS[name]), Forks()
    made_N = logprobs_of(model, joined_for(model, forks, batch))
    expected_N = logprobs_of(plain, dict(batch))
    assert model.config._attn_implementation == NAME
    torch.testing.assert_close(made_N, expected_N, rtol=0, atol=1e-6)  # norms are in float32
    weight_N = torch.linspace(-1, 1, len(expected_N), dtype=torch.float64)
    (made_N * weight_N).sum().backward()
    (expected_N * weight_N).sum().backward()
    for made, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(made.grad, wanted.grad, rtol=0, atol=1e-6)


def test_what_neighbours_share_is_there_once_and_no_longer_than_it_pays():
    made = joined(batch_of(ROWS["two prompts of several completions"]))
    # One position of the prompt is each completion's own: its first token is predicted there.
    assert made["attention_mask"].tolist() == [[[[11, 4, 3, 2], [9, 3, 5, 0]]]]
    assert made["input_ids"].shape == (1, 11 + 4 + 3 + 2 + 9 + 3 + 5)
    alike = joined(batch_of([([*SYSTEM, 7, 50], 3), ([*SYSTEM, 8, 51], 3), ([*SYSTEM, 9, 52], 3)]))
    assert alike["attention_mask"].tolist() == [[[[2, 2, 2, 2]]]]


def test_rows_stay_as_they_are_where_there_is_one_or_the_model_needs_them_so():
    alone = batch_of([(FIRST, 1)])
    assert joined_for(tiny_llama(), Forks(), alone) is alone
    several = batch_of(ROWS["the same row twice"])
    windowed = MistralForCausalLM(
        MistralConfig(vocab_size=128, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, sliding_window=10)
    )
    assert joined_for(windowed, Forks(), several) is several
