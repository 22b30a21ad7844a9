"""Single answers and verdicts on them: from examples to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ft_plugin_data.truncation import Conversation, Fitted, Fitting
from ft_plugin_preference.pairs import says_something
from ft_plugin_trainer.encoding import NextTokenCollator, identity
from ft_plugin_trainer.targets import IGNORE
from ftk.contracts import Encoded, Example, Message
from ftk.problems import RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OTHER = "other_"
"""Begins the columns of an answer to another prompt."""


class AnswerEncoder:
    """Examples -> ``prompt_input_ids``, ``answer_input_ids``, ``answer_labels`` and ``desirable``.

    A pair of a chosen and a rejected answer becomes two rows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, fitting: Fitting) -> None:
        self.fitting = fitting
        self.collate = AnswerCollator(tokenizer.pad_token_id, fitting.cutoff_len)
        self.fingerprint = identity(tokenizer, "answers", fitting.template.fingerprint, fitting.settings)

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | RowError]:
        return [self._encoded(example) for example in examples]

    def _encoded(self, example: Example) -> list[Encoded] | RowError:
        answers = answers_of(example)
        if isinstance(answers, RowError):
            return answers
        fitted = self.fitting.encode([conversation for conversation, _ in answers])
        out = []
        for one, (_, desirable) in zip(fitted, answers, strict=True):
            made = one if isinstance(one, RowError) else encoded(one, desirable)
            if isinstance(made, RowError):
                return made
            out.append(made)
        return out


def answers_of(example: Example) -> list[tuple[Conversation, bool]] | RowError:
    """Conversations that end with an answer, and whether that is a good one."""
    wanted = "where this stage wants an answer and a verdict on it"
    if example.chosen and example.rejected:
        prompt, answers = example.messages, [(example.chosen, True), (example.rejected, False)]
    elif not example.messages or example.text:
        return RowError(f"raw text, {wanted}" if example.text else "no messages")
    elif example.messages[-1]["role"] != "assistant":
        return RowError("the conversation does not end with an answer")
    elif example.desirable is None:
        return RowError(f"no verdict, {wanted}: name its column as 'kto_tag' in dataset_info.json")
    else:
        prompt, answers = example.messages[:-1], [(example.messages[-1:], example.desirable)]
    if not prompt:
        return RowError("no prompt")
    if not all(any(says_something(message) for message in answer) for answer, _ in answers):
        return RowError("the answer is empty")
    before: list[Message] = [{**message, "weight": 0.0} for message in prompt]
    return [(([*before, *({**m, "weight": 1.0} for m in answer)], example.tools), good) for answer, good in answers]


def encoded(fitted: Fitted, desirable: bool) -> Encoded | RowError:
    ids, weights = fitted.tokens.input_ids, fitted.tokens.weights
    start = next(i for i, weight in enumerate(weights) if weight)
    if not start:
        return RowError("no token before the answer, from which its first token could be predicted")
    columns = {
        "prompt_input_ids": ids[:start],
        "answer_input_ids": ids[start:],
        "answer_labels": [i if weight else IGNORE for i, weight in zip(ids[start:], weights[start:], strict=True)],
        "desirable": desirable,
    }
    return Encoded(columns, truncated=fitted.truncated, where=fitted.where)


def length_of(row: Mapping[str, Any]) -> int:
    """Tokens of a row's conversation."""
    return len(row["prompt_input_ids"]) + len(row["answer_input_ids"])


class AnswerCollator:
    """Rows of ``AnswerEncoder`` -> a batch, padded on the right."""

    def __init__(self, pad_token_id: int, cutoff_len: int) -> None:
        self.collate, self.cutoff_len = NextTokenCollator(pad_token_id), cutoff_len

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``attention_mask``, ``labels`` (B, T), ``desirable`` (B).

        Where rows have an answer to another prompt: the first three of prompt and that, with ``other_`` before the
        name; what is beyond ``cutoff_len`` of it is cut off.
        """
        batch = self._joined(rows, "answer_")
        batch["desirable"] = torch.tensor([bool(row["desirable"]) for row in rows])
        if f"{OTHER}input_ids" in rows[0]:
            batch |= {f"{OTHER}{name}": value for name, value in self._joined(rows, OTHER).items()}
        return batch

    def _joined(self, rows: Sequence[Mapping[str, Any]], answer: str) -> dict[str, torch.Tensor]:
        joined = []
        for row in rows:
            prompt = list(row["prompt_input_ids"])
            ids, labels = prompt + row[f"{answer}input_ids"], [IGNORE] * len(prompt) + row[f"{answer}labels"]
            joined.append({"input_ids": ids[: self.cutoff_len], "labels": labels[: self.cutoff_len]})
        return self.collate(joined)
